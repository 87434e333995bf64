"""The versions of a workflow: each save is one, in order, by number from 1."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .workflow import workflow_path

SAVED = "saved"
EDITED = "edited in its file"
DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Entry:
    """What was done to a workflow: when (ISO 8601, UTC), by whom, and what came of it.

    ``digest`` is the SHA-256 of the source in hexadecimal, "" for a deletion. ``author`` names a session or a
    person; "" where nobody said: the file was edited. ``change`` is a word or two for people.
    """

    digest: str
    created: str
    author: str = ""
    change: str = SAVED

    def dump(self) -> bytes:
        """One line of JSON, without its end."""
        fields = {"digest": self.digest, "created": self.created, "author": self.author, "change": self.change}
        return json.dumps(fields).encode()


def load_entry(line: bytes) -> Entry | None:
    """The entry that ``dump`` wrote; None for what is malformed, such as half a line."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.keys() != {"digest", "created", "author", "change"}:
        return None
    return Entry(**found) if all(isinstance(value, str) for value in found.values()) else None


@dataclass(frozen=True, slots=True)
class Version:
    """Version ``number`` of a workflow."""

    number: int
    entry: Entry

    @property
    def deleted(self) -> bool:
        """Whether it is the end of the workflow, and has no source."""
        return not self.entry.digest

    def to_dict(self) -> dict[str, Any]:
        """``version``, ``created``, ``author``, ``change``, ``digest``."""
        entry = self.entry
        return {
            "version": self.number,
            "created": entry.created,
            "author": entry.author,
            "change": entry.change,
            "digest": entry.digest,
        }


def numbered(entries: Iterable[Entry]) -> list[Version]:
    """The versions of these entries, which are in order."""
    return [Version(number, entry) for number, entry in enumerate(entries, 1)]


@dataclass(frozen=True, slots=True)
class Use:
    """How often a workflow was called, how often the call failed, and when it was called last (ISO 8601, UTC)."""

    calls: int = 0
    failures: int = 0
    last: str = ""

    def __add__(self, other: Use) -> Use:
        return Use(self.calls + other.calls, self.failures + other.failures, max(self.last, other.last))

    def to_dict(self) -> dict[str, Any]:
        """``calls``, ``failures``, and ``last_used``, which is None for one that was never called."""
        return {"calls": self.calls, "failures": self.failures, "last_used": self.last or None}


_LINE = re.compile(r"[^\n]*\n|[^\n]+")  # str.splitlines would split at a form feed as well


def diff(name: str, old: tuple[str, str], new: tuple[str, str]) -> str:
    """The unified diff of two sources, each given as (version for people, source); "" where they are the same."""
    from difflib import unified_diff  # only those who ask for a difference need it

    lines = unified_diff(
        _LINE.findall(old[1]),
        _LINE.findall(new[1]),
        f"{workflow_path(name)} ({old[0]})",
        f"{workflow_path(name)} ({new[0]})",
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
