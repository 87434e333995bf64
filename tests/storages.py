"""The storage backends that every contract test runs on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from py_code_mode import FileStorage, MemoryStorage, StorageBackend

BACKENDS: dict[str, Callable[[Path], StorageBackend]] = {
    "file": lambda folder: FileStorage(folder / "workspace"),
    "memory": lambda folder: MemoryStorage(),
}
