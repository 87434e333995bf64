"""One artifact on its way into a file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from kernel_bootstrap.wire import Buffer
from py_code_mode.artifacts.artifact import Artifact, fingerprint, utc_now

from .disk import TemporaryFile
from .records import Record


class FileArtifactWriter:
    """The ArtifactWriter into ``file``; ``errors`` are those of each step.

    ``publish`` makes the file the artifact; it is given its content as well where that was written in one piece.
    """

    def __init__(
        self,
        file: TemporaryFile,
        publish: Callable[[TemporaryFile, memoryview | None], Artifact],
        errors: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._file = file
        self._whole: memoryview | None = memoryview(b"")
        self._publish = publish
        self._errors = errors

    def write(self, data: Buffer) -> None:
        """See ``ArtifactWriter.write``."""
        view = memoryview(data)
        if view.nbytes:
            view = view.cast("B")
            with self._errors():
                self._file.write(view)
            self._whole = view if self._whole is not None and not self._whole else None

    def commit(self) -> Artifact:
        """See ``ArtifactWriter.commit``."""
        with self._errors():
            return self._publish(self._file, self._whole)

    def close(self) -> None:
        """See ``ArtifactWriter.close``."""
        self._file.remove()


def record_of(
    file: TemporaryFile,
    whole: memoryview | None,
    format: str,  # noqa: A002
    details: dict[str, Any],
    description: str,
    metadata: dict[str, Any],
) -> Record:
    """The record of what was written into ``file``, created now; ``whole`` spares reading it again."""
    # Two files can share inode number, size and clock tick one after the other; no nanosecond.
    stamp = time.time_ns()
    os.utime(file.fd, ns=(stamp, stamp))
    stat = os.fstat(file.fd)
    now = utc_now()

    def read(offset: int, count: int) -> Buffer:
        return os.pread(file.fd, count, offset) if whole is None else whole[offset : offset + count]

    return Record(
        format=format,
        details=details,
        description=description,
        metadata=metadata,
        created_at=now,
        updated_at=now,
        size=stat.st_size,
        inode=stat.st_ino,
        mtime_ns=stat.st_mtime_ns,
        fingerprint=fingerprint(stat.st_size, read),
    )
