"""What an artifact is: its description, the names it can have, the metadata it can carry."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kernel_bootstrap.formats import FORMATS
from kernel_bootstrap.wire import Buffer
from py_code_mode.errors import ArtifactFormatError, ArtifactNameError

RESERVED_FOLDER = ".meta"
"""First part of a name that no artifact can have: there the descriptions are kept."""

MAX_PART_BYTES = 255
MAX_NAME_BYTES = 3000
"""A whole name, so that it fits below a base path in what the system takes as a path (4,095 bytes)."""

_WHOLE = 1 << 20  # up to here a fingerprint covers every byte
_SAMPLES = 16
_SAMPLE = 1 << 16


@dataclass(frozen=True, slots=True)
class Artifact:
    """A stored value, described. Times are ISO 8601 in UTC; ``size`` is in bytes.

    ``path`` is an absolute path, or the URL of a storage that has none. ``format`` and ``details`` say how
    the bytes become a value again.
    """

    name: str
    path: str
    format: str
    size: int
    created_at: str
    updated_at: str
    description: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Everything but ``details``, as JSON values."""
        return {
            "name": self.name,
            "path": self.path,
            "description": self.description,
            "metadata": self.metadata,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "format": self.format,
            "size": self.size,
        }


def check_name(name: str) -> tuple[str, ...]:
    """The parts of ``name``. Raises ArtifactNameError, which says why, for a name that is refused."""
    if not isinstance(name, str):
        raise ArtifactNameError(f"the name of an artifact is a string, not {type(name).__name__}")
    parts = tuple(name.split("/"))
    reason = _problem(name, parts)
    if reason is not None:
        shown = name if len(name) <= 80 else name[:77] + "..."
        raise ArtifactNameError(f"{shown!r} cannot be the name of an artifact: {reason}", artifact=name)
    return parts


def _problem(name: str, parts: tuple[str, ...]) -> str | None:
    if not name:
        return "it is empty"
    if "\0" in name:
        return "it has a NUL character"
    if name.startswith("/"):
        return "it is absolute; leave out the / in front"
    if "" in parts:
        return "it has an empty part; write one / between parts and none at the end"
    if "." in parts or ".." in parts:
        return "parts '.' and '..' are refused"
    if parts[0] == RESERVED_FOLDER:
        return f"the folder {RESERVED_FOLDER} is reserved"
    try:
        sizes = [len(os.fsencode(part)) for part in parts]
    except UnicodeEncodeError:
        return "it has a lone surrogate, which no file name can hold"
    if os.fsdecode(os.fsencode(name)) != name:
        return "as a file name it would read differently"
    if max(sizes) > MAX_PART_BYTES:
        return f"a part is longer than {MAX_PART_BYTES} bytes"
    if len(os.fsencode(name)) > MAX_NAME_BYTES:
        return f"it is longer than {MAX_NAME_BYTES} bytes"
    return None


def check_notes(name: str, description: str, metadata: dict[str, Any] | None) -> dict[str, Any]:
    """A copy of ``metadata`` ({} for None). Raises ArtifactFormatError unless it is a JSON object.

    ``description`` has to be a string.
    """
    if not isinstance(description, str):
        raise ArtifactFormatError(
            f"the description of {name!r} is a string, not {type(description).__name__}", artifact=name
        )
    return {} if metadata is None else _json_object(name, "metadata", metadata)


def check_format(name: str, format: str, details: dict[str, Any]) -> dict[str, Any]:  # noqa: A002
    """A copy of ``details``. Raises ArtifactFormatError for a format that nobody could read again."""
    if not isinstance(format, str) or format not in FORMATS:
        known = ", ".join(FORMATS)
        raise ArtifactFormatError(f"unknown format {format!r}; the formats are {known}", artifact=name)
    return _json_object(name, "details", details)


def _json_object(name: str, what: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ArtifactFormatError(f"the {what} of {name!r} is a dict, not {type(value).__name__}", artifact=name)
    try:
        copy: dict[str, Any] = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ArtifactFormatError(f"the {what} of {name!r} is not JSON: {error}", artifact=name) from None
    if not _has_text_keys(value):
        raise ArtifactFormatError(f"the {what} of {name!r} has a key that is not a string", artifact=name)
    return copy


def _has_text_keys(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _has_text_keys(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_has_text_keys, value))
    return True


def utc_now() -> str:
    """The time as artifacts record it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def utc_from_ns(nanoseconds: int) -> str:
    """A file's time as artifacts record it."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat(timespec="microseconds")


def fingerprint(size: int, read: Callable[[int, int], Buffer]) -> str:
    """A digest by which content is recognised after it was copied; ``read(offset, count)`` gives bytes of it.

    Every byte up to 1 MiB; beyond that the size and 16 samples of 64 KiB, the ends among them, so that a
    large save does not cost a second pass.
    """
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    if size <= _WHOLE:
        digest.update(read(0, size))
    else:
        step = (size - _SAMPLE) // (_SAMPLES - 1)
        for index in range(_SAMPLES):
            digest.update(read(index * step, _SAMPLE))
    return digest.hexdigest()
