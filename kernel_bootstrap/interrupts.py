"""Interrupts that hit the cell they were meant for, and nothing else.

ipykernel ignores a SIGINT that comes a millisecond before or after the user's code, and raises
KeyboardInterrupt in its own machinery when it comes at its edges. Here a cell has a *window*, open only
while the user's code runs. An interrupt names its cell: it is kept while the cell has not begun, delivered
while the window is open, and dropped when the cell is over.
"""

from __future__ import annotations

import asyncio
import selectors
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

from .loops import AWAIT_NAME, end_loop, make_loop

_WAITS_FOR_EVENTS = selectors.DefaultSelector.select.__code__

_REMEMBERED = 10_000
"""Cells that are to be interrupted when they begin, and cells that have begun."""

_INTERRUPTED = compile("raise KeyboardInterrupt", "<interrupt>", "exec")


class Interrupts:
    """Which cell is running on the main thread, and which are to be interrupted."""

    def __init__(self, loop: asyncio.AbstractEventLoop, namespace: dict[str, Any]) -> None:
        self._loop = loop
        self._namespace = namespace
        self.main_thread = threading.main_thread().ident or 0
        self._lock = threading.Lock()
        self._wanted: dict[str, None] = {}
        self._begun: deque[str] = deque(maxlen=_REMEMBERED)
        self._cell: str | None = None
        self._open = False
        self._task: asyncio.Task[Any] | None = None
        self._pending = False
        self._unheard: str | None = None
        self.hits = 0

    def install(self) -> None:
        """Make this the handler of SIGINT, whatever code has put there."""
        signal.signal(signal.SIGINT, self.on_sigint)

    @property
    def cell(self) -> str | None:
        """The msg_id of the cell that is running, or None."""
        return self._cell

    def is_open(self) -> bool:
        """Whether the user's code is running."""
        return self._open

    @property
    def task(self) -> asyncio.Task[Any] | None:
        """The task of the cell that is running, where that can wait in the event loop."""
        return self._task

    def frame(self) -> FrameType | None:
        """The frame that the main thread is in."""
        return sys._current_frames().get(self.main_thread)

    def is_idle(self) -> bool:
        """Whether the main thread waits in its event loop for something to do."""
        frame = self.frame()
        return frame is not None and frame.f_code is _WAITS_FOR_EVENTS

    def begin(self, cell: str) -> None:
        """The request of ``cell`` has arrived on the main thread."""
        with self._lock:
            self._cell = cell
            self._begun.append(cell)
            self._pending = cell in self._wanted
            self._wanted.pop(cell, None)
            self.hits = int(self._pending)

    def end(self) -> None:
        """The cell is over; its reply comes next."""
        with self._lock:
            self._cell = None
            self._pending = False

    def request(self, cell: str | None, *, withdraw: bool = False) -> bool:
        """Interrupt ``cell`` (None: whichever is running), now or when it begins; called on the control thread.

        ``withdraw`` spares one that has begun. Returns whether it has.
        """
        with self._lock:
            running = self._cell is not None if cell is None else cell == self._cell
            begun = running or cell in self._begun
            if cell is not None and not begun:
                self._wanted[cell] = None
                if len(self._wanted) > _REMEMBERED:
                    del self._wanted[next(iter(self._wanted))]
            strike = running and not withdraw
            if strike:
                self._unheard = self._cell
        if strike:
            signal.pthread_kill(self.main_thread, signal.SIGINT)
        return begun

    def repeat(self) -> bool:
        """Interrupt again where the last one was not heard: it came a moment before the code went into a call that
        blocks, which it then did not end. Returns whether it may have to be repeated once more.
        """
        with self._lock:
            unheard = self._unheard is not None and self._unheard == self._cell
        if unheard:
            signal.pthread_kill(self.main_thread, signal.SIGINT)
        return unheard

    @contextmanager
    def window(self, code: CodeType | None = None, *, parks: bool = False) -> Iterator[CodeType | None]:
        """Interrupts are let through inside. Gives the code to run: an interrupt that came earlier replaces it.

        ``parks`` tells that the code may wait in the event loop with nothing of it on the stack. In a subshell, which
        no signal reaches, nothing happens.
        """
        if threading.get_ident() != self.main_thread:
            yield code
            return
        outer = self._open, self._task  # a cell can run another: get_ipython().run_cell(...)
        self._task = asyncio.current_task() if parks else None
        self._open = True
        try:
            if self._pending:
                self._pending = False
                yield _INTERRUPTED
            else:
                yield code
        finally:
            self._open, self._task = outer

    def on_sigint(self, signum: int, frame: FrameType | None) -> None:
        """The handler of SIGINT; runs on the main thread between two byte codes."""
        self._unheard = None
        if self._cell is None:
            return
        self.hits += 1
        if not self._open:
            self._pending = True
            return
        if _is_undivided(frame):
            self._unheard = self._cell  # a moment only; it is repeated
            return
        if self._task is None or self._runs_user_code(frame):
            raise KeyboardInterrupt
        # Parked in the event loop: raising there would end the kernel's loop, and SIGINT alone does not wake it.
        self._loop.call_soon_threadsafe(self._task.cancel)

    def _runs_user_code(self, frame: FrameType | None) -> bool:
        """Whether code of the user is on the stack above the kernel's own event loop."""
        own = False
        found = False
        while frame is not None:
            if frame.f_code.co_name == "_run_once":
                # What was seen so far ran from a loop; only the outermost loop is the kernel's.
                found, own = found or own, False
            elif self._is_own(frame):
                own = True
            frame = frame.f_back
        return found

    def _is_own(self, frame: FrameType) -> bool:
        """Whether a frame is of the user's code; after two interrupts without effect, of anything but the kernel's."""
        if frame.f_globals is self._namespace or AWAIT_NAME in frame.f_globals:
            return True
        if frame.f_globals.get("__name__") == "kernel_bootstrap.link":
            return True  # a request that waits for its answer blocks the loop: no cancellation would come through
        return self.hits > 2 and not _is_machinery(frame)


UNDIVIDED: set[CodeType] = {make_loop.__code__, end_loop.__code__}
"""Code that no interrupt may cut in two."""


def _is_undivided(frame: FrameType | None) -> bool:
    for _ in range(8):
        if frame is None:
            return False
        if frame.f_code in UNDIVIDED:
            return True
        frame = frame.f_back
    return False


_MACHINERY = (
    "asyncio",
    "selectors",
    "tornado",
    "zmq",
    "ipykernel",
    "IPython",
    "kernel_bootstrap",
    "runpy",
    "threading",
)


def _is_machinery(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] in _MACHINERY or module in ("__main__", "contextlib", "traitlets")
