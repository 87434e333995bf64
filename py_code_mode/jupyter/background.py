"""The thread on which a notebook's sessions live, and how the notebook's own thread waits for it.

The notebook's event loop stands still while one of its cells runs, so nothing of a session may depend on it.
"""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from py_code_mode.errors import SessionClosedError

T = TypeVar("T")

_REPEAT = 0.25
"""An interrupt that comes before there is anything to interrupt is lost, so it is given again. Seconds."""

_INTERRUPT = object()


class Background:
    """One event loop on a thread of its own."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, name="py-code-mode magics", daemon=True)
        self._thread.start()

    def wait(
        self,
        make: Callable[[Callable[[Any], None]], Coroutine[Any, Any, T]],
        *,
        show: Callable[[Any], None] | None = None,
        flush: Callable[[], None] | None = None,
        interrupt: Callable[[], None] | None = None,
    ) -> T:
        """The result of a coroutine that runs on the thread; blocks the caller.

        ``make`` gets a function that posts items, and returns the coroutine. Here ``show`` gets the items as they
        come, and ``flush`` is called whenever there are no more for now. SIGINT calls ``interrupt``, and waiting goes
        on; without that it cancels the coroutine, and KeyboardInterrupt is raised when that has cleaned up.
        """
        if self._pid != os.getpid():
            raise SessionClosedError("this session belongs to the process that forked this one: open another here")
        wait = _Wait(self._loop, make, interrupt)
        with _interrupts_go_to(wait.put_interrupt):
            wait.begin()
            try:
                wait.pump(show or _nothing, flush or _nothing)
            except BaseException:
                # Whatever ended the showing must not leave the code running behind the notebook's back.
                wait.put_interrupt()
                wait.pump(_nothing, _nothing)
                raise
        return wait.result()

    def ask(self, coroutine: Coroutine[Any, Any, T], timeout: float) -> T:
        """The result of something quick; raises TimeoutError after ``timeout`` seconds."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout)

    def stop(self) -> None:
        """End the thread."""
        if self._pid == os.getpid():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()


class _Wait(Generic[T]):
    """One coroutine that runs on ``loop``, and what it posts. All but the coroutine is on the thread that waits."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make: Callable[[Callable[[Any], None]], Coroutine[Any, Any, T]],
        interrupt: Callable[[], None] | None,
    ) -> None:
        self._loop = loop
        self._make = make
        self._interrupt = interrupt
        self._interrupted = False
        self._items: queue.SimpleQueue[Any] = queue.SimpleQueue()  # its put may be called by a signal handler
        self._task: asyncio.Task[T] | None = None

    def begin(self) -> None:
        self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._run())
        self._task.add_done_callback(self._items.put)

    async def _run(self) -> T:
        return await self._make(self._items.put)

    def put_interrupt(self) -> None:
        self._items.put(_INTERRUPT)

    def pump(self, show: Callable[[Any], None], flush: Callable[[], None]) -> None:
        """Show what comes until the coroutine has ended."""
        while True:
            try:
                item = self._items.get(timeout=_REPEAT if self._interrupted and self._interrupt else None)
            except queue.Empty:
                self._stop()
                continue
            if item is _INTERRUPT:
                self._stop()
            elif item is self._task:
                return
            else:
                show(item)
                if self._items.empty():
                    flush()

    def _stop(self) -> None:
        if self._interrupt is not None:
            self._interrupt()
        elif not self._interrupted:  # a second one would hit the clean-up
            self._loop.call_soon_threadsafe(self._cancel)
        self._interrupted = True

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def result(self) -> T:
        assert self._task is not None
        if self._task.cancelled():
            raise KeyboardInterrupt
        return self._task.result()


@contextmanager
def _interrupts_go_to(handler: Callable[[], None]) -> Iterator[None]:
    """SIGINT calls ``handler``, and raises nothing. Threads but the main one get no signals, so there it does nothing.

    A KeyboardInterrupt could come at any point of the waiting, and lose what was just taken from the queue.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None or before is signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, lambda signum, frame: handler())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _nothing(*_: object) -> None:
    """Shows nothing."""
