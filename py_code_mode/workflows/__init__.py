"""Workflows: code that worked, kept by name."""
