"""Workflows in Redis: a hash of sources, and an index."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Hashable, Mapping
from typing import Any

from kernel_bootstrap.wire import Buffer

from .redis_index import RedisIndex, encoded
from .redis_link import RedisLink

_BATCH = 64  # sources that are fetched at once

# KEYS: sources, stamps, version. ARGV: name. A full server runs it, and no transaction.
_DELETE = """
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
return redis.call('HDEL', KEYS[1], ARGV[1])
"""


class _Ahead(threading.local):
    """What this thread is about to read, in order, and what was fetched of it.

    By thread: what was fetched is never older than the stamps that the same thread asked for.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.sources: dict[str, bytes | None] = {}


class RedisWorkflowStore:
    """The WorkflowStore in Redis. Every change is done in one step."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._index = RedisIndex(link, "workflows")
        self._sources = link.key("workflows")
        self._known: Mapping[str, bytes] = {}
        self._ahead = _Ahead()

    def stamps(self) -> Mapping[str, Hashable]:
        """See ``WorkflowStore.stamps``. One small question when nothing changed."""
        stamps, known = self._index.stamps(), self._known
        self._ahead.sources = {}
        if stamps is known:
            self._ahead.names = []
        else:
            self._ahead.names = sorted((name for name in stamps if stamps[name] != known.get(name)), reverse=True)
            self._known = stamps
        return stamps

    def stamp(self, name: str) -> Hashable | None:
        """See ``WorkflowStore.stamp``."""
        self._ahead.names, self._ahead.sources = [], {}
        return self._index.stamp(name) if _is_name(name) else None

    def read(self, name: str) -> bytes | None:
        """See ``WorkflowStore.read``. Of many that changed, the next ones are fetched as well."""
        if not _is_name(name):
            return None
        ahead = self._ahead
        if name not in ahead.sources:
            while ahead.names and ahead.names[-1] < name:
                ahead.names.pop()
            names = [ahead.names.pop() for _ in range(min(_BATCH, len(ahead.names)))]
            if name not in names:
                names = [name]
            fields = [encoded(each) for each in names]
            found = self._link.read("read the workflows", lambda client: client.hmget(self._sources, fields))
            ahead.sources = dict(zip(names, found, strict=True))
        return ahead.sources.pop(name)

    def write(self, name: str, source: Buffer) -> None:
        """See ``WorkflowStore.write``."""
        field, version = encoded(name), secrets.token_hex(8)

        def change(client: Any) -> None:
            with client.pipeline(transaction=True) as pipe:
                pipe.hset(self._sources, field, bytes(source))
                pipe.hset(self._index.stamps_key, field, version)
                pipe.set(self._index.version_key, version)
                pipe.execute()

        self._link.write(f"write the workflow {name!r}", change)

    def delete(self, name: str) -> bool:
        """See ``WorkflowStore.delete``."""
        if not _is_name(name) or self._index.stamp(name) is None:
            return False
        keys = [self._sources, self._index.stamps_key, self._index.version_key]
        return bool(self._link.run(f"delete the workflow {name!r}", _DELETE, keys, [encoded(name)]))


def _is_name(name: Any) -> bool:
    if not isinstance(name, str):
        return False
    try:
        encoded(name)
    except UnicodeEncodeError:
        return False
    return True
