"""``py-code-mode store``: what a team shares in Redis, pushed from files, pulled back, compared."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .app import FAILED
from .author import author
from .options import Base, any_workspace, base_callback, json_option
from .output import print_json, print_rows

if TYPE_CHECKING:
    from py_code_mode.storage.base import StorageBackend
    from py_code_mode.transfer.transfer import Change, Mark, Progress, Transfer

KINDS = ("workflows", "tools", "deps", "artifacts")
_COLOURS = {"+": "green", "-": "red", "~": "yellow", "!": "red"}
_DONE: dict[Mark, str] = {"+": "added", "~": "changed", "-": "removed", "=": "the same", "!": "failed"}
_TO_DO: dict[Mark, str] = {"+": "to add", "~": "to change", "-": "to remove", "=": "the same", "!": "cannot be carried"}


@click.group("store")
def command() -> None:
    """Push workflows, tools, requirements and artifacts from files to Redis, pull them back, and compare the two.

    --source and --target are workspaces: a directory, or redis://user:password@host:6379/0?prefix=NAME (rediss:// for
    TLS, unix:///PATH). ${NAME} in a URL is read from the environment. What is in both is compared by content.

    \b
    +  the source has it, the target does not      =  the same in both
    -  the target only has it                      !  cannot be carried: broken, malformed, refused
    ~  they differ

    \b
    Exit status, for scripts:
      0  done; `diff`: nothing differs
      1  something could not be carried; `diff`: something differs
      2  wrong usage
      3  a workspace could not be reached; what was printed is done

    \b
    Examples:
      py-code-mode store bootstrap --source . --target redis://localhost --prefix team
      py-code-mode store diff --source . --target redis://localhost --prefix team --type workflows --type tools
    """


def _options(*, source: Callable[..., Any] | None) -> Callable[[Any], Any]:
    """``--source`` with that callback where there is one, ``--target``, ``--prefix``, ``--type`` and ``--json``."""
    options = [
        click.option("--target", required=True, callback=any_workspace, metavar="URL", help="The shared workspace."),
        click.option("--prefix", metavar="P", help="Its prefix in Redis, where the URL has no ?prefix=."),
        click.option(
            "--type", "kinds", multiple=True, type=click.Choice(KINDS), help="Only these; may be given several times."
        ),
        json_option,
    ]
    if source is not None:
        options.insert(0, click.option("--source", callback=source, default=".", metavar="DIR", help=_SOURCE))

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_SOURCE = "The workspace of files; by default the current directory."

_clear = click.option(
    "--clear",
    is_flag=True,
    help="Remove from the receiving side what the other does not have: last, so that nobody ever sees less than that.",
)
_dry_run = click.option("--dry-run", is_flag=True, help="Change nothing, and say what would be done.")


@command.command()
@_options(source=base_callback)
@_clear
@_dry_run
def bootstrap(
    source: Base, target: Base, prefix: str | None, kinds: tuple[str, ...], as_json: bool, clear: bool, dry_run: bool
) -> None:
    """Push what --source has to --target. What is there and differs is replaced, one thing at a time, each at once."""
    _carry(source, _with_prefix(target, prefix), kinds, clear=clear, dry_run=dry_run, as_json=as_json)


@command.command()
@_options(source=any_workspace)
@_clear
@_dry_run
def pull(
    source: Base, target: Base, prefix: str | None, kinds: tuple[str, ...], as_json: bool, clear: bool, dry_run: bool
) -> None:
    """Pull what --target has to --source, for review: the other way round, + is what --source gets."""
    _carry(_with_prefix(target, prefix), source, kinds, clear=clear, dry_run=dry_run, as_json=as_json)


@command.command()
@_options(source=base_callback)
def diff(source: Base, target: Base, prefix: str | None, kinds: tuple[str, ...], as_json: bool) -> None:
    """Show how --source differs from --target, with a unified diff of texts: what `bootstrap --clear` would change.

    The exit status is 1 where anything differs, or cannot be carried.
    """
    target = _with_prefix(target, prefix)
    with _progress() as progress:
        transfer = _transfer(source, target, kinds)
        changes = transfer.compare(progress)
        diffs = [transfer.diff(change) for change in changes]
    if as_json:
        _print_document(source, target, changes, diffs=diffs)
    else:
        for change, text in zip(changes, diffs, strict=True):
            _print_change(change)
            sys.stdout.write(_harmless(text))
        print(_summary(changes, _TO_DO))
    if any(change.mark != "=" for change in changes):
        raise click.exceptions.Exit(FAILED)


@command.command("list")
@_options(source=None)
def list_things(target: Base, prefix: str | None, kinds: tuple[str, ...], as_json: bool) -> None:
    """List what --target has; ! marks what is broken."""
    from py_code_mode.transfer.transfer import inventory

    found = inventory(_storage(_with_prefix(target, prefix)), kinds or KINDS)
    if as_json:
        print_json(
            [{"type": kind, "name": item.name, "about": item.about, "problem": item.problem} for kind, item in found]
        )
        return
    rows = [(kind, item.name, f"! {item.problem}" if item.problem else item.about) for kind, item in found]
    print_rows(("Type", "Name", "What it is"), rows)


@command.command("rm")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@_options(source=None)
@click.option("--clear", is_flag=True, help="Everything of the types, in place of NAMEs.")
@_dry_run
def remove(
    names: tuple[str, ...],
    target: Base,
    prefix: str | None,
    kinds: tuple[str, ...],
    as_json: bool,
    clear: bool,
    dry_run: bool,
) -> None:
    """Remove from --target the things of these NAMEs, which are of the one --type; or with --clear all of each."""
    from py_code_mode.transfer.transfer import Change, inventory
    from py_code_mode.transfer.transfer import remove as remove_from

    if clear == bool(names):
        raise click.UsageError("give NAMEs of one --type, or --clear for everything of each --type")
    if not kinds or (names and len(kinds) > 1):
        raise click.UsageError(f"say of what with --type, {'once' if names else 'as often as needed'}")
    target = _with_prefix(target, prefix)
    storage = _storage(target)
    chosen = {kind: list(names) for kind in kinds}
    there = [(kind, item.name) for kind, item in inventory(storage, kinds)]
    if clear:
        chosen = {kind: [name for other, name in there if other == kind] for kind in kinds}
    changes: list[Change] = []
    for kind, wanted in chosen.items():
        if dry_run:
            known = {name for other, name in there if other == kind}
            changes += [
                Change(kind, name, "-") if name in known else Change(kind, name, "!", "it is not there")
                for name in wanted
            ]
        else:
            changes += remove_from(storage, kind, wanted, author=author())
    _report(None, target, changes, dry_run=dry_run, as_json=as_json)


def _carry(source: Base, target: Base, kinds: tuple[str, ...], *, clear: bool, dry_run: bool, as_json: bool) -> None:
    transfer = _transfer(source, target, kinds)
    with _progress() as progress:
        found = transfer.compare(progress)
    asked = [change for change in found if change.mark not in ("+", "~", "-")]
    if dry_run:
        asked = [change for change in found if clear or change.mark != "-"]
    else:
        try:
            with _progress() as progress:
                for change in transfer.carry(found, clear=clear, progress=progress):
                    asked.append(change)
        except BaseException:
            if as_json:
                _print_document(source, target, asked)
            else:
                _report_lines(asked)
            raise
    kept = 0 if clear else sum(change.mark == "-" for change in found)
    _report(source, target, asked, dry_run=dry_run, as_json=as_json, kept=kept)


def _report(
    source: Base | None, target: Base, changes: list[Change], *, dry_run: bool, as_json: bool, kept: int = 0
) -> None:
    """Print what was done, and end with the exit status that says whether all of it was."""
    if as_json:
        _print_document(source, target, changes, dry_run=dry_run, kept=kept)
    else:
        _report_lines(changes)
        text = _summary(changes, _TO_DO if dry_run else _DONE)
        if kept:
            text += f"; {kept} on the receiving side only, kept (--clear removes such)"
        print(f"{text}. Nothing was changed (--dry-run)." if dry_run else text)
    if any(change.mark == "!" for change in changes):
        raise click.exceptions.Exit(FAILED)


def _report_lines(changes: list[Change]) -> None:
    for change in changes:
        if change.mark != "=":
            _print_change(change)


def _print_change(change: Change) -> None:
    problem = "" if change.problem is None else f": {change.problem}"
    text = " ".join(f"{change.mark} {change.kind}/{change.name}{problem}".split())
    click.secho(_harmless(text), fg=_COLOURS.get(change.mark))


def _harmless(text: str) -> str:
    """``text`` with what a terminal would obey as escapes: it comes from whoever can write to a workspace."""
    return "".join(char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text)


def _summary(changes: list[Change], words: Mapping[Mark, str]) -> str:
    counts = Counter(change.mark for change in changes)
    return ", ".join(f"{counts[mark]} {word}" for mark, word in words.items() if counts[mark]) or "nothing to do"


def _print_document(
    source: Base | None,
    target: Base,
    changes: list[Change],
    *,
    diffs: list[str] | None = None,
    dry_run: bool = False,
    kept: int = 0,
) -> None:
    from py_code_mode.storage.bases import shown

    listed: list[dict[str, Any]] = []
    for index, change in enumerate(changes):
        entry = {"type": change.kind, "name": change.name, "mark": change.mark, "problem": change.problem}
        listed.append(entry if diffs is None else entry | {"diff": diffs[index]})
    print_json(
        {
            "source": None if source is None else shown(source),
            "target": shown(target),
            "dry_run": dry_run,
            "changes": listed,
            "counts": {mark: sum(change.mark == mark for change in changes) for mark in _DONE},
            "kept": kept,
        }
    )


def _with_prefix(target: Base, prefix: str | None) -> Base:
    from py_code_mode.storage.bases import with_prefix

    if prefix is None:
        return target
    if not isinstance(target, str):
        raise click.UsageError("--prefix is for a target in Redis, and this one is a directory")
    try:
        return with_prefix(target, prefix)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _storage(base: Base) -> StorageBackend:
    from py_code_mode.storage.bases import storage_at

    try:
        return storage_at(base)
    except ValueError as error:  # the prefix
        raise click.UsageError(str(error)) from None


def _transfer(source: Base, target: Base, kinds: tuple[str, ...]) -> Transfer:
    from py_code_mode.transfer.transfer import Transfer

    ours, theirs = _storage(source), _storage(target)
    if ours.identity == theirs.identity and (isinstance(source, Path) or source == target):
        raise click.UsageError("--source and --target are the same workspace")
    return Transfer(ours, theirs, [kind for kind in KINDS if not kinds or kind in kinds], author=author())


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """A bar on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")

        def show(done: float, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=escape(name))

        yield show
