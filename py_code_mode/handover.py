"""Handing the events of a run from the engine's thread to the loop that reads them."""

from __future__ import annotations

import asyncio
from collections import deque

from .results import OutputEvent


class EventQueue:
    """Hands events from the engine's thread to the loop that made it, in order and in batches."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: deque[OutputEvent | None] = deque()
        self._wake = asyncio.Event()

    def put(self, event: OutputEvent | None) -> None:
        self._events.append(event)
        if len(self._events) == 1:  # after the append: a reader may empty the queue in between
            try:
                self._loop.call_soon_threadsafe(self._wake.set)
            except RuntimeError:
                pass  # the reader's loop has ended

    async def get(self) -> OutputEvent | None:
        while not self._events:
            self._wake.clear()
            if not self._events:
                await self._wake.wait()
        return self._events.popleft()
