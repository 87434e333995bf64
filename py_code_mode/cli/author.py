"""Who calls a command."""

from __future__ import annotations

import getpass


def author() -> str:
    """The name of the user, for the history of workflows; "" for one without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
