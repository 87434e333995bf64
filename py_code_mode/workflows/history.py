"""The versions of a workflow: each save is one, in order, by number from 1."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .workflow import workflow_path

SAVED = "saved"
EDITED = "edited in its file"
DELETED = "deleted"

_FIELDS = {"digest", "created", "author", "change"}
_DIGEST = re.compile("([0-9a-f]{64})?")


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


def load_entries(lines: Sequence[bytes]) -> list[Entry]:
    """The entries that ``dump`` wrote; what is malformed, such as half a line, is left out."""
    try:
        found = json.loads(b"[%s]" % b",".join(lines))  # all at once takes a third of the time
        if len(found) != len(lines):
            found = [_parsed(line) for line in lines]
    except (ValueError, RecursionError):
        found = [_parsed(line) for line in lines]
    return [Entry(**fields) for fields in found if _is_entry(fields)]


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _is_entry(fields: Any) -> bool:
    return (
        isinstance(fields, dict)
        and fields.keys() == _FIELDS
        and all(isinstance(value, str) for value in fields.values())
        and _DIGEST.fullmatch(fields["digest"]) is not None
    )


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
_CONTEXT = 3
_MOST_PAIRS = 1_000_000
"""Pairs of equal lines that are compared; more, in sources made for it, would take minutes to hours."""


def diff(name: str, old: tuple[str, str], new: tuple[str, str]) -> str:
    """The unified diff of two sources, each given as (version for people, source); "" where they are the same.

    Long sources that have the same lines over and over are shown as one change, from the first difference to the last.
    """
    lines = (_LINE.findall(old[1]), _LINE.findall(new[1]))
    titles = (f"{workflow_path(name)} ({old[0]})", f"{workflow_path(name)} ({new[0]})")
    found = _one_change(*lines, *titles) if _pairs(*lines) > _MOST_PAIRS else _changes(*lines, *titles)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in found)


def _pairs(old: Sequence[str], new: Sequence[str]) -> int:
    ours, theirs = Counter(old), Counter(new)
    most = len(new) // 100 + 1 if len(new) >= 200 else len(new)  # what occurs more often difflib does not pair
    return sum(count * theirs[line] for line, count in ours.items() if theirs[line] <= most)


def _changes(old: Sequence[str], new: Sequence[str], old_title: str, new_title: str) -> Iterable[str]:
    from difflib import unified_diff  # only those who ask for a difference need it

    return unified_diff(old, new, old_title, new_title, n=_CONTEXT)


def _one_change(old: Sequence[str], new: Sequence[str], old_title: str, new_title: str) -> Iterable[str]:
    head = next((n for n, (ours, theirs) in enumerate(zip(old, new, strict=False)) if ours != theirs), None)
    if head is None and len(old) == len(new):
        return
    head = min(len(old), len(new)) if head is None else head
    rest = min(len(old), len(new)) - head
    tail = next((n for n in range(rest) if old[-1 - n] != new[-1 - n]), rest)
    start, after = max(head - _CONTEXT, 0), min(tail, _CONTEXT)
    ends = (len(old) - tail, len(new) - tail)
    yield f"--- {old_title}\n"
    yield f"+++ {new_title}\n"
    yield f"@@ -{start + 1},{ends[0] + after - start} +{start + 1},{ends[1] + after - start} @@\n"
    yield from (f" {line}" for line in old[start:head])
    yield from (f"-{line}" for line in old[head : ends[0]])
    yield from (f"+{line}" for line in new[head : ends[1]])
    yield from (f" {line}" for line in old[ends[0] : ends[0] + after])
