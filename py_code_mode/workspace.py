"""What one session or front end works with: its storage and tools, joined by one table of handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import StorageError
from .executors.base import Guest, Host
from .kernel.commands import Completed, run

if TYPE_CHECKING:
    from .deps.installer import Installer
    from .host.server import Handlers
    from .host.table import HandlerTable
    from .kernel.engine import Engine
    from .results import Listener
    from .storage.base import StorageBackend


class _ToolRunner:
    """Runs the commands of tools below the supervisor, marked as this session's."""

    def __init__(self, engine: Engine, owner: str) -> None:
        self._engine = engine
        self._owner = owner

    async def run(self, argv: Sequence[str], **options: Any) -> Completed:
        """See ``tools.base.ProcessRunner``."""
        return await run(await self._engine.processes(), argv, owner=self._owner, **options)


async def _read(
    storage: StorageBackend, tools_path: Path | None, runner: _ToolRunner, cwd: Path, author: str
) -> HandlerTable:
    module = await asyncio.to_thread(import_module, "py_code_mode.host.table")
    table: HandlerTable = module.HandlerTable(storage, tools_path, runner, cwd, author)
    await table.registry.list()  # so that the secrets of the tools are known before a kernel gets its environment
    return table


def _make(base: Path) -> None:
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the workspace {base} cannot be made: {error.strerror}") from error


class Workspace:
    """An open workspace; lives on the engine's loop. The kernel and the Session ask it the same way."""

    def __init__(self, guest: Guest, table: HandlerTable) -> None:
        self._guest = guest
        self._table = table

    @classmethod
    async def open(
        cls,
        engine: Engine,
        storage: StorageBackend,
        guest: Guest,
        owner: str,
        progress: Callable[[str], None],
        observe: Callable[[str], Listener] | None = None,
    ) -> Workspace:
        """Start ``guest`` on ``storage``; ``observe`` is as in ``Host``."""
        base: Path | None = getattr(storage, "base_path", None)
        config = guest.config
        if base is not None:
            await asyncio.to_thread(_make, base)
        cwd = config.cwd or base or Path.cwd()
        tools_path = config.tools_path or (base / "tools" if base is not None else None)
        runner = _ToolRunner(engine, owner)
        reading: asyncio.Future[HandlerTable] | None = None

        async def table_of_handlers() -> HandlerTable:
            nonlocal reading
            if reading is None:
                # Not before it is asked for: what it imports would hold up what the guest has to start first.
                reading = asyncio.ensure_future(_read(storage, tools_path, runner, cwd, f"session {owner}"))
            return await asyncio.shield(reading)

        async def hidden() -> frozenset[str]:
            registry = (await table_of_handlers()).registry
            try:
                await registry.list()  # definitions may have changed since
            except StorageError:
                pass  # what was read before holds; a kernel has to start without its storage as well
            own: frozenset[str] = getattr(storage, "secrets", frozenset())
            return registry.secrets() | own

        async def handlers(installer: Installer) -> Handlers:
            table = await table_of_handlers()
            return table.complete(installer, extra_deps=config.extra_deps, allow_runtime_deps=config.allow_runtime_deps)

        host = Host(
            engine=engine,
            identity=storage.identity,
            owner=owner,
            cwd=str(cwd),
            hidden=hidden,
            handlers=handlers,
            progress=progress,
            observe=observe,
        )
        try:
            await guest.start(host)
        except BaseException:
            if reading is not None:
                await asyncio.wait({reading})
                reading.cancelled() or reading.exception()  # seen: the start has failed anyway
            raise
        return cls(guest, await table_of_handlers())

    async def ask(self, method: str, params: dict[str, Any]) -> Any:
        """Answer a method as the code in the session would get it answered."""
        from .host.server import answer

        return await answer(self._table.handlers[method], params)

    async def close(self) -> None:
        """End what it was opened for, and the tools."""
        try:
            await self._guest.close()
        finally:
            await self._table.close()
