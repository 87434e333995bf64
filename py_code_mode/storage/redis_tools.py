"""Definitions of tools in Redis: the text of each in a key of its own, ``{prefix}:tools:{name}``, and an index."""

from __future__ import annotations

import secrets
from collections.abc import Hashable, Iterable, Mapping
from functools import partial
from typing import Any

from py_code_mode.errors import ToolDefinitionError
from py_code_mode.tools.store import check_store_name

from .redis_index import RedisIndex, encoded
from .redis_link import RedisLink

_BATCH = 64  # definitions that are fetched at once

# KEYS: definition, stamps, version. ARGV: name. A full server runs it, and no transaction.
_DELETE = """
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
return redis.call('DEL', KEYS[1])
"""


class RedisToolStore:
    """The ToolStore in Redis. Every change is done in one step."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._index = RedisIndex(link, "tools")

    def stamps(self) -> Mapping[str, Hashable]:
        """See ``ToolSource.stamps``. One small question when nothing changed."""
        return self._index.stamps()

    def read(self, names: Iterable[str]) -> dict[str, bytes | ToolDefinitionError]:
        """See ``ToolSource.read``."""
        wanted = list(names)
        contents: dict[str, bytes | ToolDefinitionError] = {}
        for start in range(0, len(wanted), _BATCH):
            batch = wanted[start : start + _BATCH]
            found = self._link.read("read the tools", partial(_fetch, [self._key(name) for name in batch]))
            contents |= {name: text for name, text in zip(batch, found, strict=True) if text is not None}
        return contents

    def where(self, name: str) -> str:
        """See ``ToolSource.where``."""
        return f"{self._link.place}/tools/{name}"

    def write(self, name: str, content: bytes) -> None:
        """See ``ToolStore.write``."""
        check_store_name(name)
        version = secrets.token_hex(8)

        def change(client: Any) -> None:
            with client.pipeline(transaction=True) as pipe:
                pipe.set(self._key(name), content)
                pipe.hset(self._index.stamps_key, encoded(name), version)
                pipe.set(self._index.version_key, version)
                pipe.execute()

        self._link.write(f"write the tool {name!r}", change)

    def delete(self, name: str) -> bool:
        """See ``ToolStore.delete``."""
        if self._index.stamp(name) is None:
            return False
        keys = [self._key(name), self._index.stamps_key, self._index.version_key]
        return bool(self._link.run(f"delete the tool {name!r}", _DELETE, keys, [encoded(name)]))

    def _key(self, name: str) -> bytes:
        return self._link.key("tools", name)


def _fetch(keys: list[bytes], client: Any) -> list[bytes | None]:
    found: list[bytes | None] = client.mget(keys)
    return found
