"""Bytes that are too many for one message: how handlers take and give them, part by part.

A handler that takes them is given ``data`` to iterate over; one that gives them returns an ``Outgoing``. Over
the wire both are asked for in parts (see ``kernel_bootstrap.wire``), so the host holds a few parts of them,
whatever their size and however fast the kernel or the disk is.
"""

from __future__ import annotations

import asyncio
from asyncio import to_thread
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from kernel_bootstrap.errors import CodeModeError, LinkError, StorageError
from kernel_bootstrap.wire import ONE_MESSAGE, PART, WINDOW, Buffer, Source, parts_of, sizes

T = TypeVar("T")

STALLED = 60.0
"""A kernel that sends nothing and takes nothing for so long is not coming back to this, seconds: a forked child of it
may have ended, which nothing else tells."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The answer of a handler that gives many bytes: ``value``, a dict, and the ``size`` bytes of ``source``.

    Whoever gets it closes it.
    """

    value: dict[str, Any]
    source: Source
    size: int

    def close(self) -> None:
        """Close the source."""
        self.source.close()

    @property
    def head(self) -> dict[str, Any]:
        """What the one who asked is told first."""
        return {**self.value, "size": self.size}


class Incoming:
    """``size`` bytes that a kernel sends, to be iterated over once. ``want`` asks it for so many parts."""

    def __init__(self, size: Any, want: Callable[[int], None]) -> None:
        if type(size) is not int or size < 0:
            raise CodeModeError("the size of an upload is a number of bytes")
        self._left = size
        self._want = want
        self._asked = 0
        self._parts: asyncio.Queue[Buffer] = asyncio.Queue()

    def put(self, parts: Sequence[Buffer]) -> None:
        """The kernel has sent this. Nothing is kept of what was not asked for."""
        if self._asked and len(parts) == 1 and 0 < len(parts[0]) <= PART:
            self._asked -= 1
            self._parts.put_nowait(parts[0])

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        self._ask(WINDOW)
        while self._left:
            try:
                async with asyncio.timeout(STALLED):
                    part = await self._parts.get()
            except TimeoutError:
                raise LinkError(f"the kernel sent nothing for {STALLED:g} s") from None
            if len(part) > self._left:
                raise CodeModeError("the kernel sent more than it had said")
            self._left -= len(part)
            yield part
            self._ask(1)

    def _ask(self, count: int) -> None:
        if self._left:
            self._asked += count
            self._want(count)


class Wanted:
    """How many parts the kernel may be sent."""

    def __init__(self) -> None:
        self._count = 0
        self._more = asyncio.Event()

    def add(self, count: Any) -> None:
        """The kernel wants more."""
        if type(count) is int and count > 0:
            self._count = min(self._count + count, WINDOW)
            self._more.set()

    async def take(self) -> None:
        """Wait until one may be sent. Raises LinkError when the kernel wants none."""
        try:
            async with asyncio.timeout(STALLED):
                while not self._count:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise LinkError(f"the kernel took nothing for {STALLED:g} s") from None
        self._count -= 1


async def parts_from(outgoing: Outgoing, wanted: Wanted) -> AsyncIterator[bytes]:
    """The parts of ``outgoing`` as they are wanted, read one ahead; StorageError where its source ends early."""
    left = outgoing.size
    while left:
        part = await finished(partial(outgoing.source.read, min(PART, left)))
        if not part:
            raise StorageError("the artifact was cut short while it was read")
        left -= len(part)
        await wanted.take()
        yield part


async def local_parts(buffers: Sequence[Buffer]) -> AsyncIterator[Buffer]:
    """What ``Incoming`` is, of memory of this process."""
    for part in parts_of(buffers):
        yield part


def sendable(buffers: Sequence[Buffer]) -> Buffer | AsyncIterator[Buffer]:
    """What a handler takes as ``data``: the bytes in one piece where they are few, else ``local_parts``."""
    return b"".join(buffers) if sizes(buffers) <= ONE_MESSAGE else local_parts(buffers)


async def finished(work: Callable[[], T], undo: Callable[[T], None] | None = None) -> T:
    """``to_thread`` that is over when it returns, also where its caller is cancelled.

    What ``work`` gave nobody gets then: ``undo`` is called with it.
    """
    working = asyncio.ensure_future(to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await _over(working)
        if undo is not None and working.exception() is None:
            await finished(partial(undo, working.result()))
        raise


async def _over(work: asyncio.Future[Any]) -> None:
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError:
            continue  # on its way already
    if not work.cancelled():
        work.exception()  # seen
