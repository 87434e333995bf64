"""The command line: ``py-code-mode ...``, a module for each command."""

from __future__ import annotations


def main() -> None:
    """Run the command line with the arguments of this process. Never returns."""
    from .app import app
    from .hidden import hide_passwords

    hide_passwords()
    app.main(prog_name="py-code-mode")
