"""The ``Shelf`` seam: one kind of thing in one storage, as it is compared and carried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

KINDS = ("workflows", "tools", "deps", "artifacts")
"""What a storage holds."""

Moved = Callable[[float], None]
"""Hears how much of one thing is carried, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing: its name, a line about it for people, and why it cannot be carried (None: it can)."""

    name: str
    about: str = ""
    problem: str | None = None


class Shelf(Protocol):
    """All things of one kind in one storage, as they were when ``items`` was called; ``Transfer`` uses it.

    ``other`` is a shelf of the same kind. Methods raise StorageError when a storage fails, and another CodeModeError
    when this one thing cannot be had.
    """

    def items(self) -> dict[str, Item]:
        """Everything by name, in the order of the storage. Called first."""
        ...

    def same(self, name: str, other: Any) -> bool:
        """Whether the thing is the same on both shelves."""
        ...

    def text(self, name: str) -> str:
        """It as lines to compare."""
        ...

    def take(self, name: str, other: Any, moved: Moved) -> None:
        """Put it here as it is on ``other``, in one step."""
        ...

    def remove(self, name: str) -> None:
        """Remove it."""
        ...
