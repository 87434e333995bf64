"""All that the code in a session, and its Session, may ask a workspace for: one table of handlers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from py_code_mode.deps.manager import DependencyManager
from py_code_mode.search.ranker import MeaningRanker
from py_code_mode.storage.base import KeepsTools
from py_code_mode.tools.directory import ToolDirectory
from py_code_mode.tools.loader import DirectoryToolProvider, StoredToolProvider
from py_code_mode.tools.registry import ToolRegistry

from . import artifacts, deps, tools, workflows
from .uses import UseRecorder

if TYPE_CHECKING:
    from py_code_mode.deps.installer import Installer
    from py_code_mode.storage.base import StorageBackend
    from py_code_mode.tools.base import ProcessRunner, ToolProvider

    from .server import Handlers


class HandlerTable:
    """Handlers over ``storage`` and the tools in ``tools_path`` (None: its own), which ``runner`` runs in ``cwd``.

    ``author`` is who saves workflows here.
    """

    def __init__(
        self, storage: StorageBackend, tools_path: Path | None, runner: ProcessRunner, cwd: Path, author: str
    ) -> None:
        self._storage = storage
        self._author = author
        library = storage.get_workflow_library()
        self._uses = UseRecorder(library)
        self.registry = ToolRegistry(
            providers(storage, tools_path, runner, cwd),
            ranker=MeaningRanker(library.embedder, library.vectors),
        )
        self.handlers: dict[str, Any] = {}

    def complete(self, installer: Installer, *, extra_deps: tuple[str, ...], allow_runtime_deps: bool) -> Handlers:
        """The table, once it is known what installs packages; called again, it is the same table, renewed."""
        manager = DependencyManager(
            self._storage.get_dependency_store(), installer, extra=extra_deps, allow_runtime=allow_runtime_deps
        )
        self.handlers.update(tools.handlers(self.registry))
        self.handlers.update(workflows.handlers(self._storage.get_workflow_library(), self._uses, self._author))
        self.handlers.update(artifacts.handlers(self._storage.get_artifact_store()))
        self.handlers.update(deps.handlers(manager))
        return self.handlers

    async def close(self) -> None:
        """Write down what was counted, and end the tools."""
        await self._uses.close()
        await self.registry.close()


def providers(storage: StorageBackend, tools_path: Path | None, runner: ProcessRunner, cwd: Path) -> list[ToolProvider]:
    """Where the tools of a workspace come from: the directory ``tools_path``, or (None) what ``storage`` keeps."""
    if tools_path is not None:
        return [DirectoryToolProvider(tools_path, runner, cwd=cwd)]
    if not isinstance(storage, KeepsTools):
        return []
    store = storage.get_tool_store()
    return [StoredToolProvider(store, runner, cwd=cwd, remote=not isinstance(store, ToolDirectory))]
