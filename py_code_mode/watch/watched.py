"""What a session shows of itself while it works, to whoever looks over its shoulder."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from py_code_mode.errors import CapabilityError

from .journal import EventReader, Journal

if TYPE_CHECKING:
    from py_code_mode.executors.base import Executor, Watchable
    from py_code_mode.kernel.engine import Engine
    from py_code_mode.storage.base import StorageBackend
    from py_code_mode.workspace import Workspace


class Watched(ABC):
    """The methods of a Session for looking in: they change nothing for the code that runs."""

    id: str
    _executor: Executor
    _storage: StorageBackend
    _journal: Journal

    @abstractmethod
    def _open(self) -> tuple[Engine, Workspace]:
        """What is open; raises SessionClosedError when nothing is."""

    def events(self) -> EventReader:
        """An async iterator of all that happens from now on until the session closes: SessionEvent, or MissedEvents.

        The cells of other clients of the kernel come too, marked with ``by="other"``. The result in an EndEvent has no
        value here.
        """
        self._open()
        return self._journal.read()

    async def variables(self, limit: int = 200) -> list[dict[str, Any]]:
        """The first ``limit`` variables of the code by name, also while it runs.

        Each has ``name``, ``type``, ``size`` (bytes), ``shape`` (list of int, or None) and a short ``repr``. Raises
        KernelError when the kernel cannot answer, since a C call or a repr blocks it.
        """
        if limit < 0:
            raise ValueError(f"limit must be 0 or more, not {limit}")
        return await self._look(None, limit)

    async def inspect(self, name: str) -> dict[str, Any]:
        """One variable, or an attribute of one ("frame.columns"): as in ``variables``, with a longer ``repr``, and
        ``doc`` and ``signature``. Raises KernelError where there is none, too."""
        return await self._look(name, 0)

    async def stack(self) -> str:
        """Where the running code stands, as text, outermost call first; "" when none runs."""
        engine, _ = self._open()
        return await engine.call(self._watchable().stack())

    @property
    def connection_file(self) -> Path:
        """What a Jupyter client joins this session's kernel by: ``jupyter console --existing FILE``.

        It is another one after each restart of the kernel. Raises CapabilityError when there is no kernel to join.
        """
        self._open()
        path = self._watchable().connection_file
        if path is None:
            raise CapabilityError("this session has no kernel that could be joined at this moment")
        return path

    async def _look(self, name: str | None, limit: int) -> Any:
        engine, _ = self._open()
        return await engine.call(self._watchable().look(name, limit))

    def _watchable(self) -> Watchable:
        if not hasattr(self._executor, "look"):
            raise CapabilityError(f"the executor {type(self._executor).__name__} does not let its code be looked at")
        return cast("Watchable", self._executor)

    async def save_notebook(self, path: str | Path) -> Path:
        """Write what the session did as a Jupyter notebook: code, outputs, errors, and timings in the metadata.

        The cells of other clients are in it, marked in their metadata. Of a long session the latest cells are kept
        (50 MB of code and outputs), and the notebook says so. Returns the path. Raises StorageError.
        """
        from .notebook import write

        return await asyncio.to_thread(lambda: write(Path(path), self._notebook()))

    def _notebook(self) -> dict[str, Any]:
        from .notebook import notebook

        return notebook(*self._journal.cells(), self._storage.identity, self.id)
