"""Vectors that are kept, so that a text is embedded once."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from .embedder import Embedder

_log = logging.getLogger(__name__)

_MOST = 256 * 1024 * 1024
"""Bytes of the file; one that has grown larger is begun anew."""

_WAIT = 2.0
"""Seconds for another process that writes, which takes milliseconds; what takes longer is not waited for."""

_ASKED = 500
"""So many keys in one query: SQLite allows at least 999 parameters."""


class VectorStore(Protocol):
    """Keeps vectors for a ranker, which calls it from one thread at a time, by keys that say text and embedder.

    It may forget any of them at any time, and raises nothing: what it cannot keep is embedded again.
    """

    def read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The vectors that are kept under these keys, as float32 bytes."""
        ...

    def write(self, vectors: Mapping[bytes, bytes]) -> None:
        """Keep these."""
        ...


class KeptEmbedder:
    """An embedder whose vectors are kept in ``store``, by ``name`` and by the hash of the text.

    For documents, not for queries, which would fill it.
    """

    def __init__(self, embedder: Embedder, name: str, store: VectorStore) -> None:
        self._embedder = embedder
        self._name = name
        self._store = store

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """See ``Embedder.embed``."""
        keys = [self._key(text) for text in texts]
        known = self._store.read(keys)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if missing:
            vectors = np.asarray(self._embedder.embed([*missing.values()]), np.float32)
            if vectors.ndim != 2 or len(vectors) != len(missing):
                raise ValueError(f"the embedder gave an array {vectors.shape} for {len(missing)} texts")
            new = {key: vector.tobytes() for key, vector in zip(missing, vectors, strict=True)}
            self._store.write(new)
            known |= new
        return np.stack([np.frombuffer(known[key], np.float32) for key in keys])

    def _key(self, text: str) -> bytes:
        return hashlib.blake2b(f"{self._name}\0{text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


class DiskVectors:
    """The VectorStore of a machine: a SQLite file for all workspaces. One that cannot be used is done without."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    def read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """See ``VectorStore.read``."""
        found: dict[bytes, bytes] = {}

        def read(file: sqlite3.Connection) -> None:
            for start in range(0, len(keys), _ASKED):
                some = keys[start : start + _ASKED]
                marks = ",".join("?" * len(some))
                found.update(file.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", some))

        self._use(read)
        return found

    def write(self, vectors: Mapping[bytes, bytes]) -> None:
        """See ``VectorStore.write``."""

        def write(file: sqlite3.Connection) -> None:
            ((pages,),) = file.execute("PRAGMA page_count")
            ((size,),) = file.execute("PRAGMA page_size")
            if pages * size > _MOST:
                file.execute("DROP TABLE vectors")
                file.execute(_TABLE)
            file.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", vectors.items())

        self._use(write)

    def _use(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Calls ``work`` with the file, in a transaction; what goes wrong with the file ends it quietly."""
        path = self._path or _default()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(path, timeout=_WAIT)) as file, file:
                file.execute("PRAGMA synchronous = OFF")  # what a power failure spoils is made again
                file.execute(_TABLE)
                work(file)
        except (OSError, sqlite3.Error) as error:
            _log.debug("no vectors are kept in %s: %s", path, error)
            # Not busy, full or read-only, but no database, or a damaged one.
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                with contextlib.suppress(OSError):
                    path.unlink()


_TABLE = "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL)"


def _default() -> Path:
    if chosen := os.environ.get("PY_CODE_MODE_CACHE"):
        return Path(chosen).expanduser() / "vectors.sqlite"
    import platformdirs

    return platformdirs.user_cache_path("py-code-mode") / "vectors.sqlite"
