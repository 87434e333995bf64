"""Locks between processes, and threads that are waited for, for code on an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
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
    from filelock import FileLock, Timeout

    lock = FileLock(path, thread_local=False)
    deadline = time.monotonic() + timeout
    while True:
        try:
            lock.acquire(blocking=False)
            break
        except Timeout:
            if waiting is not None:
                waiting()
                waiting = None
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} was held by another process for {timeout:g} s") from None
            await asyncio.sleep(POLL_INTERVAL)
    try:
        yield
    finally:
        lock.release()


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
