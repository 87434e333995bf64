"""The storage backends that every contract test runs on."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

from py_code_mode import FileStorage, MemoryStorage, RedisStorage, StorageBackend

from .redis_servers import shared_server

BACKENDS: dict[str, Callable[[Path], StorageBackend]] = {
    "file": lambda folder: FileStorage(folder / "workspace"),
    "memory": lambda folder: MemoryStorage(),
    "redis": lambda folder: RedisStorage(shared_server().url, prefix=f"test-{uuid.uuid4().hex}"),
}
