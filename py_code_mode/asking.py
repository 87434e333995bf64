"""What a session asks of its workspace: tools, workflows, artifacts and dependencies."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .kernel.engine import Engine
    from .storage.base import StorageBackend
    from .workspace import Workspace


class AsksWorkspace(ABC):
    """The methods of a Session that its workspace answers, just as it answers the code in the session."""

    @property
    @abstractmethod
    def storage(self) -> StorageBackend:
        """The storage backend."""

    @abstractmethod
    def _open(self) -> tuple[Engine, Workspace]:
        """What is open; raises SessionClosedError when nothing is."""

    async def _ask(self, method: str, **params: Any) -> Any:
        engine, workspace = self._open()
        return await engine.call(workspace.ask(method, params))

    # -- tools ------------------------------------------------------------------------------------------

    async def list_tools(self) -> list[dict[str, Any]]:
        """Every tool: ``name``, ``description``, ``tags``."""
        return await self._ask("tools.list")

    async def search_tools(self, query: str, limit: int = 10) -> list[dict[str, Any]]:
        """The tools that fit ``query``, best first."""
        return await self._ask("tools.search", query=query, limit=limit)

    # -- workflows --------------------------------------------------------------------------------------

    async def list_workflows(self) -> list[dict[str, Any]]:
        """Every workflow: ``name``, ``description``, ``parameters``."""
        return await self._ask("workflows.list")

    async def search_workflows(self, query: str, limit: int = 5) -> list[dict[str, Any]]:
        """The workflows that fit ``query``, best first."""
        return await self._ask("workflows.search", query=query, limit=limit)

    async def get_workflow(self, name: str) -> dict[str, Any] | None:
        """``name``, ``description``, ``parameters``, ``source`` of one workflow, or None."""
        return await self._ask("workflows.get", name=name)

    async def add_workflow(self, name: str, source: str, description: str) -> dict[str, Any]:
        """Create and keep a workflow, in place of an older one of that name. Raises WorkflowInvalidError."""
        return await self._ask("workflows.create", name=name, source=source, description=description)

    async def remove_workflow(self, name: str) -> bool:
        """Delete a workflow; True if it was there."""
        return await self._ask("workflows.delete", name=name)

    # -- artifacts --------------------------------------------------------------------------------------

    async def list_artifacts(self) -> list[dict[str, Any]]:
        """Every artifact: ``name``, ``path``, ``description``, ``metadata``, ``created_at``."""
        return await self._ask("artifacts.list")

    async def save_artifact(
        self, name: str, data: Any, description: str = "", metadata: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Keep ``data``, which must not change meanwhile: bytes and arrays are not copied.

        Raises ArtifactNameError, and ArtifactFormatError for what no format can hold.
        """
        from kernel_bootstrap import formats

        from .host.transfer import sendable

        payload = await asyncio.to_thread(formats.dump, data)
        return await self._ask(
            "artifacts.save",
            name=name,
            format=payload.format,
            data=sendable(payload.parts),
            details=payload.details,
            description=description,
            metadata=None if metadata is None else dict(metadata),
        )

    async def load_artifact(self, name: str) -> Any:
        """What was saved under ``name``. Raises ArtifactNotFoundError."""
        from .artifacts.store import load_value

        self._open()
        return await asyncio.to_thread(load_value, self.storage.get_artifact_store(), name)

    async def delete_artifact(self, name: str) -> None:
        """Remove an artifact. Raises ArtifactNotFoundError."""
        await self._ask("artifacts.delete", name=name)

    # -- dependencies -----------------------------------------------------------------------------------

    async def list_deps(self) -> list[str]:
        """The configured requirements and ``extra_deps``, as they were written."""
        return await self._ask("deps.list")

    async def add_dep(self, package: str) -> dict[str, Any]:
        """Install a package and keep it; keys ``installed``, ``already_present``, ``failed``."""
        return await self._ask("deps.add", package=package)

    async def remove_dep(self, package: str) -> dict[str, Any]:
        """Uninstall a package and drop it; keys ``removed``, ``not_found``, ``failed``, ``removed_from_config``."""
        return await self._ask("deps.remove", package=package)

    async def sync_deps(self) -> dict[str, Any]:
        """Install all that is configured; keys as ``add_dep``."""
        return await self._ask("deps.sync")
