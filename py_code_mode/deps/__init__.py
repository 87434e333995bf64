"""Dependencies: the requirements of a workspace, and what installs them."""
