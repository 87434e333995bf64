"""A run that goes on by itself: start it, look, and come back for the result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Literal

from .handover import EventQueue
from .results import (
    BeginEvent,
    CellEvent,
    ClearEvent,
    DisplayEvent,
    EndEvent,
    ExecutionResult,
    Listener,
    OutputEvent,
    StreamEvent,
)

if TYPE_CHECKING:
    from .kernel.engine import Engine


class StartedRun:
    """The handle that ``Session.start_run`` gives; for any loop and thread. It keeps the events of its run."""

    def __init__(self, engine: Engine, execute: Callable[[Listener], Awaitable[ExecutionResult]]) -> None:
        self._engine = engine
        self._execute = execute
        self._events: list[OutputEvent] = []
        self._updates: dict[str | None, int] = {}
        self._readers: list[Callable[[OutputEvent | None], None]] = []
        self._begun = self._cancelled = self._over = False
        self._task: asyncio.Task[ExecutionResult] | None = None
        self._future = asyncio.run_coroutine_threadsafe(self._run(), engine.loop)

    def __repr__(self) -> str:
        return f"<StartedRun {self.status}>"

    @property
    def status(self) -> Literal["queued", "running", "done", "cancelled"]:
        """ "queued" behind other runs, "running", "done" with or without an error, or "cancelled"."""
        if self._cancelled:
            return "cancelled"
        if self._future.done():
            return "done"
        return "running" if self._begun else "queued"

    async def result(self) -> ExecutionResult:
        """What it gave, once it is over; giving up the wait leaves it alone.

        After ``cancel`` a result with KeyboardInterrupt as its error, and the output so far. Raises SessionClosedError
        when the session was closed under it.
        """
        return await asyncio.shield(asyncio.wrap_future(self._future))

    def cancel(self) -> None:
        """Take it out of the queue, or interrupt it. Does nothing when it is over."""
        try:
            self._engine.loop.call_soon_threadsafe(self._cancel)
        except RuntimeError:
            pass  # the engine has ended, and the run with it

    async def events(self) -> AsyncIterator[OutputEvent]:
        """Its events from the first on, and at last an EndEvent; for any number of readers.

        Who comes late is spared what was cleared meanwhile, and updates of a display that another has replaced.
        """
        queue = EventQueue()
        loop = self._engine.loop
        if self._over:  # and its engine may have ended
            self._replay(queue.put)
        else:
            loop.call_soon_threadsafe(self._replay, queue.put)
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            if not self._over:
                loop.call_soon_threadsafe(self._forget, queue.put)

    # -- on the engine ----------------------------------------------------------------------------------

    async def _run(self) -> ExecutionResult:
        # In a task of its own, so that a cancelled one still gives what it has printed.
        self._task = asyncio.ensure_future(self._execute(self._hear))
        if self._cancelled:
            self._task.cancel()  # before it has begun
        try:
            await asyncio.wait({self._task})
            result = self._interrupted() if self._task.cancelled() else self._task.result()
            self._hear(EndEvent(result))
            return result
        finally:
            self._over = True
            for put in self._readers:
                put(None)
            self._readers.clear()

    def _cancel(self) -> None:
        # Once: at a second cancellation the cell, which may not have ended upon the first, would be left to itself.
        if not self._cancelled and not self._over and (self._task is None or self._task.cancel()):
            self._cancelled = True

    def _hear(self, event: CellEvent) -> None:
        if isinstance(event, BeginEvent):
            self._begun = True
            return
        self._keep(event)
        for put in self._readers:
            put(event)

    def _keep(self, event: OutputEvent) -> None:
        """For later readers. A progress bar may go on for days: what nobody would see any more is not kept."""
        waiting = bool(self._events) and self._events[-1] == ClearEvent(wait=True)
        if (event == ClearEvent(wait=False)) or (waiting and not isinstance(event, EndEvent)):
            self._events.clear()
            self._updates.clear()
        if isinstance(event, DisplayEvent) and event.kind == "update_display_data":
            if (index := self._updates.get(event.display_id)) is not None:
                self._events[index] = event
                return
            self._updates[event.display_id] = len(self._events)
        self._events.append(event)

    def _replay(self, put: Callable[[OutputEvent | None], None]) -> None:
        for event in self._events:
            put(event)
        if self._over:
            put(None)
        else:
            self._readers.append(put)

    def _forget(self, put: Callable[[OutputEvent | None], None]) -> None:
        if put in self._readers:
            self._readers.remove(put)

    def _interrupted(self) -> ExecutionResult:
        error = "KeyboardInterrupt: the run was cancelled" + ("" if self._begun else " before it began")
        texts = [event for event in self._events if isinstance(event, StreamEvent)]
        stdout, stderr = ("".join(text.text for text in texts if text.name == name) for name in ("stdout", "stderr"))
        return ExecutionResult(
            error=error, error_name="KeyboardInterrupt", traceback=error, stdout=stdout, stderr=stderr
        )
