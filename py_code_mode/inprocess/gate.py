"""Raises KeyboardInterrupt in one thread, where its user's code runs and nowhere else.

``PyThreadState_SetAsyncExc`` is the only way to stop Python code that awaits nothing: the exception comes up
at the next byte code of that thread, whichever that is. So the thread says when it may come: the gate is
open while a run is under way, and ``with gate:`` puts it off to the end of what must not be left half done.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from kernel_bootstrap.loops import AWAIT_NAME

_MACHINERY = (
    "asyncio",
    "selectors",
    "threading",
    "concurrent",
    "contextlib",
    "py_code_mode",
    "kernel_bootstrap",
)

_set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc
_set_async_exc.argtypes = [ctypes.c_ulong, ctypes.py_object]
_set_async_exc.restype = ctypes.c_int


class Gate:
    """Lets interrupts into one thread. ``strike`` is called by others, everything else on that thread."""

    def __init__(self) -> None:
        # Re-entrant, since a garbage collection may run a __del__ that prints at any place.
        self._lock = threading.RLock()
        self._ident = 0
        self._open = False
        self._wanted = False
        self._depth = 0
        self.strikes = 0

    def adopt(self) -> None:
        """The calling thread is the one."""
        self._ident = threading.get_ident()

    @property
    def here(self) -> bool:
        """Whether the calling thread is the one."""
        return threading.get_ident() == self._ident

    def frame(self) -> FrameType | None:
        """The frame in which the thread is."""
        return sys._current_frames().get(self._ident)

    def open(self) -> None:
        """A run begins."""
        with self._lock:
            self._open = True
            self._wanted = False
            self._depth = self.strikes = 0

    def close(self) -> None:
        """The run is over. When this has returned nothing is raised any more; until then it may be."""
        with self._lock:
            self._clear()
            self._open = False

    def strike(self) -> bool:
        """Interrupt the thread. False: no code of the user is on its stack; it may be awaiting something."""
        with self._lock:
            if not self._open:
                return True
            self.strikes += 1
            if self._depth:
                self._wanted = True
                return True
            # Between this look and the next line the GIL is ours but for bad luck; then the next strike hits.
            if not _runs_user_code(self.frame(), every=self.strikes > 2):
                return False
            _set_async_exc(self._ident, KeyboardInterrupt)
            return True

    def abandon(self) -> None:
        """Leave an exception for the moment when the thread comes back from where it is stuck."""
        with self._lock:
            if self._open:
                self._depth = 0
                _set_async_exc(self._ident, KeyboardInterrupt)

    def put_off(self, step: Callable[[], object]) -> None:
        """Call ``step``; on the thread of this gate no interrupt comes before it has returned."""
        if self.here:
            with self:
                step()
        else:
            step()

    def __enter__(self) -> None:
        with self._lock:
            self._clear()  # first: what is left of a strike comes here or not at all, the next is in 0.25 s
            self._depth += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with self._lock:
            self._depth = max(self._depth - 1, 0)
            wanted = self._wanted and not self._depth
            if wanted:
                self._wanted = False
        if wanted:
            raise KeyboardInterrupt

    def _clear(self) -> None:
        _set_async_exc(self._ident, ctypes.py_object())


def _runs_user_code(frame: FrameType | None, *, every: bool) -> bool:
    """Whether a frame of a cell or a workflow is on the stack; ``every``: or any that is not machinery."""
    while frame is not None:
        names: dict[str, Any] = frame.f_globals
        if AWAIT_NAME in names:
            return True
        if every and str(names.get("__name__", "")).partition(".")[0] not in _MACHINERY:
            return True
        frame = frame.f_back
    return False
