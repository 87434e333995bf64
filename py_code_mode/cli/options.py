"""Options and kinds of arguments that several commands have."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

Base = Path | str
"""A workspace as an option gives it: a directory, or the URL of a Redis that was found to be one."""

IN_REDIS = "redis://...?prefix=NAME"


def new_workspace(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    """The callback of a parameter that names a directory, which may be missing; ``~`` is expanded."""
    if value is None:
        return None
    from py_code_mode.storage.bases import is_url

    try:
        if is_url(value):
            raise click.BadParameter(
                "a directory is needed here; a workspace in Redis needs no making, and `py-code-mode store bootstrap` "
                "fills it from a directory"
            )
        path = Path(value).expanduser().absolute()
        usable = path.is_dir() or not path.exists()
    except (RuntimeError, ValueError, OSError) as error:
        shown = "it" if "://" in value else repr(value)
        raise click.BadParameter(f"{shown} cannot be a directory: {error}") from None
    if not usable:
        raise click.BadParameter(f"{value!r} is not a directory")
    return path


def any_workspace(ctx: click.Context, param: click.Parameter, value: str | None) -> Base | None:
    """The callback of a parameter that names a workspace: a directory, which may be missing, or the URL of a Redis."""
    from py_code_mode.storage.bases import is_url, storage_at

    try:
        if value is None or not is_url(value):
            return new_workspace(ctx, param, value)
        storage_at(value)
    except (ValueError, ImportError) as error:  # whose texts show no password
        raise click.BadParameter(str(error)) from None
    return value


def base_callback(ctx: click.Context, param: click.Parameter, value: str | None) -> Base | None:
    """The same for a workspace that is there."""
    base = any_workspace(ctx, param, value)
    if isinstance(base, Path) and not base.exists():
        raise click.BadParameter(f"{value!r} does not exist; `py-code-mode init` makes a workspace")
    return base


def _tools(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    path = new_workspace(ctx, param, value)
    if path is not None and not path.exists():
        raise click.BadParameter(f"{value!r} does not exist")
    return path


def _seconds(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not (value > 0 and math.isfinite(value)):
        raise click.BadParameter(f"{value:g} is not a positive number of seconds")
    return value


def base_option(*, new: bool = False) -> Callable[[F], F]:
    """``--base DIR``: the workspace, a ``Base``. ``new``: a directory may be missing, and is made then."""
    return click.option(
        "--base",
        callback=any_workspace if new else base_callback,
        default=".",
        metavar="DIR",
        help=f"The workspace: a directory, by default the current one, or {IN_REDIS}.",
    )


tools_option = click.option(
    "--tools", callback=_tools, metavar="DIR", help="A directory of tool definitions, in place of the workspace's own."
)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

timeout_option = click.option(
    "--timeout",
    type=float,
    callback=_seconds,
    metavar="S",
    help="Stop the code after S seconds; by default never.",
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
        return json.loads(text, parse_constant=_no_json)
    except ValueError:
        return text


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
