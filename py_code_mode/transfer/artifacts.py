"""Artifacts, compared and carried a part at a time, whatever their size."""

from __future__ import annotations

import json
from contextlib import closing

from kernel_bootstrap.wire import Source
from py_code_mode.artifacts.artifact import Artifact
from py_code_mode.artifacts.store import ArtifactStore

from .shelf import Item, Moved

_PART = 1 << 20
_SHOWN = 1 << 20
"""Bytes up to which the content of a text is shown in a diff."""


class ArtifactShelf:
    """The artifacts: values, descriptions and metadata. When they were made is not carried."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._found: dict[str, Artifact] = {}

    def items(self) -> dict[str, Item]:
        """See ``Shelf``, here and below."""
        self._found = {artifact.name: artifact for artifact in self._store.list()}
        return {name: Item(name, _about(found)) for name, found in self._found.items()}

    def same(self, name: str, other: ArtifactShelf) -> bool:
        one, two = self._found[name], other._found[name]
        if _notes(one) != _notes(two) or (one.format, one.size, one.details) != (two.format, two.size, two.details):
            return False
        ours, theirs = self._store.open(name)[1], other._store.open(name)[1]
        with closing(ours), closing(theirs):
            while part := _next(ours):
                if part != _next(theirs, len(part)):
                    return False
            return not _next(theirs, 1)

    def text(self, name: str) -> str:
        artifact = self._found[name]
        lines = [f"{key}: {value}" for key, value in _notes(artifact).items() if value]
        lines.append(f"format: {artifact.format}, {artifact.size:,} bytes")
        if artifact.format in ("text", "json") and artifact.size <= _SHOWN:
            content = bytes(self._store.read(name)[1])
            lines += ["", _readable(artifact.format, content)]
        return "\n".join(lines)

    def take(self, name: str, other: ArtifactShelf, moved: Moved) -> None:
        artifact, source = other._store.open(name)
        done = 0
        with (
            closing(source),
            closing(
                self._store.create(name, artifact.format, artifact.details, artifact.description, artifact.metadata)
            ) as writer,
        ):
            while part := _next(source):
                writer.write(part)
                done += len(part)
                moved(done / max(artifact.size, 1))
            writer.commit()

    def remove(self, name: str) -> None:
        self._store.delete(name)


def _next(source: Source, size: int = _PART) -> bytes:
    """The next ``size`` bytes, fewer only at the end."""
    parts = bytearray()
    while len(parts) < size and (part := source.read(size - len(parts))):
        parts += part
    return bytes(parts)


def _notes(artifact: Artifact) -> dict[str, object]:
    return {"description": artifact.description, "metadata": artifact.metadata}


def _about(artifact: Artifact) -> str:
    text = f"{artifact.format}, {artifact.size:,} bytes"
    return f"{text}  {artifact.description}" if artifact.description else text


def _readable(form: str, content: bytes) -> str:
    if form == "json":
        try:
            return json.dumps(json.loads(content), indent=1, ensure_ascii=False)
        except (ValueError, RecursionError):
            pass
    return content.decode("utf-8", "backslashreplace")
