"""What the file storage knows about an artifact beside its bytes: the JSON files below ``artifacts/.meta``.

The value of an artifact and its description lie in two files, and no system call replaces two files at
once. So a description names the file that it belongs to (inode, size, time of change, and a fingerprint of
the content for files that were copied), and a JSON file can hold two of them: that of the value which is
there, and that of the value which replaces it. The writer stores both, then renames the new value into
place. Whoever reads takes the description that fits the file which is there: one rename switches both.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from typing import Any

from py_code_mode.artifacts.artifact import fingerprint

VERSION = 1


@dataclass(frozen=True, slots=True)
class Record:
    """The description of one state of one artifact."""

    format: str
    details: dict[str, Any]
    description: str
    metadata: dict[str, Any]
    created_at: str
    updated_at: str
    size: int
    inode: int
    mtime_ns: int
    fingerprint: str

    def is_about(self, stat: os.stat_result) -> bool:
        """Whether this describes the very file that ``stat`` is of."""
        return (self.size, self.inode, self.mtime_ns) == (stat.st_size, stat.st_ino, stat.st_mtime_ns)


def dump_records(name: str, records: list[Record]) -> bytes:
    """The content of a JSON file that describes the artifact ``name``."""
    document = {"version": VERSION, "name": name, "records": [asdict(record) for record in records]}
    return json.dumps(document).encode("ascii")


def load_records(data: bytes) -> list[Record]:
    """The records in a JSON file, the newest last; what is malformed counts as absent."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return []
    if not isinstance(document, dict) or document.get("version") != VERSION:
        return []
    found = document.get("records")
    return [Record(**item) for item in found if _is_record(item)] if isinstance(found, list) else []


def recognise(fd: int, stat: os.stat_result, records: list[Record]) -> Record | None:
    """The record of the open file ``fd``, which was copied, restored or touched since it was saved."""
    candidates = [record for record in reversed(records) if record.size == stat.st_size]
    if not candidates:
        return None
    digest = fingerprint(stat.st_size, lambda offset, count: os.pread(fd, count, offset))
    return next((record for record in candidates if record.fingerprint == digest), None)


_TYPES = {"details": dict, "metadata": dict, "size": int, "inode": int, "mtime_ns": int}
_FIELDS = {field.name: _TYPES.get(field.name, str) for field in fields(Record)}


def _is_record(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and item.keys() == _FIELDS.keys()
        and all(isinstance(item[name], kind) for name, kind in _FIELDS.items())
    )
