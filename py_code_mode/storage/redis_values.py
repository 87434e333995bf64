"""The bytes of one artifact in Redis: chunks of a generation, on their way in and out.

Chunks are written with a time to live, so that those of a writer that dies disappear. The commit makes them
stay, and gives the chunks of the generation before a time to live, in which its readers come to their end.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from kernel_bootstrap.wire import Buffer
from py_code_mode.artifacts.artifact import Artifact
from py_code_mode.errors import StorageError

from .redis_link import RedisLink

CHUNK = 1 << 20
"""Bytes of a chunk: a server is busy with one for about a millisecond."""

ORPHANED = 3600
"""Seconds after which a chunk goes that nobody committed; so long can writing one artifact take."""

RETIRED = 300
"""Seconds for which what was replaced or deleted can be read by those who have begun to."""


class RedisArtifactWriter:
    """The ArtifactWriter into Redis; ``publish(generation, chunks, tail, size)`` makes what was written the artifact.

    ``tail`` are the bytes after the chunks.
    """

    def __init__(self, link: RedisLink, doing: str, publish: Callable[[str, int, bytes, int], Artifact]) -> None:
        self._link = link
        self._doing = doing
        self._publish = publish
        self._generation = secrets.token_hex(8)
        self._chunks = 0
        self._tail = bytearray()

    def write(self, data: Buffer) -> None:
        """See ``ArtifactWriter.write``."""
        rest = memoryview(data)
        rest = rest.cast("B") if rest.nbytes else rest
        while rest.nbytes:
            if len(self._tail) == CHUNK:
                self._store_tail()
            room = CHUNK - len(self._tail)
            self._tail += rest[:room]
            rest = rest[room:]

    def commit(self) -> Artifact:
        """See ``ArtifactWriter.commit``."""
        size = self._chunks * CHUNK + len(self._tail)
        artifact = self._publish(self._generation, self._chunks, bytes(self._tail), size)
        self._chunks = 0
        return artifact

    def close(self) -> None:
        """See ``ArtifactWriter.close``."""
        self._tail.clear()
        while self._chunks:
            self._chunks -= 1
            try:
                self._unlink(chunk_key(self._link, self._generation, self._chunks))
            except StorageError:
                self._chunks = 0  # they expire

    def _unlink(self, key: bytes) -> None:
        self._link.write(self._doing, lambda client: client.unlink(key))

    def _store_tail(self) -> None:
        key, content = chunk_key(self._link, self._generation, self._chunks), bytes(self._tail)
        self._chunks += 1
        self._link.write(self._doing, lambda client: client.set(key, content, ex=ORPHANED))
        self._tail.clear()


class RedisSource:
    """The bytes of one generation, ``size`` of them, fetched chunk by chunk."""

    def __init__(self, link: RedisLink, name: str, generation: str, size: int) -> None:
        self._link = link
        self._name = name
        self._generation = generation
        self._left = size
        self._next = 0
        self._chunk = memoryview(b"")

    def readinto(self, buffer: memoryview, /) -> int:
        """See ``Source.readinto``. After an error the same bytes can be read again."""
        before = (self._left, self._next, self._chunk)
        try:
            return self._fill(buffer)
        except BaseException:
            self._left, self._next, self._chunk = before
            raise

    def _fill(self, buffer: memoryview) -> int:
        filled = 0
        while filled < buffer.nbytes and self._left:
            if not self._chunk.nbytes:
                self._chunk = self._fetch()
            part = self._chunk[: buffer.nbytes - filled]
            buffer[filled : filled + part.nbytes] = part
            self._chunk = self._chunk[part.nbytes :]
            filled += part.nbytes
            self._left -= part.nbytes
        return filled

    def read(self, size: int, /) -> bytes:
        """See ``Source.read``."""
        return bytes(self.read_buffer(size))

    def read_buffer(self, size: int) -> memoryview:
        """As ``read``, without a copy."""
        buffer = memoryview(bytearray(min(size, self._left)))
        self.readinto(buffer)
        return buffer.toreadonly()

    def close(self) -> None:
        """See ``Source.close``."""
        self._chunk, self._left = memoryview(b""), 0

    def _fetch(self) -> memoryview:
        key = chunk_key(self._link, self._generation, self._next)
        content: Any = self._link.read(f"read the artifact {self._name!r}", lambda client: client.get(key))
        if content is None or len(content) != min(CHUNK, self._left):
            raise StorageError(
                f"cannot read the artifact {self._name!r} at {self._link.place}: a part of it is gone; it was replaced "
                "or deleted while it was read, or Redis evicts keys (maxmemory-policy)"
            )
        self._next += 1
        return memoryview(content)


def chunk_key(link: RedisLink, generation: str, index: int | str) -> bytes:
    """The key of one chunk."""
    return link.key("chunk", generation, str(index))
