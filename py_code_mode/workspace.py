"""What one session or front end works with: its storage and tools, joined by one table of handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .deps.installer import Installer
from .deps.manager import DependencyManager
from .errors import StorageError
from .executors.base import Guest, Host
from .host import artifacts, deps, tools, workflows
from .kernel.commands import Completed, run
from .storage.base import StorageBackend
from .tools.loader import DirectoryToolProvider
from .tools.registry import ToolRegistry

if TYPE_CHECKING:
    from .host.server import Handlers
    from .kernel.engine import Engine


class _ToolRunner:
    """Runs the commands of tools below the supervisor, marked as this session's."""

    def __init__(self, engine: Engine, owner: str) -> None:
        self._engine = engine
        self._owner = owner

    async def run(self, argv: Sequence[str], **options: Any) -> Completed:
        """See ``tools.base.ProcessRunner``."""
        return await run(await self._engine.processes(), argv, owner=self._owner, **options)


def _make(base: Path) -> None:
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the workspace {base} cannot be made: {error.strerror}") from error


class Workspace:
    """An open workspace; lives on the engine's loop. The kernel and the Session ask it the same way."""

    def __init__(self, guest: Guest, registry: ToolRegistry, handlers: Handlers) -> None:
        self._guest = guest
        self._registry = registry
        self._handlers = handlers

    @classmethod
    async def open(
        cls,
        engine: Engine,
        storage: StorageBackend,
        guest: Guest,
        owner: str,
        progress: Callable[[str], None],
    ) -> Workspace:
        """Start ``guest`` on ``storage``."""
        base: Path | None = getattr(storage, "base_path", None)
        config = guest.config
        if base is not None:
            await asyncio.to_thread(_make, base)
        cwd = config.cwd or base or Path.cwd()
        tools_path = config.tools_path or (base / "tools" if base is not None else None)
        runner = _ToolRunner(engine, owner)
        providers = [] if tools_path is None else [DirectoryToolProvider(tools_path, runner, cwd=cwd)]
        registry = ToolRegistry(providers)
        table: dict[str, Any] = {}

        def make_handlers(installer: Installer) -> Handlers:
            manager = DependencyManager(
                storage.get_dependency_store(),
                installer,
                extra=config.extra_deps,
                allow_runtime=config.allow_runtime_deps,
            )
            table.update(tools.handlers(registry))
            table.update(workflows.handlers(storage.get_workflow_library()))
            table.update(artifacts.handlers(storage.get_artifact_store()))
            table.update(deps.handlers(manager))
            return table

        await registry.list()  # so that the secrets of the tools are known before a kernel gets its environment
        host = Host(
            engine=engine,
            identity=storage.identity,
            owner=owner,
            cwd=str(cwd),
            hidden=registry.secrets,
            handlers=make_handlers,
            progress=progress,
        )
        await guest.start(host)
        return cls(guest, registry, table)

    async def ask(self, method: str, params: dict[str, Any]) -> Any:
        """Answer a method as the code in the session would get it answered."""
        return await self._handlers[method](**params)

    async def close(self) -> None:
        """End what it was opened for, and the tools."""
        try:
            await self._guest.close()
        finally:
            await self._registry.close()
