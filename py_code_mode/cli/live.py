"""``py-code-mode sessions``: the live sessions of this user, and what they do."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from py_code_mode.errors import KernelError

from .options import json_option
from .output import note, print_json, print_rows, program

if TYPE_CHECKING:
    from rich.table import Table

    from py_code_mode.live import LiveSession
    from py_code_mode.watch.remote import State

NONE_LIVE = "no live sessions"

_SHORTEST_ID = 6
_REDRAW = 1.0
"""Seconds from one look at the sessions to the next."""
_LONGEST_CODE = 60
_HEADINGS = ("ID", "Workspace", "Host", "Kernel", "Since", "State")
_FRAME = re.compile(r'^  File ".*", line (\d+), in (.*)$', re.MULTILINE)


@click.command("sessions")
@click.argument("identity", metavar="[ID]", default="")
@click.option("--watch", is_flag=True, help="Go on looking, until Ctrl-C; shows memory and the line that runs, too.")
@json_option
def command(identity: str, watch: bool, as_json: bool) -> None:
    """Show the live sessions of this user, whoever has opened them: where they work, since when, and on what.

    With an ID (its first characters do) the one session: its variables too, and where its code stands. Looking
    changes nothing for the session. "not answering" is a kernel that is held by a C call, or stopped.
    """
    if watch:
        _check_watch(identity, as_json)
        _watch()
        return
    from py_code_mode.live import sessions
    from py_code_mode.watch.remote import states

    live = sessions()
    if identity:
        _show(pick(live, identity), as_json)
        return
    found = states(live)
    if as_json:
        print_json([_document(state) for state in found])
    elif not found:
        note(NONE_LIVE)
    else:
        short = short_ids(live)
        print_rows(_HEADINGS, [_row(state, short) for state in found])


def short_ids(sessions: Sequence[LiveSession]) -> dict[str, str]:
    """The shortest beginnings of the ids, of one length, that tell ``sessions`` apart; by id."""
    ids = [session.id for session in sessions]
    length = _SHORTEST_ID
    while len({name[:length] for name in ids}) < len(ids):
        length += 1
    return {name: name[:length] for name in ids}


def pick(sessions: Sequence[LiveSession], identity: str) -> LiveSession:
    """The session whose id begins with ``identity``; raises click.ClickException, which names those there are."""
    found = [session for session in sessions if session.id.startswith(identity)]
    if len(found) == 1:
        return found[0]
    if not sessions:
        raise click.ClickException(f"{NONE_LIVE}, so none is {identity!r}")
    problem = f"{identity!r} could be" if found else f"no live session is {identity!r}; there are"
    raise click.ClickException(f"{problem}\n{listed(found or sessions)}")


def listed(sessions: Sequence[LiveSession]) -> str:
    """A line for each session."""
    short = short_ids(sessions)
    return "\n".join(f"  {short[session.id]}  {_workspace(session)}" for session in sessions)


def in_words(state: State) -> str:
    """Busy or idle; with what, whose, and for how long."""
    if state.state != "busy":
        return state.state
    code = state.code if len(state.code) <= _LONGEST_CODE else state.code[: _LONGEST_CODE - 1] + "…"
    age = "" if state.seconds is None else f" {_age(state.seconds)}"
    whose = " (another client's)" if state.by == "other" else ""
    return f"busy{age}{whose}: {code}" if code else f"busy{age}{whose}"


def _show(session: LiveSession, as_json: bool) -> None:
    from py_code_mode.watch.remote import states, variables

    found = states([session], stack=True)
    if not found:
        raise click.ClickException(f"the session {session.id} has just ended")
    (state,) = found
    told: list[dict[str, Any]] | None = None
    problem = ""
    try:
        told = variables(session) if state.state != "not answering" else None
    except (KernelError, OSError) as error:
        problem = error.message if isinstance(error, KernelError) else "it has just ended"
    if as_json:
        print_json({**_document(state), "stack": state.stack, "variables": told, "problem": problem or None})
        return
    memory = "" if state.memory is None else f", {_size(state.memory)}"
    print(f"session    {session.id}")
    print(f"workspace  {_workspace(session)}")
    print(f"host       pid {session.pid}")
    print(f"kernel     pid {session.kernel_pid}{memory}")
    print(f"since      {_since(session.since)}")
    print(f"state      {in_words(state)}")
    print(f"file       {session.connection_file}")
    print(f"join it    {program()} attach {session.id}")
    if state.stack:
        print(f"\nIts code stands at\n{state.stack}")
    if told:
        print()
        rows = [(item["name"], item["type"], _shape(item["shape"]), _size(item["size"]), item["repr"]) for item in told]
        print_rows(("Variable", "Type", "Shape", "Size", "Value"), rows)
    if problem:
        note(f"warning: its variables are not known: {problem}")


def _check_watch(identity: str, as_json: bool) -> None:
    if identity or as_json:
        raise click.UsageError("--watch is for a person, and shows all sessions: leave out --json and the ID")
    if not sys.stdout.isatty():
        raise click.UsageError("--watch needs a terminal; a program can ask for --json again and again")


def _watch() -> None:
    from rich.live import Live

    try:
        with Live(_table(), auto_refresh=False) as shown:
            while True:
                time.sleep(_REDRAW)
                shown.update(_table(), refresh=True)
    except KeyboardInterrupt:
        pass  # how it is meant to end


def _table() -> Table | str:
    from rich.table import Table
    from rich.text import Text

    from py_code_mode.live import sessions
    from py_code_mode.watch.remote import states

    live = sessions()
    found = states(live, stack=True)
    if not found:
        return NONE_LIVE
    short = short_ids(live)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in (*_HEADINGS[:-1], "Memory", *_HEADINGS[-1:], "Where"):
        table.add_column(heading, overflow="fold", no_wrap=heading not in ("Workspace", "State", "Where"))
    for state in found:
        *before, words = _row(state, short)
        memory = "" if state.memory is None else _size(state.memory)
        table.add_row(*map(Text, (*before, memory, words, _innermost(state.stack))))
    return table


def _row(state: State, short: dict[str, str]) -> tuple[str, ...]:
    session = state.session
    return (
        short[session.id],
        _workspace(session),
        str(session.pid),
        str(session.kernel_pid),
        _since(session.since),
        in_words(state),
    )


def _innermost(stack: str) -> str:
    """The last frame of a stack in a few words."""
    frames = list(_FRAME.finditer(stack))
    if not frames:
        return ""
    line, function = frames[-1].groups()
    source = stack[frames[-1].end() :].strip().partition("\n")[0]
    where = f"line {line}" if function == "<module>" else f"line {line} in {function}"
    return f"{where}: {source[:_LONGEST_CODE]}" if source else where


def _workspace(session: LiveSession) -> str:
    from py_code_mode.watch.remote import printable

    return printable(session.workspace)


def _since(moment: datetime) -> str:
    age = datetime.now(UTC) - moment
    shown = moment.astimezone().strftime("%H:%M" if age.days == 0 else "%Y-%m-%d %H:%M")
    return f"{shown} ({_age(age.total_seconds())})"


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _size(size: int) -> str:
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= length:
            return f"{size / length:.1f} {unit}"
    return f"{size} B"


def _shape(shape: list[int] | None) -> str:
    return "" if shape is None else " × ".join(map(str, shape))


def _document(state: State) -> dict[str, Any]:
    session = state.session
    return {
        "id": session.id,
        "workspace": session.workspace,
        "pid": session.pid,
        "kernel_pid": session.kernel_pid,
        "since": session.since.isoformat(),
        "connection_file": str(session.connection_file),
        "state": state.state,
        "code": state.code,
        "seconds": state.seconds,
        "by": state.by,
        "memory": state.memory,
    }
