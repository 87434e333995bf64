"""Storage: where a workspace keeps its workflows, artifacts and requirements."""

from __future__ import annotations

from .base import StorageBackend
from .file import FileStorage
from .memory import MemoryStorage

__all__ = ["FileStorage", "MemoryStorage", "StorageBackend"]
