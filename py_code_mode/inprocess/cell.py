"""One run of code, and which one the calling thread or task works for."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any, Literal

from py_code_mode.results import OutputCollector, OutputEvent, StreamEvent

from .gate import Gate

_MOST_PENDING = 1 << 20
"""Characters that may wait for the engine's thread; beyond that the thread that writes waits for it."""

_GATHER = 0.01
"""Text waits this long for more, seconds: a print is two writes or more."""

_serials = itertools.count(1)


class Cell:
    """The code of one run, where its output goes, and how it ended. Made on the engine's loop.

    ``serial`` grows through the whole process, ``number`` counts the runs of one namespace. Output may come
    from any thread; what comes when the run is ``over`` is dropped, so that it never gets into a later run.
    """

    def __init__(self, code: str, collector: OutputCollector, gate: Gate) -> None:
        self.serial = next(_serials)
        self.code = code
        self.number: int | None = None
        self.began = False
        self.stopping = False
        self.over = False
        self.value: Any = None
        self.error_name: str | None = None
        self.message = ""
        self.traceback = ""
        self.seconds = 0.0
        self._collector = collector
        self.gate = gate
        self._loop = asyncio.get_running_loop()
        self._finished = False
        self._pending: deque[OutputEvent] = deque()
        self._pending_size = 0
        self._scheduled = False
        self._held: deque[threading.Lock] = deque()

    def emit(self, event: OutputEvent) -> None:
        """Take an output."""
        self._pending.append(event)
        if not self._scheduled:
            self.gate.put_off(self._schedule)  # an interrupt in the middle would leave it half done
        while self._pending_size > _MOST_PENDING and not self.over:
            self._wait_for_drain()

    def write(self, name: Literal["stdout", "stderr"], text: str) -> None:
        """Take text; what UTF-8 cannot hold is escaped."""
        if not text.isascii():
            text = text.encode("utf-8", "backslashreplace").decode()
        if text and not self.over:
            self._pending_size += len(text)
            self.emit(StreamEvent(name, text))

    def end(self) -> None:
        """The run is over; threads that were held back go on. From any thread."""
        self.over = True
        self._let_go()

    def outputs(self) -> dict[str, Any]:
        """The fields of the result that come from the outputs; called once, on the engine's loop."""
        self._drain()
        self._finished = True
        return self._collector.finish()

    def _schedule(self) -> None:
        self._scheduled = True
        self._on_engine(lambda: self._loop.call_later(_GATHER, self._drain))

    def _on_engine(self, step: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(step, context=Context())
        except RuntimeError:
            self.end()  # the engine has ended, and nobody reads what an abandoned run writes

    def _wait_for_drain(self) -> None:
        # One C call to wait in, on a lock of this call only: an interrupt may come at any line, and would leave
        # the lock of a Condition locked for everybody.
        held = threading.Lock()
        held.acquire()
        self._held.append(held)
        # Both after the append, so that neither an end nor the drain can pass unnoticed.
        if not self.over:
            self._on_engine(self._drain)
            held.acquire()

    def _let_go(self) -> None:
        while self._held:
            try:
                self._held.popleft().release()
            except IndexError:
                pass  # another thread was quicker

    def _drain(self) -> None:
        """Hand over what is pending; text that follows on text goes in one piece."""
        self._scheduled = False
        self._pending_size = 0
        events = [self._pending.popleft() for _ in range(len(self._pending))]
        self._let_go()
        if self._finished:
            return
        for name, group in itertools.groupby(events, _stream_of):
            if name is None:
                for event in group:
                    self._collector.add(event)
            else:
                text = "".join(event.text for event in group if isinstance(event, StreamEvent))
                self._collector.add(StreamEvent(name, text))


def _stream_of(event: OutputEvent) -> Literal["stdout", "stderr"] | None:
    return event.name if isinstance(event, StreamEvent) else None


current: ContextVar[Cell | None] = ContextVar("py_code_mode_cell", default=None)
"""The run that the calling code belongs to: inherited by tasks, and by threads while a session is open."""
