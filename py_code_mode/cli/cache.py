"""``py-code-mode cache``: the virtualenvs that are kept from session to session."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import json_option
from .output import print_json, print_rows

if TYPE_CHECKING:
    from py_code_mode.kernel.venv_cache import CachedVenv


@click.group("cache")
def command() -> None:
    """The virtualenvs that are kept from session to session.

    One a workspace and Python version holds what the workspace asked for, over a base that holds the kernel.
    """


@command.command("list")
@json_option
def list_venvs(as_json: bool) -> None:
    """List the cached virtualenvs, the last used first."""
    from py_code_mode.kernel.venv_cache import cached_venvs

    _print_venvs(cached_venvs(), as_json)


@command.command()
@click.option("--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="Those not used for DAYS days, too.")
@click.option("--all", "everything", is_flag=True, help="All that no process uses.")
@json_option
def clean(older_than: float | None, everything: bool, as_json: bool) -> None:
    """Remove virtualenvs that are incomplete, or of no more use. One that is in use is never removed."""
    from py_code_mode.kernel.venv_cache import clean_venvs

    removed = clean_venvs(older_than=older_than, everything=everything)
    if as_json:
        print_json([str(venv.path) for venv in removed])
        return
    for venv in removed:
        print(f"removed {venv.path}  ({_workspace(venv)})")
    print(f"{len(removed)} removed")


def _workspace(venv: CachedVenv) -> str:
    if venv.is_base:
        return "(base of all)"
    return (venv.identity or "incomplete").removeprefix("file:")


def _print_venvs(venvs: list[CachedVenv], as_json: bool) -> None:
    if as_json:
        print_json([_document(venv) for venv in venvs])
        return
    rows = [
        (
            _workspace(venv),
            venv.python_version or "",
            f"{venv.size / 1e6:.0f} MB",
            f"{venv.last_used:%Y-%m-%d %H:%M}",
            _state(venv),
            str(venv.path),
        )
        for venv in venvs
    ]
    print_rows(("Workspace", "Python", "Size", "Last used (UTC)", "State", "Path"), rows)


def _state(venv: CachedVenv) -> str:
    if not venv.complete:
        return "incomplete"
    if venv.in_use:
        return "in use"
    if not venv.current:
        return "outdated"
    identity = venv.identity or ""
    gone = identity.startswith("file:") and not Path(_workspace(venv)).exists()
    return "workspace gone" if gone else "ready"


def _document(venv: CachedVenv) -> dict[str, Any]:
    return {
        "path": str(venv.path),
        "kind": "base" if venv.is_base else "workspace",
        "identity": venv.identity,
        "python_version": venv.python_version,
        "size": venv.size,
        "last_used": venv.last_used.isoformat(),
        "complete": venv.complete,
        "current": venv.current,
        "in_use": venv.in_use,
    }
