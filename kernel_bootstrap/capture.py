"""What code prints, caught for the calling task only.

``contextlib.redirect_stdout`` takes the output of the whole process: in a kernel that of other threads and
background tasks, in-process that of other sessions. Here a stand-in for ``sys.stdout`` looks up for whom it is called,
which tasks and ``asyncio.to_thread`` hand on; a thread that code starts by itself prints where it always would.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

_MOST = 1 << 20


class Captured:
    """Text that was caught; what comes after the first mebi-characters is dropped."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._room = _MOST

    def write(self, text: str) -> None:
        """Take text."""
        if self._room > 0:
            self._parts.append(text[: self._room])
            self._room -= len(text)

    def take(self) -> str:
        """All that was caught since the last time."""
        text = "".join(self._parts)
        self._parts, self._room = [], _MOST
        return text


_current: ContextVar[Captured | None] = ContextVar("captured_output", default=None)


class _Stdout:
    """Stands in ``sys.stdout`` for ``real`` while anybody captures."""

    _lock: ClassVar[threading.Lock] = threading.Lock()
    _users: ClassVar[int] = 0

    def __init__(self, real: Any) -> None:
        self._real = real

    def write(self, text: str) -> int:
        captured = _current.get()
        if captured is None:
            return int(self._real.write(text) or 0)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        captured.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "_real":
            raise AttributeError(name)
        return getattr(self._real, name)

    @classmethod
    def acquire(cls) -> None:
        with cls._lock:
            cls._users += 1
            if not isinstance(sys.stdout, cls):
                sys.stdout = cls(sys.stdout)

    @classmethod
    def release(cls) -> None:
        with cls._lock:
            cls._users -= 1
            # Where something else stands there by now it may stay: nobody captures any more.
            if not cls._users and isinstance(sys.stdout, cls):
                sys.stdout = sys.stdout._real


@contextmanager
def captured() -> Iterator[Captured]:
    """Catch what the calling task, and all that it awaits and starts, prints."""
    found = Captured()
    _Stdout.acquire()
    token = _current.set(found)
    try:
        yield found
    finally:
        _current.reset(token)
        _Stdout.release()
