"""Where Jupyter's front ends meet a workspace."""
