"""Vectors in Redis, so that a text is embedded once for all machines."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from py_code_mode.errors import StorageError

from .redis_link import RedisLink

_log = logging.getLogger(__name__)

_ASKED = 1_000
"""So many vectors in one answer: 1 MB of those with 256 numbers."""

_MOST = 200_000
"""So many vectors are kept; then they are begun anew. Those of workflows that are gone are never asked for again."""


class RedisVectors:
    """The VectorStore in a hash. A server that is gone, full or read-only is done without."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._key = link.key("vectors")

    def read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """See ``VectorStore.read``."""
        found: dict[bytes, bytes] = {}
        try:
            for start in range(0, len(keys), _ASKED):
                some = keys[start : start + _ASKED]
                vectors = self._link.read("read vectors", partial(self._ask, some))
                found |= {key: bytes(vector) for key, vector in zip(some, vectors, strict=True) if vector is not None}
        except StorageError as error:
            _log.debug("vectors are not read: %s", error)
        return found

    def _ask(self, keys: Sequence[bytes], client: Any) -> list[Any]:
        found: list[Any] = client.hmget(self._key, keys)
        return found

    def write(self, vectors: Mapping[bytes, bytes]) -> None:
        """See ``VectorStore.write``."""
        items = [*vectors.items()]

        def keep(client: Any) -> None:
            if client.hlen(self._key) + len(items) > _MOST:
                client.unlink(self._key)
            for start in range(0, len(items), _ASKED):
                client.hset(self._key, mapping=dict(items[start : start + _ASKED]))

        try:
            self._link.write("keep vectors", keep)
        except StorageError as error:
            _log.debug("vectors are not kept: %s", error)
