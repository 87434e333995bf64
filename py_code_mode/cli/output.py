"""What commands print: tables, JSON, and progress while something slow happens."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.status import Status


def print_json(value: Any) -> None:
    """``value`` as indented JSON; what JSON does not have becomes text."""
    print(json.dumps(value, indent=2, default=str))


def print_rows(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on a terminal; else a line a row, columns separated by tabs, no headings."""
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(" ".join(cell.split()) for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(" ".join(cell.split())) for cell in row))
    if table.row_count:
        Console().print(table)


def note(line: str) -> None:
    """A line for the person, beside the output."""
    print(line, file=sys.stderr, flush=True)


class Progress:
    """Shows lines about something slow on stderr: a spinner on a terminal, else plain lines.

    Call it with a line, from any thread; leaving it ends the spinner, and what comes later is a plain line.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._status: Status | None = None
        self._left = False

    def __enter__(self) -> Self:
        return self

    def __call__(self, line: str) -> None:
        if self._left or not sys.stderr.isatty():
            note(line)
        elif self._status is None:
            from rich.console import Console
            from rich.markup import escape

            self._status = self._stack.enter_context(Console(stderr=True).status(escape(line)))
        else:
            from rich.markup import escape

            self._status.update(escape(line))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._left = True
        self._stack.close()


def program() -> str:
    """How this program was called, so that a command that is shown can be pasted."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return "python -m py_code_mode"
    found = shutil.which(called.name)
    on_path = found is not None and Path(found).absolute() == called.absolute()
    return called.name if on_path or not called.exists() else shlex.quote(str(called))
