"""Names that installers and virtualenvs share."""

from __future__ import annotations

IPYKERNEL = "ipykernel>=7.4,<8"
"""The kernel that every virtualenv gets: 7.0 to 7.3 can wedge the shell channel (ipykernel #1529)."""

SAME_VERSIONS = "same-versions.txt"
COMPATIBLE_VERSIONS = "compatible-versions.txt"
"""In a base: constraints for what is installed over it."""

LOCK_NAME = "py-code-mode-install.lock"
"""In a virtualenv: held while its packages change."""
