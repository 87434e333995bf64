"""Locks between processes, and threads that are waited for, for code on an event loop."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

POLL_INTERVAL = 0.05
"""Seconds between two tries for a lock. A try is one system call; a blocking wait in a thread could not be
cancelled."""


@asynccontextmanager
async def held(path: Path, *, timeout: float, waiting: Callable[[], None] | None = None) -> AsyncIterator[None]:
    """Hold the lock of the file ``path`` against every other process and task.

    ``waiting`` is called once if another one holds it. Raises TimeoutError after ``timeout`` seconds and
    OSError when the file cannot be opened. A holder that dies lets go of it.
    """
    deadline = time.monotonic() + timeout
    with _opened(path) as fd:
        while not _locked(fd):
            if waiting is not None:
                waiting()
                waiting = None
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} was held by another process for {timeout:g} s")
            await asyncio.sleep(POLL_INTERVAL)
        yield


@contextmanager
def tried(path: Path) -> Iterator[bool]:
    """Hold the lock of the file ``path`` if nobody does; gives whether it is held. Raises OSError as ``held``."""
    with _opened(path) as fd:
        yield _locked(fd)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    # Not filelock: importing it takes longer than all else that a new virtualenv over a base needs.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o666)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, flags, 0o666)
    try:
        yield fd
    finally:
        # Before the close: a process that was forked meanwhile has a copy, and would go on holding the lock.
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``asyncio.to_thread`` that, cancelled, returns only when the thread is done.

    So what ``function`` writes is not written behind the back of the clean-up that follows.
    """
    task = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
