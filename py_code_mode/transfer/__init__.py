"""Workspaces compared with each other, and carried from one storage to another."""
