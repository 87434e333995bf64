"""``py-code-mode attach``: a console on the kernel of a live session."""

from __future__ import annotations

import importlib.util
import sys

import click

from py_code_mode.errors import CodeModeError

from .live import NONE_LIVE, in_words, listed, pick
from .output import note


@click.command("attach")
@click.argument("identity", metavar="[ID]", default="")
def command(identity: str) -> None:
    """Open `jupyter console` on a live session: its variables, its tools, its workspace.

    The ID is one that `py-code-mode sessions` shows; it may be left out while there is only one session. What you run
    waits for the session's own code, Ctrl-C interrupts your own code only, and `exit` or Ctrl-D leaves the session
    as it is.
    """
    if importlib.util.find_spec("jupyter_console") is None:
        text = "the console of Jupyter is not installed: run"
        raise CodeModeError(f"{text} {sys.executable} -m pip install 'py-code-mode[console]'")
    from py_code_mode.live import sessions
    from py_code_mode.watch.remote import states

    live = sessions()
    if not live and not identity:
        raise click.ClickException(f"{NONE_LIVE} to attach to")
    if not identity and len(live) > 1:
        if not sys.stdin.isatty():
            raise click.UsageError(f"there are several live sessions, so give the ID of one:\n{listed(live)}")
        click.echo(listed(live))
        identity = click.prompt("ID")
    session = pick(live, identity)
    for state in states([session]):
        if state.state != "idle":
            note(f"the session is {in_words(state)}\nThe prompt comes when that is over; Ctrl-C leaves.")
    from py_code_mode.jupyter.console import attach

    attach(session.connection_file)
