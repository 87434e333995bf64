"""Options and kinds of arguments that several commands have."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class WorkspacePath(click.ParamType):
    """A directory; ``~`` is expanded. ``new``: it may be missing."""

    name = "directory"

    def __init__(self, *, new: bool = False) -> None:
        self._new = new

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The absolute path."""
        try:
            path = Path(value).expanduser().absolute()
            if path.is_dir() or (self._new and not path.exists()):
                return path
            missing = not path.exists()
        except (RuntimeError, ValueError, OSError) as error:
            self.fail(f"{value!r} cannot be a directory: {error}", param, ctx)
        problem = "does not exist; `py-code-mode init` makes a workspace" if missing else "is not a directory"
        return self.fail(f"{value!r} {problem}", param, ctx)


class Seconds(click.ParamType):
    """A positive number of seconds."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = 0.0
        if not (seconds > 0 and math.isfinite(seconds)):
            self.fail(f"{value!r} is not a positive number of seconds", param, ctx)
        return seconds


def base_option(*, new: bool = False) -> Callable[[F], F]:
    """``--base DIR``: the workspace. ``new``: it may be missing, and is made then."""
    return click.option(
        "--base",
        type=WorkspacePath(new=new),
        default=".",
        metavar="DIR",
        help="The workspace; by default the current directory.",
    )


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

timeout_option = click.option(
    "--timeout", type=Seconds(), metavar="S", help="Stop the code after S seconds; by default never."
)


def key_values(pairs: Iterable[str], convert: Callable[[str, list[str]], Any]) -> dict[str, Any]:
    """The arguments KEY=VALUE as a dict; ``convert`` gets each key with all values that it was given.

    Raises click.UsageError for what is no KEY=VALUE.
    """
    found: dict[str, list[str]] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise click.UsageError(f"{pair!r} is not of the form KEY=VALUE")
        found.setdefault(key, []).append(value)
    return {key: convert(key, values) for key, values in found.items()}


def json_or_text(text: str) -> Any:
    """The JSON value that ``text`` is, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
