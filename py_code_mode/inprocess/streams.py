"""stdin, stdout and stderr while in-process sessions are open: each run has its own, all else the real ones.

``sys.stdout`` is one for the whole process, so what stands there looks up which run the calling thread or
task belongs to. Threads and thread pools hand that on, as tasks do by themselves.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, ClassVar, Literal

from .cell import Cell, current


class StdinNotImplementedError(NotImplementedError):
    """Code asked for input, and there is nobody to ask. Named as IPython's error for the same."""


class _Routed:
    """Stands in ``sys`` for ``real``, which is used outside of runs, and by runs older than ``since``."""

    def __init__(self, real: Any, since: int) -> None:
        self._real = real
        self._since = since

    @staticmethod
    def unwrapped(stream: Any) -> Any:
        """What ``stream`` stands for, or itself."""
        while isinstance(stream, _Routed):
            stream = stream._real
        return stream

    def _cell(self) -> Cell | None:
        cell = current.get()
        return cell if cell is not None and (cell.over or cell.serial >= self._since) else None

    def isatty(self) -> bool:
        return self._cell() is None and self._real is not None and bool(self._real.isatty())

    def close(self) -> None:
        if self._cell() is None:
            self._real.close()

    def __getattr__(self, name: str) -> Any:
        if name == "_real":
            raise AttributeError(name)
        return getattr(self._real, name)

    def __iter__(self) -> Any:
        return iter(self.readline, "") if self._cell() else iter(self._real)


class _Output(_Routed):
    """``sys.stdout`` or ``sys.stderr``."""

    stream: ClassVar[Literal["stdout", "stderr"]]

    def write(self, text: str) -> int:
        cell = self._cell()
        if cell is None:
            return 0 if self._real is None else int(self._real.write(text) or 0)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        cell.write(self.stream, str.__str__(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if self._cell() is None and self._real is not None:
            self._real.flush()

    @property
    def buffer(self) -> Any:
        cell = self._cell()
        return self._real.buffer if cell is None else _Bytes(cell, self.stream)

    def reconfigure(self, **options: Any) -> None:
        if self._cell() is None:
            self._real.reconfigure(**options)


class _Stdout(_Output):
    stream = "stdout"


class _Stderr(_Output):
    stream = "stderr"


class _Bytes(io.RawIOBase):
    """``sys.stdout.buffer`` of a run."""

    def __init__(self, cell: Cell, stream: Literal["stdout", "stderr"]) -> None:
        self._cell = cell
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._cell.write(self._stream, bytes(view).decode("utf-8", "replace"))
        return view.nbytes


class _Input(_Routed):
    """``sys.stdin``: a run has nobody to ask."""

    def fileno(self) -> int:
        return int(self._real_or_refuse().fileno())

    def read(self, *args: Any) -> Any:
        return self._real_or_refuse().read(*args)

    def readline(self, *args: Any) -> Any:
        return self._real_or_refuse().readline(*args)

    def readlines(self, *args: Any) -> Any:
        return self._real_or_refuse().readlines(*args)

    @property
    def buffer(self) -> Any:
        return self._real_or_refuse().buffer

    def _real_or_refuse(self) -> Any:
        if self._cell() is not None:
            raise StdinNotImplementedError("input() has nobody to ask in a session: put the value into the code")
        return self._real


_KINDS: dict[str, type[_Routed]] = {"stdin": _Input, "stdout": _Stdout, "stderr": _Stderr}


class Routing:
    """The routed streams of this process: there from the first ``acquire`` to the last ``release``."""

    _guard: ClassVar[threading.Lock] = threading.Lock()
    _users: ClassVar[int] = 0
    _undo: ClassVar[list[Callable[[], None]]] = []

    @classmethod
    def acquire(cls) -> None:
        """A thread for code begins."""
        with cls._guard:
            cls._users += 1
            if cls._users == 1:
                cls._undo = [_hand_on_to_threads(), _hand_on_to_pools()]
                _route(since=0)

    @classmethod
    def release(cls) -> None:
        """A thread for code has ended."""
        with cls._guard:
            cls._users -= 1
            if cls._users == 0:
                for undo in cls._undo:
                    undo()
                _unroute()

    @classmethod
    def check(cls, cell: Cell) -> None:
        """``cell`` begins: where something else was put into ``sys`` (redirect_stdout), route that too.

        Runs that are under way see what was put there, since one of them may have done it.
        """
        with cls._guard:
            _route(since=cell.serial)


def _route(since: int) -> None:
    for name, kind in _KINDS.items():
        stream = getattr(sys, name, None)
        if not isinstance(stream, _Routed):
            setattr(sys, name, kind(stream, since))


def _unroute() -> None:
    for name in _KINDS:
        setattr(sys, name, _Routed.unwrapped(getattr(sys, name, None)))


# A forked child has no thread that would take what it prints: it writes where this process writes.
os.register_at_fork(after_in_child=_unroute)


def _bound(cell: Cell, function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        token = current.set(cell)
        try:
            return function(*args, **kwargs)
        finally:
            current.reset(token)

    return run


def _hand_on_to_threads() -> Callable[[], None]:
    start = threading.Thread.start

    @wraps(start)
    def routed(self: threading.Thread) -> None:
        cell = current.get()
        if cell is None:
            start(self)
            return
        self.run = _bound(cell, self.run)  # type: ignore[method-assign]
        # Until the new thread runs Python knows it by the ident of this one: it would get the interrupt, die of it,
        # and start() would wait for it for ever.
        cell.gate.put_off(lambda: start(self))

    threading.Thread.start = routed  # type: ignore[method-assign]

    def undo() -> None:
        if threading.Thread.start is routed:
            threading.Thread.start = start  # type: ignore[method-assign]

    return undo


def _hand_on_to_pools() -> Callable[[], None]:
    submit: Callable[..., Any] = ThreadPoolExecutor.submit

    @wraps(submit)
    def routed(self: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if cell := current.get():
            fn = _bound(cell, fn)
        return submit(self, fn, *args, **kwargs)

    ThreadPoolExecutor.submit = routed  # type: ignore[method-assign]

    def undo() -> None:
        if ThreadPoolExecutor.submit is routed:
            ThreadPoolExecutor.submit = submit  # type: ignore[method-assign]

    return undo
