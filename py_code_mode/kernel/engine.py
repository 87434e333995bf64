"""The thread on which the host side lives.

Sockets, links and tool processes of every session of this process belong to one event loop on one thread. A
caller's loop only awaits hand-overs: it may block for seconds, end, or be one of many, and kernels, their
timeouts and their tools go on. The engine starts with the first session and ends with the last.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from py_code_mode.errors import SessionClosedError

from .processes import Processes

if TYPE_CHECKING:
    import zmq

T = TypeVar("T")

_WORKERS = 16
"""Threads for blocking work (files, Redis); requests wait for each other beyond that."""

_CANCEL_WAIT = 10.0
"""How long a cancelled caller waits for what it cancelled to clean up, seconds: interrupt, grace and kill fit in."""


class Engine:
    """One event loop on a thread of its own; get it by ``lease``, give it back by ``release``."""

    _current: ClassVar[Engine | None] = None
    _guard: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._pid = os.getpid()
        self._leases = 0
        self._context: zmq.Context[Any] | None = None
        self._processes: asyncio.Task[Processes] | None = None
        self._at_close: list[Callable[[], Awaitable[None]]] = []
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="py-code-mode worker")
        self.loop.set_default_executor(self._pool)
        self._thread = threading.Thread(target=self._main, name="py-code-mode engine", daemon=True)
        self._thread.start()

    @classmethod
    def lease(cls) -> Engine:
        """The engine of this process, started if there is none."""
        with cls._guard:
            if cls._current is None:
                cls._current = cls()
            cls._current._leases += 1
            return cls._current

    async def release(self) -> None:
        """Give one lease back; with the last one the thread, its processes and its sockets end."""
        with self._guard:
            self._leases -= 1
            if self._leases:
                return
            if Engine._current is self:
                Engine._current = None
        if self._pid != os.getpid():
            return  # in a forked child there is no such thread, and nothing that is the child's to end
        await self.call(self._close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        try:
            await asyncio.to_thread(self._thread.join)
        except RuntimeError:  # the interpreter is ending, and takes no more work for threads
            self._thread.join()

    @property
    def context(self) -> zmq.Context[Any]:
        """The zmq context of all sockets of the host."""
        if self._context is None:
            import zmq

            self._context = zmq.Context()
        return self._context

    def at_close(self, close: Callable[[], Awaitable[None]]) -> None:
        """Have ``close`` awaited when the engine ends, before its processes are ended."""
        self._at_close.append(close)

    async def processes(self) -> Processes:
        """The supervisor's client; started at the first call, and again after it was lost."""
        return await asyncio.shield(self.supervisor())

    def supervisor(self) -> asyncio.Task[Processes]:
        """The same as a task; the supervisor's process is launched before this returns. Called on the loop."""
        task = self._processes
        if task is None or (task.done() and (task.cancelled() or task.exception() or task.result().lost)):
            task = self._processes = self.loop.create_task(Processes().until_ready())
        return task

    async def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of ``coroutine``, run on the engine; awaited from any loop.

        A cancelled caller cancels it, and waits for its clean-up before the cancellation goes on.
        """
        loop = asyncio.get_running_loop()
        if loop is self.loop:
            return await coroutine
        if self._pid != os.getpid():
            coroutine.close()
            raise SessionClosedError("this session belongs to the process that forked this one: open another here")
        done: asyncio.Future[T] = loop.create_future()
        tasks: list[asyncio.Task[T]] = []

        def start() -> None:
            task = self.loop.create_task(coroutine)
            tasks.append(task)
            task.add_done_callback(finished)

        def finished(task: asyncio.Task[T]) -> None:
            try:
                loop.call_soon_threadsafe(deliver, task)
            except RuntimeError:
                pass  # the caller's loop has ended; nobody waits

        def deliver(task: asyncio.Task[T]) -> None:
            if done.done():
                return
            if task.cancelled():
                # Not by this caller, who would have left: the session was closed under the call.
                done.set_exception(SessionClosedError("the session was closed"))
            elif error := task.exception():
                done.set_exception(error)
            else:
                done.set_result(task.result())

        try:
            self.loop.call_soon_threadsafe(start)
        except RuntimeError:
            coroutine.close()
            raise SessionClosedError("the session is closed") from None
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            if not done.done():
                self.loop.call_soon_threadsafe(lambda: tasks[0].cancel())
                await asyncio.wait({done}, timeout=_CANCEL_WAIT)
            if done.done() and not done.cancelled():
                done.exception()  # seen: it went with the cancellation
            raise

    async def _close(self) -> None:
        for close in self._at_close:
            await close()
        if self._processes is not None:
            try:
                processes = await self._processes
            except Exception:  # noqa: BLE001 - it never started, so there is nothing to end
                return
            await processes.close()

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            # Whoever still waits for a call hears of its end.
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            if left:
                self.loop.run_until_complete(asyncio.wait(left, timeout=_CANCEL_WAIT))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self._pool.shutdown(wait=True, cancel_futures=True)
            if self._context is not None:
                self._context.destroy(linger=0)
            self.loop.close()


def _after_fork() -> None:
    # Threads do not survive a fork: a child that opens a session gets an engine of its own.
    Engine._current = None
    Engine._guard = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
