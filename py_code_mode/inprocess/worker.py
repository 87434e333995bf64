"""The thread of an in-process session: its event loop, its variables, and the runs on them.

The loop goes on between runs, so background tasks of the code do too. Runs are tasks on it, all in one
context, so that context variables stay set from run to run.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from typing import Any

from kernel_bootstrap import tracebacks
from kernel_bootstrap.loops import wake_loops
from py_code_mode.host.memory import MemoryLink
from py_code_mode.host.server import Handlers

from .cell import Cell, current
from .gate import Gate
from .interpreter import Interpreter
from .streams import Routing

_STOP_STEPS = 20
"""How often the loop is run again at the end for tasks that start others when they are cancelled."""


class Worker:
    """One thread with one namespace. Made, and called, on the engine's loop unless it says otherwise.

    ``gone`` is done when the thread has left its loop for good.
    """

    def __init__(self, handlers: Handlers) -> None:
        self._engine_loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._engine_loop.create_future()
        self.link = MemoryLink(self._engine_loop, handlers, current.get)
        self.gate = Gate()
        self.interpreter = Interpreter(self.link)
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_report)
        # Its own, so that it can be ended without waiting for what is stuck in it.
        self._pool = ThreadPoolExecutor(thread_name_prefix="py-code-mode code")
        self._loop.set_default_executor(self._pool)
        self._context = Context()
        self._running: tuple[Cell, asyncio.Task[None]] | None = None
        self._trace: tuple[Any, Any] = (None, None)
        self._stopping = False
        self._thread = threading.Thread(target=self._main, name="py-code-mode in-process", daemon=True)
        # Until the thread ends: what one that was abandoned prints must not reach the process's own stdout.
        Routing.acquire()
        try:
            self._thread.start()
        except BaseException:
            Routing.release()
            self._loop.close()
            raise

    def submit(self, cell: Cell, done: Callable[[], None]) -> None:
        """Run ``cell``; ``done`` is called on the engine's loop when it is over."""
        self.gate.open()
        self._loop.call_soon_threadsafe(self._begin, cell, done, context=self._context)

    def interrupt(self, cell: Cell) -> None:
        """End ``cell``: raise in its code, or cancel what it awaits, and cancel its requests."""
        cell.stopping = True
        if not self.gate.strike():
            self._on_thread(lambda: self._cancel_task(cell))
        # After the strike, so that the exception is there when they come back.
        self.link.cancel(cell)
        self.link.wake()
        wake_loops()

    def stack(self) -> str:
        """Where the code stands, as text, outermost call first."""
        running = self._running
        return self.interpreter.readable(tracebacks.stack(self.gate.frame(), running and running[1]))

    async def close(self, grace: float) -> bool:
        """End the thread, within ``grace`` seconds; False: it is stuck, and was abandoned."""
        await self.link.close()
        self._stopping = True
        self.gate.open()
        self._on_thread(self._loop.stop)
        deadline = self._engine_loop.time() + grace
        while not self.gone.done() and (left := deadline - self._engine_loop.time()) > 0:
            await asyncio.wait({self.gone}, timeout=min(left, 0.25))
            if not self.gone.done():
                self.gate.strike()
        if not self.gone.done():
            self.gate.abandon()
            return False
        self._thread.join()
        return True

    async def abandon(self) -> None:
        """Leave the thread to itself: it ends when its code comes back to Python."""
        self._stopping = True
        self.gate.abandon()
        self._on_thread(self._loop.stop)
        await self.link.close()

    def _on_thread(self, step: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(step)
        except RuntimeError:
            pass  # the thread has ended its loop

    # -- on the thread ----------------------------------------------------------------------------------

    def _main(self) -> None:
        self.gate.adopt()
        asyncio.set_event_loop(self._loop)
        self._trace = sys.gettrace(), sys.getprofile()
        try:
            while not self._stopping:
                try:
                    self._loop.run_forever()
                except (KeyboardInterrupt, SystemExit):
                    pass  # out of a background task; the loop goes on
        finally:
            try:
                self._end()
            finally:
                Routing.release()
                self._tell(self._is_gone)

    def _is_gone(self) -> None:
        if not self.gone.done():
            self.gone.set_result(None)

    def _begin(self, cell: Cell, done: Callable[[], None]) -> None:
        self._running = cell, self._loop.create_task(self._run(cell, done), context=self._context)

    async def _run(self, cell: Cell, done: Callable[[], None]) -> None:
        failure: BaseException | None = None
        try:
            await self._execute(cell)
        except BaseException as error:  # noqa: BLE001 - whatever the code raises is its result
            failure = error
        self._shut_gate()
        self._running = None
        self._explain(cell, failure)
        cell.end()
        self._tell(done)

    async def _execute(self, cell: Cell) -> None:
        current.set(cell)
        Routing.check(cell)
        sys.settrace(self._trace[0])  # a debugger of an earlier run would ask for commands
        sys.setprofile(self._trace[1])
        if cell.stopping:
            raise KeyboardInterrupt
        cell.began = True
        started = time.perf_counter()
        try:
            cell.value = await self.interpreter.run(cell)
        finally:
            cell.seconds = time.perf_counter() - started

    def _explain(self, cell: Cell, error: BaseException | None) -> None:
        if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
            return
        if isinstance(error, asyncio.CancelledError) and cell.stopping:
            error = KeyboardInterrupt().with_traceback(error.__traceback__)
        cell.error_name = type(error).__name__
        cell.message = self.interpreter.readable(tracebacks.message(error))
        cell.traceback = self.interpreter.explain(error)

    def _shut_gate(self) -> None:
        while True:
            try:
                self.gate.close()
                break
            except KeyboardInterrupt:
                continue

    def _tell(self, callback: Callable[[], None]) -> None:
        try:
            self._engine_loop.call_soon_threadsafe(callback)
        except RuntimeError:
            pass  # this thread was abandoned, and its engine has ended since

    def _cancel_task(self, cell: Cell) -> None:
        # A task that has not begun would end without its first line; it sees by itself that it is to stop.
        if self._running is not None and self._running[0] is cell and cell.began:
            self._running[1].cancel()

    def _end(self) -> None:
        """Cancel the tasks that are left, let them clean up, and close the loop."""
        for _ in range(_STOP_STEPS):
            try:
                left = asyncio.all_tasks(self._loop)
                for task in left:
                    task.cancel()
                if left:
                    self._loop.run_until_complete(asyncio.wait(left))
                else:
                    self._loop.run_until_complete(self._loop.shutdown_asyncgens())
                    break
            except (KeyboardInterrupt, SystemExit, RuntimeError):
                continue  # a task that would not end was interrupted, or one stopped the loop
        self._shut_gate()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.interpreter.close()
        self._loop.close()


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what went wrong in a background task, unless it was ended from outside."""
    if not isinstance(context.get("exception"), KeyboardInterrupt | SystemExit):
        loop.default_exception_handler(context)
