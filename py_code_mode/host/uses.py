"""Counts the calls of workflows, and writes the counts down now and then."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from py_code_mode.errors import StorageError
from py_code_mode.workflows.history import Use
from py_code_mode.workflows.library import WorkflowLibrary

log = logging.getLogger(__name__)

_EVERY = 2.0
"""Seconds after a call in which it is written down, with those that came meanwhile: no call has a write of its own."""


class UseRecorder:
    """What one workspace's code calls. Lives on the engine's loop."""

    def __init__(self, library: WorkflowLibrary) -> None:
        self._library = library
        self._waiting: dict[str, Use] = {}
        self._called: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    def called(self, name: str) -> None:
        """A call begins now."""
        self._called.add(name)
        self._note(name, Use(1, 0, datetime.now(UTC).isoformat(timespec="milliseconds")))

    def failed(self, name: str) -> None:
        """A call has failed; a kernel that tells it of what was never called is not heard."""
        if name in self._called:
            self._note(name, Use(failures=1))

    def _note(self, name: str, use: Use) -> None:
        self._waiting[name] = self._waiting.get(name, Use()) + use
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_EVERY, self._write)

    def _write(self) -> None:
        self._writing = asyncio.ensure_future(self.flush())

    async def flush(self) -> None:
        """Write down what has been counted. A storage that cannot take it gets it the next time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, {}
        if not waiting:
            return
        try:
            await asyncio.to_thread(self._library.count, waiting)
        except StorageError as error:
            log.debug("the uses of workflows are not written down yet: %s", error)
            for name, use in waiting.items():
                self._waiting[name] = self._waiting.get(name, Use()) + use

    async def close(self) -> None:
        """Write down the rest."""
        if self._writing is not None:
            await asyncio.wait({self._writing})
        await self.flush()
