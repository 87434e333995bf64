"""Who uses an environment, and its removal when nobody does.

Whoever uses one holds a shared flock on its marker, which ends with the process however that ends; a pid
file would outlive a killed process and mean nothing to another container with the same cache. Whoever removes
one holds the lock of its workspace, and the flock alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from .venv_layout import BUILDING, MARKER, TRASH, Marker


@dataclass(slots=True)
class _Claim:
    fd: int
    inode: tuple[int, int]
    count: int


_claims: dict[Path, _Claim] = {}
_claims_guard = threading.Lock()


def claim(directory: Path, *, wait: bool = False) -> Marker | None:
    """Count the environment in ``directory`` as used by this process until ``release``, and as used now.

    Returns its marker; None, without a claim, when it is not complete or is being removed. ``wait`` is for
    callers that hold the workspace's lock: nobody removes it then, an ``in_use`` passes in microseconds.
    """
    path = directory / MARKER
    with contextlib.ExitStack() as stack:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_SH if wait else fcntl.LOCK_SH | fcntl.LOCK_NB)
            # After the lock: whoever removes it holds the lock alone, then moves it away.
            stat, there = os.fstat(fd), path.stat()
        except OSError:
            return None
        inode = (stat.st_dev, stat.st_ino)
        marker = Marker.parse(os.pread(fd, 1 << 16, 0))
        if marker is None or inode != (there.st_dev, there.st_ino):
            return None
        with contextlib.suppress(OSError):  # a read-only cache works
            os.utime(fd)
        with _claims_guard:
            held = _claims.get(directory)
            if held is None:
                _claims[directory] = _Claim(fd, inode, 1)
                stack.pop_all()
            else:
                held.count += 1
                if held.inode != inode:  # it was rebuilt in place since
                    os.close(held.fd)
                    held.fd, held.inode = fd, inode
                    stack.pop_all()
    return marker


def release(directory: Path) -> None:
    """Take back one ``claim``."""
    with _claims_guard:
        held = _claims.get(directory)
        if held is not None:
            held.count -= 1
            if held.count == 0:
                os.close(held.fd)
                del _claims[directory]


def in_use(directory: Path) -> bool:
    """Whether a live process, this one included, has a claim on the environment in ``directory``."""
    try:
        fd = os.open(directory / MARKER, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def discard(directory: Path) -> None:
    """Remove ``directory``: at once from its place, then what it holds. The caller holds the lock."""
    trash = Path(tempfile.mkdtemp(prefix=TRASH, dir=directory.parent))
    try:
        directory.rename(trash / "old")
    except FileNotFoundError:
        pass
    shutil.rmtree(trash, ignore_errors=True)


def discard_unused(directory: Path) -> bool:
    """``discard``, unless a live process uses it. False if one does. The caller holds the lock."""
    try:
        fd = os.open(directory / MARKER, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        discard(directory)
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # With the lock held, so that no claim comes between the question and the removal.
        discard(directory)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def sweep(folder: Path) -> None:
    """Remove what killed processes left in ``folder``. The caller holds the lock: nobody works there."""
    for prefix in (BUILDING, TRASH):
        for leftover in folder.glob(f"{prefix}*"):
            shutil.rmtree(leftover, ignore_errors=True)
