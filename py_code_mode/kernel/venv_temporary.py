"""Where temporary virtualenvs are, and the removal of those whose process was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "py-code-mode-venv-"
_OWNER = "owner"

_owned: dict[Path, int] = {}
"""Homes of temporary environments and the locked file that says that their maker lives."""


def make_home() -> Path:
    """A new directory for one temporary environment, until ``remove_home``. Raises OSError."""
    base = Path(tempfile.gettempdir()).absolute()
    for other in base.glob(f"{_PREFIX}*"):
        _remove_orphan(other)
    while True:
        home = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        fd = os.open(home / _OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (home / _OWNER).exists():
                _owned[home] = fd
                return home
        os.close(fd)  # somebody took it for an orphan before it was locked, and removes it


def remove_home(home: Path) -> None:
    """Remove ``home`` with what is in it."""
    shutil.rmtree(home, ignore_errors=True)
    fd = _owned.pop(home, None)
    if fd is not None:
        os.close(fd)


def _remove_orphan(home: Path) -> None:
    """Remove a temporary environment of this user whose maker was killed."""
    with contextlib.suppress(OSError):
        if home.lstat().st_uid != os.getuid():
            return
        fd = os.open(home / _OWNER, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(home, ignore_errors=True)
        finally:
            os.close(fd)
