"""One run on the worker: its deadline, its interrupts, and its result in every case."""

from __future__ import annotations

import asyncio
from typing import Any

from py_code_mode.results import ExecutionResult, OutputCollector

from .cell import Cell
from .worker import Worker

_INTERRUPT_EVERY = 0.25
"""An interrupt is repeated until the run ends: the code may catch the first ones. Seconds."""


class Run:
    """Runs ``code`` on ``worker``; lives on the engine's loop. ``lost`` tells afterwards that the worker is.

    ``timeout`` in seconds, None = no limit; ``grace`` is how long interrupted code may take to end, seconds.
    """

    def __init__(
        self,
        worker: Worker,
        code: str,
        collector: OutputCollector,
        *,
        timeout: float | None,
        grace: float,
        after_restart: bool,
    ) -> None:
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._cell = Cell(code, collector, worker.gate)
        self._timeout = timeout
        self._grace = grace
        self._after_restart = after_restart
        self._began = self._loop.time()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._stopping: asyncio.Future[None] = self._loop.create_future()
        self._stack = ""
        self._timed_out = False
        self._interrupted = False

    @property
    def lost(self) -> bool:
        """Whether the code never came back: its worker is stuck in it, or has ended."""
        return not self._done.done()

    def interrupt(self) -> None:
        """End the run, at whatever point it is."""
        self._interrupted = True
        if not self._stopping.done():
            self._stopping.set_result(None)

    async def run(self) -> ExecutionResult:
        """Wait for the end. A cancelled run interrupts its code first, then the cancellation goes on."""
        self._worker.submit(self._cell, lambda: self._done.set_result(None))
        try:
            await self._until_over()
        except asyncio.CancelledError:
            self.interrupt()
            await self._until_over()
            raise
        finally:
            self._cell.end()
        return self._result()

    async def _until_over(self) -> None:
        left = None if self._timeout is None else max(self._began + self._timeout - self._loop.time(), 0)
        ends = {self._done, self._worker.gone}
        await asyncio.wait({*ends, self._stopping}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if any(end.done() for end in ends):
            return
        self._timed_out = not self._interrupted
        last = self._loop.time() + self._grace
        while (now := self._loop.time()) < last and not any(end.done() for end in ends):
            self._stack = self._stack or self._worker.stack()
            self._worker.interrupt(self._cell)
            wait = min(_INTERRUPT_EVERY, last - now)
            await asyncio.wait(ends, timeout=wait, return_when=asyncio.FIRST_COMPLETED)

    def _result(self) -> ExecutionResult:
        cell = self._cell
        fields = cell.outputs()
        fields["execution_time_ms"] = cell.seconds * 1000
        fields["execution_count"] = cell.number
        fields["timed_out"] = self._timed_out
        fields["kernel_restarted"] = self.lost or self._after_restart
        if self.lost:
            fields["execution_time_ms"] = (self._loop.time() - self._began) * 1000
        elif cell.error_name is not None:
            name, message = cell.error_name, cell.message
            fields |= {"error_name": name, "error": f"{name}: {message}" if message else name}
            fields["traceback"] = cell.traceback
        else:
            fields["value"] = cell.value
        return ExecutionResult(**{**fields, **self._how_it_ended()})

    def _how_it_ended(self) -> dict[str, Any]:
        """The fields that say so where the end was not the code's own."""
        stuck = (
            "; it did not react and still runs in its thread, so the session went on with a new one"
            if self.lost
            else ""
        )
        if self._timed_out and not self._cell.began:
            name = "TimeoutError"
            text = f"an earlier run held the thread for {self._timeout:g} s, so this code was not run{stuck}"
        elif self._timed_out:
            name = "TimeoutError"
            text = f"the code ran longer than {self._timeout:g} s and was interrupted{stuck}"
        elif self._interrupted and (self.lost or self._cell.error_name is not None):
            name, text = "KeyboardInterrupt", f"the run was interrupted{stuck}"
        elif self.lost:
            name = "KernelDiedError"
            text = "the code ended the event loop of its session, which went on with a new one"
        else:
            return {}
        stood = f"\nIt stood at (most recent call last):\n{self._stack}" if self._stack else ""
        fields = {"error_name": name, "error": f"{name}: {text}"}
        return {**fields, "traceback": f"{name}: {text}{stood}", "kernel_died": name == "KernelDiedError"}
