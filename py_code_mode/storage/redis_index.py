"""What a prefix holds, name by name, read again only after something changed."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from py_code_mode.errors import StorageError

from .redis_link import RedisLink


class RedisIndex:
    """The stamps of all names of one ``kind`` ("workflows"), cached for as long as the version stays the same.

    A version is random text, not a number: a server that came back empty cannot count up to one that somebody
    knows already. Whoever writes sets a new one; whoever deletes removes it, which a full server allows too.
    """

    def __init__(self, link: RedisLink, kind: str) -> None:
        self._link = link
        self._doing = f"list the {kind}"
        # Not below the kind itself: a workflow may be called "version".
        self.stamps_key = link.key("index", kind, "stamps")
        self.version_key = link.key("index", kind, "version")
        self._cached: tuple[bytes | None, Mapping[str, bytes]] = (None, {})

    def stamps(self) -> Mapping[str, bytes]:
        """Name: stamp. A stamp is another one after each change."""
        version = self._link.read(self._doing, lambda client: client.get(self.version_key))
        known, stamps = self._cached
        if version is not None and version == known:
            return stamps
        version, found = self._link.read(self._doing, self._both)
        stamps = {name.decode("utf-8", "surrogateescape"): bytes(stamp) for name, stamp in found.items()}
        if version is None and stamps:
            with suppress(StorageError):  # a replica cannot be written to, and is read all the same
                self._link.write(
                    self._doing, lambda client: client.set(self.version_key, secrets.token_hex(8), nx=True)
                )
        self._cached = (version, stamps)
        return stamps

    def stamp(self, name: str) -> bytes | None:
        """The stamp of one name."""
        field = encoded(name)
        found: bytes | None = self._link.read(self._doing, lambda client: client.hget(self.stamps_key, field))
        return found

    def _both(self, client: Any) -> tuple[bytes | None, dict[bytes, bytes]]:
        # In this order the version is never newer than the stamps. A full server refuses transactions, reads as well.
        with client.pipeline(transaction=False) as pipe:
            pipe.get(self.version_key)
            pipe.hgetall(self.stamps_key)
            version, found = pipe.execute()
        return version, found


def encoded(name: str) -> bytes:
    """A name as Redis keeps it; those that came from bytes that are not UTF-8 become these bytes again."""
    return name.encode("utf-8", "surrogateescape")
