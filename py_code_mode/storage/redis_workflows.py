"""Workflows in Redis: a source under the name of each, an index, and their versions.

The versions of a workflow are a list of entries, and a hash of the sources by digest.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Hashable, Mapping
from contextlib import suppress
from typing import Any

from kernel_bootstrap.wire import Buffer
from py_code_mode.workflows.history import Entry, Use, Version, load_entries, numbered

from .redis_index import RedisIndex, encoded
from .redis_link import RedisLink

_BATCH = 64  # sources that are fetched at once

# KEYS: source, stamps, version of the index, entries, sources by digest. ARGV: name, source, stamp, entry, digest.
_WRITE = """
if redis.call('GET', KEYS[1]) == ARGV[2] and redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return 0 end
redis.call('HSET', KEYS[5], ARGV[5], ARGV[2])
redis.call('RPUSH', KEYS[4], ARGV[4])
redis.call('SET', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('SET', KEYS[3], ARGV[3])
return 1
"""

# KEYS: as above, without the last. ARGV: name, entry. A full server runs it, and may leave out the entry.
_DELETE = """
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
local found = redis.call('DEL', KEYS[1])
if found == 1 then redis.pcall('RPUSH', KEYS[4], ARGV[2]) end
return found
"""


# KEYS: uses. ARGV: name, calls, failures, last, and so on. What is counted late may have happened before the last.
_COUNT = """
for i = 1, #ARGV, 4 do
  redis.call('HINCRBY', KEYS[1], 'calls:' .. ARGV[i], ARGV[i + 1])
  redis.call('HINCRBY', KEYS[1], 'failures:' .. ARGV[i], ARGV[i + 2])
  local last = 'last:' .. ARGV[i]
  if (redis.call('HGET', KEYS[1], last) or '') <= ARGV[i + 3] then redis.call('HSET', KEYS[1], last, ARGV[i + 3]) end
end
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
        self.history = RedisWorkflowHistory(link)
        self.uses = RedisUseCounts(link)
        self._known: Mapping[str, bytes] = {}
        self._ahead = _Ahead()

    is_near = False

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
            keys = [self._source(each) for each in names]
            found = self._link.read("read the workflows", lambda client: client.mget(keys))
            ahead.sources = dict(zip(names, found, strict=True))
        return ahead.sources.pop(name)

    def write(self, name: str, source: Buffer, entry: Entry) -> None:
        """See ``WorkflowStore.write``."""
        keys = [*self._keys(name), self.history.sources_key(name)]
        arguments = [encoded(name), bytes(source), secrets.token_hex(8), entry.dump(), entry.digest]
        self._link.run(f"write the workflow {name!r}", _WRITE, keys, arguments)

    def delete(self, name: str, entry: Entry) -> bool:
        """See ``WorkflowStore.delete``."""
        if not _is_name(name) or self._index.stamp(name) is None:
            return False
        arguments = [encoded(name), entry.dump()]
        return bool(self._link.run(f"delete the workflow {name!r}", _DELETE, self._keys(name), arguments))

    def _source(self, name: str) -> bytes:
        return self._link.key("workflows", name)

    def _keys(self, name: str) -> list[bytes]:
        return [self._source(name), self._index.stamps_key, self._index.version_key, self.history.entries_key(name)]


class RedisWorkflowHistory:
    """The WorkflowHistory in Redis; the store writes it, together with the workflow."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    def entries_key(self, name: str) -> bytes:
        """The list of entries of a workflow."""
        return self._link.key("history", name)

    def sources_key(self, name: str) -> bytes:
        """The hash of all sources that a workflow had, by digest."""
        return self._link.key("sources", name)

    def versions(self, name: str) -> list[Version]:
        """See ``WorkflowHistory.versions``."""
        if not _is_name(name):
            return []
        key = self.entries_key(name)
        lines = self._link.read(f"read the history of {name!r}", lambda client: client.lrange(key, 0, -1))
        return numbered(load_entries(lines))

    def source(self, name: str, digest: str) -> bytes | None:
        """See ``WorkflowHistory.source``."""
        key = self.sources_key(name)
        found: bytes | None = self._link.read(f"read the history of {name!r}", lambda client: client.hget(key, digest))
        return found


class RedisUseCounts:
    """The UseCounts in a hash, with three fields for each workflow: calls, failures, last."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._key = link.key("uses")

    def add(self, uses: Mapping[str, Use]) -> None:
        """See ``UseCounts.add``."""

        rows = [item for name, use in uses.items() for item in (encoded(name), use.calls, use.failures, use.last)]
        self._link.run("count the uses of workflows", _COUNT, [self._key], rows)

    def read(self) -> Mapping[str, Use]:
        """See ``UseCounts.read``."""
        fields = self._link.read("read the uses of workflows", lambda client: client.hgetall(self._key))
        found: dict[str, Use] = {}
        for field, value in fields.items():
            kind, _, name = field.decode("utf-8", "surrogateescape").partition(":")
            with suppress(ValueError):  # what others have written there
                found[name] = found.get(name, Use()) + _use(kind, value)
        return found


def _use(kind: str, value: bytes) -> Use:
    if kind == "last":
        return Use(last=value.decode())
    return Use(calls=int(value)) if kind == "calls" else Use(failures=int(value))


def _is_name(name: Any) -> bool:
    if not isinstance(name, str):
        return False
    try:
        encoded(name)
    except UnicodeEncodeError:
        return False
    return True
