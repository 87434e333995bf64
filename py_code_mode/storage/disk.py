"""What the file stores share: errors that say where, one lock for several processes, files replaced whole."""

from __future__ import annotations

import ctypes
import errno
import io
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kernel_bootstrap.wire import Buffer
from py_code_mode.errors import StorageError

LOCK_TIMEOUT = 30.0
"""Seconds to wait for another process; a lock is held for milliseconds, so its holder is stopped by then."""

_LOCK_POLL = 0.002
_TEMPORARY = ".tmp-"
_ABANDONED = 3600.0  # seconds without a write after which a temporary file belongs to nobody


@contextmanager
def storage_errors(doing: str, path: Path) -> Iterator[None]:
    """Turns an OSError into a StorageError with ``doing`` ("save the artifact"), ``path`` and the reason."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"cannot {doing} at {path}: {reason}") from error


@contextmanager
def exclusive(path: Path, timeout: float | None = None) -> Iterator[None]:
    """Holds the lock file ``path``, made when it is missing, against threads and processes alike.

    Raises StorageError after ``timeout`` seconds, by default LOCK_TIMEOUT. The kernel releases the lock of a process
    that dies.
    """
    from filelock import FileLock, Timeout  # costs more than the rest of this package; only writers need it

    timeout = LOCK_TIMEOUT if timeout is None else timeout
    lock = FileLock(path, timeout=timeout, poll_interval=_LOCK_POLL)
    with storage_errors("lock the workspace", path):
        try:
            lock.acquire()
        except Timeout:
            raise StorageError(f"another process has held {path} for {timeout:g} s: end it, or try again") from None
    try:
        yield
    finally:
        lock.release()


def inside(base: Path, path: Path) -> Path:
    """``path``, which is given as below ``base``, with its symbolic links resolved.

    Raises StorageError when they lead out of ``base``.
    """
    if not _has_links(os.fspath(path), len(os.fspath(base))):
        return path
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(base):
        raise StorageError(f"{path} is a symbolic link that leaves the workspace {base}: it leads to {real}")
    return real


def _has_links(path: str, above: int) -> bool:
    # Most often there is none, and to know that takes a third of the time of realpath, which begins at the root.
    while len(path) > above:
        try:
            if stat.S_ISLNK(os.lstat(path).st_mode):
                return True
        except OSError:  # what cannot be reached, whoever opens it will tell
            pass
        path = os.path.dirname(path)  # noqa: PTH120 - pathlib would take most of what is saved
    return False


_LOCAL = frozenset({0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x2FC12FC1, 0x794C7630, 0x01021994})
"""ext, XFS, btrfs, F2FS, ZFS, overlayfs and tmpfs, as statfs(2) names them. What is left out may be a network away."""


def is_local(folder: Path) -> bool:
    """Whether ``folder`` is on a disk of this machine, as far as is known; False where there is no such folder."""
    if sys.platform != "linux":
        return False
    found = (ctypes.c_long * 64)()  # struct statfs is smaller, and begins with the type
    return ctypes.CDLL(None).statfs(os.fsencode(folder), found) == 0 and found[0] & 0xFFFFFFFF in _LOCAL


class TemporaryFile:
    """A new file of ``folder``, to be renamed into place. See ``is_temporary``."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"
        self.fd = -1
        try:
            self.fd = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)
        except BaseException:
            self.remove()
            raise

    def write(self, data: Buffer) -> None:
        """Append ``data``."""
        rest = memoryview(data)
        while rest.nbytes:
            rest = rest.cast("B")
            rest = rest[os.write(self.fd, rest) :]

    def close(self) -> None:
        """Write no more."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def remove(self) -> None:
        """Close it; remove it where it has not been renamed."""
        self.close()
        with suppress(OSError):
            self.path.unlink()


def write_temporary(folder: Path, data: Buffer) -> Path:
    """The path of a TemporaryFile that holds ``data``."""
    file = TemporaryFile(folder)
    try:
        file.write(data)
        file.close()
    except BaseException:
        file.remove()
        raise
    return file.path


class StoredFile(io.FileIO):
    """The file of the descriptor ``fd``, to be read; ``path`` is for errors, which are StorageErrors."""

    def __init__(self, fd: int, path: Path) -> None:
        super().__init__(fd, "rb")
        self._path = path

    def readinto(self, buffer: Any, /) -> int:
        with storage_errors("read", self._path):
            return super().readinto(buffer) or 0

    def read(self, size: int | None = -1, /) -> bytes:
        with storage_errors("read", self._path):
            return super().read(size) or b""


def read_plain(path: Path, tail: int | None = None) -> bytes | None:
    """The content of a file, or its last ``tail`` bytes; None: there is none.

    Raises OSError for what is no plain file: a link could lead anywhere, and a FIFO keeps its reader waiting.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file")
        with os.fdopen(fd, "rb", closefd=False) as file:
            if tail is not None and found.st_size > tail:
                file.seek(-tail, os.SEEK_END)
            return file.read()
    finally:
        os.close(fd)


def replace_file(target: Path, data: Buffer) -> None:
    """Make ``data`` the content of ``target``; whatever ends this process leaves the old file or the new one.

    A file that is there keeps its permissions.
    """
    temporary = write_temporary(target.parent, data)
    try:
        with suppress(FileNotFoundError):
            temporary.chmod(target.stat().st_mode & 0o7777)
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def is_temporary(name: str) -> bool:
    """Whether a file of this name is that of a TemporaryFile."""
    return name.startswith(_TEMPORARY)


class Sweeper:
    """Sweeps folders, each once: what others leave later is swept by those who come later."""

    def __init__(self) -> None:
        self._swept: set[Path] = set()

    def sweep(self, folder: Path) -> None:
        """See the function ``sweep``, which looks at every file of the folder."""
        if folder not in self._swept:
            self._swept.add(folder)
            sweep(folder)


def sweep(folder: Path) -> None:
    """Remove the temporary files that writers left in ``folder`` when they died."""
    limit = time.time() - _ABANDONED
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if is_temporary(entry.name) and entry.stat(follow_symlinks=False).st_mtime < limit:
                with suppress(OSError):
                    Path(entry.path).unlink()
