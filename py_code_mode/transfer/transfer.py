"""One workspace beside another: what differs, and carrying it over."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from py_code_mode.errors import ArtifactNameError, CodeModeError, RequirementError, StorageError
from py_code_mode.storage.base import StorageBackend

from .shelf import KINDS, Item
from .shelves import shelf

Mark = Literal["+", "-", "~", "=", "!"]

Progress = Callable[[float, int, str], None]
"""Hears how many things are done, how many there are, and the name of the present one."""


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
        self._storages = (source, target)

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
        path = f"{change.kind}/{change.name}"
        try:
            before = "" if change.mark == "+" else target.text(change.name)
            after = "" if change.mark == "-" else source.text(change.name)
        except CodeModeError as error:  # a part of it is gone
            return f"{path}: {error.message}\n"
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
        tell, asked = progress or _silent, list(changes)
        todo = [change for change in asked if change.mark in ("+", "~")]
        gone = [change for change in asked if change.mark == "-"] if clear else []
        total, late = len(todo) + len(gone), []
        for index, change in enumerate(todo):
            error = self._take(change, index, total, tell)
            if gone and isinstance(error, ArtifactNameError):
                late.append(change)  # its name is free when the target's own are gone
            else:
                yield _outcome(change, error)
        for index, change in enumerate(gone, len(todo)):
            tell(index, total, f"{change.kind}/{change.name}")
            yield _outcome(change, self._attempt(partial(self._shelves[change.kind][1].remove, change.name)))
        for change in late:
            yield _outcome(change, self._take(change, total - 1, total, tell))

    def _compared(self, kind: str, name: str, there: Item | None, here: Item | None) -> Change:
        if there is None:
            return Change(kind, name, "-", here.problem if here else None)
        if there.problem is not None:
            return Change(kind, name, "!", there.problem)
        if here is None:
            return Change(kind, name, "+")
        source, target = self._shelves[kind]
        same: list[bool] = []
        error = self._attempt(lambda: same.append(source.same(name, target)))
        return _outcome(Change(kind, name, "=" if same == [True] else "~"), error)

    def _take(self, change: Change, index: int, total: int, tell: Progress) -> CodeModeError | None:
        source, target = self._shelves[change.kind]
        label = f"{change.kind}/{change.name}"
        tell(index, total, label)
        return self._attempt(lambda: target.take(change.name, source, lambda part: tell(index + part, total, label)))

    def _attempt(self, do: Callable[[], None]) -> CodeModeError | None:
        """Why it failed; raises StorageError when a storage is gone."""
        try:
            do()
        except StorageError as error:
            if self._is_gone():
                raise
            return error
        except CodeModeError as error:
            return error
        return None

    def _is_gone(self) -> bool:
        """Whether it was not the fault of one thing: a storage does not answer the smallest question."""
        try:
            for storage in self._storages:
                storage.get_dependency_store().read()
        except StorageError:
            return True
        return False


def _outcome(change: Change, error: CodeModeError | None) -> Change:
    return change if error is None else replace(change, mark="!", problem=error.message)


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
        except RequirementError as error:
            changes.append(Change(kind, name, "!", error.message))
    return changes


def _lines(text: str) -> list[str]:
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return lines


def _silent(done: float, total: int, name: str) -> None:
    """Nobody looks on."""
