"""One workspace beside another: what differs, and carrying it over."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from py_code_mode.errors import ArtifactNameError, CodeModeError, StorageError
from py_code_mode.storage.base import StorageBackend

from .shelf import KINDS, Item
from .shelves import shelf

Mark = Literal["+", "-", "~", "=", "!"]

Progress = Callable[[float, int, str], None]
"""Hears how many things are done, how many there are, and the name of the present one."""

_PATIENCE = 3
"""Storage errors in a row after which a storage counts as gone: each may have cost its whole timeout."""


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one thing of the target.

    ``mark`` is "+" (the source has it, the target not), "-" (the target only), "~" (they differ), "=" (the same) or
    "!" (it cannot be carried, or was not; ``problem`` says why).
    """

    kind: str
    name: str
    mark: Mark
    problem: str | None = None


class Transfer:
    """Compares the workspace ``source`` with ``target``, and carries what differs to ``target``.

    Any two storages will do. ``kinds`` are some of KINDS, ``author`` is who saves workflows. Blocking; raises
    StorageError when a storage is gone, while trouble with one thing is told in its Change and never stops the rest.
    """

    def __init__(
        self, source: StorageBackend, target: StorageBackend, kinds: Sequence[str] = KINDS, *, author: str = ""
    ) -> None:
        self._shelves = {kind: (shelf(source, kind), shelf(target, kind, author)) for kind in kinds}
        self._failures = 0

    def compare(self, progress: Progress | None = None) -> list[Change]:
        """Everything that one of the two has, by kind: what the source has, in its order, then the rest."""
        tell = progress or _silent
        items = {kind: (ours.items(), theirs.items()) for kind, (ours, theirs) in self._shelves.items()}
        wanted = [(kind, name) for kind, (there, here) in items.items() for name in {**there, **here}]
        changes = []
        for index, (kind, name) in enumerate(wanted):
            tell(index, len(wanted), f"{kind}/{name}")
            there, here = items[kind]
            changes.append(self._compared(kind, name, there.get(name), here.get(name)))
        return changes

    def diff(self, change: Change) -> str:
        """The unified diff from the target to the source of something that is added, removed or changed; else ""."""
        if change.mark not in ("+", "-", "~"):
            return ""
        source, target = self._shelves[change.kind]
        before = "" if change.mark == "+" else target.text(change.name)
        after = "" if change.mark == "-" else source.text(change.name)
        path = f"{change.kind}/{change.name}"
        lines = difflib.unified_diff(
            _lines(before),
            _lines(after),
            "/dev/null" if change.mark == "+" else f"target/{path}",
            "/dev/null" if change.mark == "-" else f"source/{path}",
        )
        return "".join(lines) or f"{path}: the content differs, and is not text that can be shown\n"

    def carry(
        self, changes: Iterable[Change], *, clear: bool = False, progress: Progress | None = None
    ) -> Iterator[Change]:
        """Make the target what ``changes`` say; yields each that was made, or was not, with its problem.

        ``clear`` removes what the target only has, after everything else is there: who looks on meanwhile sees the old
        things or the new, each whole, and never less than there is to be. What was saved to the target since
        ``compare`` is replaced where it is in ``changes``.
        """
        tell = progress or _silent
        todo = [change for change in changes if change.mark in ("+", "~")]
        gone = [change for change in changes if change.mark == "-"] if clear else []
        total, late = len(todo) + len(gone), []
        for index, change in enumerate(todo):
            made, again = self._taken(change, index, total, tell)
            if again and gone:
                late.append(change)  # its name is free when the target's own are gone
            else:
                yield made
        for index, change in enumerate(gone, len(todo)):
            tell(index, total, f"{change.kind}/{change.name}")
            yield self._tried(change, partial(self._shelves[change.kind][1].remove, change.name))
        for change in late:
            yield self._taken(change, total - 1, total, tell)[0]

    def _compared(self, kind: str, name: str, there: Item | None, here: Item | None) -> Change:
        if there is None:
            return Change(kind, name, "-", here.problem if here else None)
        if there.problem is not None:
            return Change(kind, name, "!", there.problem)
        if here is None:
            return Change(kind, name, "+")
        source, target = self._shelves[kind]
        equal = False

        def look() -> None:
            nonlocal equal
            equal = source.same(name, target)

        tried = self._tried(Change(kind, name, "~"), look)
        return Change(kind, name, "=") if equal else tried

    def _taken(self, change: Change, index: int, total: int, tell: Progress) -> tuple[Change, bool]:
        """The change as it was made; True: its name was taken."""
        source, target = self._shelves[change.kind]
        label = f"{change.kind}/{change.name}"
        tell(index, total, label)
        taken = False

        def take() -> None:
            nonlocal taken
            try:
                target.take(change.name, source, lambda part: tell(index + part, total, label))
            except ArtifactNameError:
                taken = True
                raise

        return self._tried(change, take), taken

    def _tried(self, change: Change, do: Callable[[], None]) -> Change:
        try:
            do()
        except StorageError as error:
            self._failures += 1
            if self._failures >= _PATIENCE:
                raise
            return replace(change, mark="!", problem=error.message)
        except CodeModeError as error:
            return replace(change, mark="!", problem=error.message)
        self._failures = 0
        return change


def inventory(storage: StorageBackend, kinds: Sequence[str] = KINDS) -> list[tuple[str, Item]]:
    """Everything in ``storage``, with its kind."""
    return [(kind, item) for kind in kinds for item in shelf(storage, kind).items().values()]


def remove(storage: StorageBackend, kind: str, names: Sequence[str], *, author: str = "") -> list[Change]:
    """Remove the things of these names; what is not there is "!" in what it returns."""
    there = shelf(storage, kind, author)
    known = there.items()
    changes = []
    for name in names:
        if name not in known:
            changes.append(Change(kind, name, "!", "it is not there"))
            continue
        try:
            there.remove(name)
            changes.append(Change(kind, name, "-"))
        except StorageError:
            raise
        except CodeModeError as error:
            changes.append(Change(kind, name, "!", error.message))
    return changes


def _lines(text: str) -> list[str]:
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return lines


def _silent(done: float, total: int, name: str) -> None:
    """Nobody looks on."""
