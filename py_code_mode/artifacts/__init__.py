"""Artifacts: data that outlives the code that made it, kept by name."""
