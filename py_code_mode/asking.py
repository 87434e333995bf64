"""What a session asks of its workspace: tools, workflows, artifacts and dependencies."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
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

    @abstractmethod
    async def _prove(self, name: str, source: str) -> None:
        """Raise WorkflowTestError unless the tests in ``source`` pass."""

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

    async def get_workflow(self, name: str, version: int | None = None) -> dict[str, Any] | None:
        """All about one workflow, or about an earlier ``version`` of it; None: there is no such workflow.

        ``name``, ``description``, ``parameters``, ``source``, ``signature``, ``returns``, ``tags``, ``requires``
        (``tools``, ``workflows``, ``packages``, ``dependencies``), ``version``, ``created``, ``updated``, ``author``.
        Raises WorkflowNotFoundError for a version that there is not.
        """
        return await self._ask("workflows.get", name=name, version=version)

    async def add_workflow(
        self,
        name: str,
        source: str,
        description: str,
        *,
        tags: Sequence[str] | None = None,
        test: bool = False,
    ) -> dict[str, Any]:
        """Create and keep a workflow. One of that name is replaced, and stays in its history.

        ``tags`` are kept in the source; None keeps those that it has. With ``test`` it is kept only if its tests pass,
        which run as ``test_workflow`` says. Raises WorkflowInvalidError, and WorkflowTestError.
        """
        given = {"name": name, "source": source, "description": description, "tags": tags}
        if test:
            await self._ask("workflows.check", **given)
            await self._prove(name, source)
        return await self._ask("workflows.create", **given)

    async def workflow_history(self, name: str) -> list[dict[str, Any]]:
        """Every version of a workflow, oldest first: ``version``, ``created``, ``author``, ``change``, ``digest``.

        Raises WorkflowNotFoundError.
        """
        return await self._ask("workflows.history", name=name)

    async def diff_workflow(self, name: str, old: int | None = None, new: int | None = None) -> str:
        """The unified diff between two versions of a workflow; by default of the newest and the one before it."""
        return await self._ask("workflows.diff", name=name, old=old, new=new)

    async def rollback_workflow(self, name: str, version: int) -> dict[str, Any]:
        """Make an earlier version of a workflow the newest again, also of one that was removed."""
        return await self._ask("workflows.rollback", name=name, version=version)

    async def workflow_stats(self, name: str | None = None) -> list[dict[str, Any]]:
        """How often all workflows, or one, were called: ``name``, ``calls``, ``failures``, ``last_used``.

        Calls of all sessions count; one that is killed may take those of its last two seconds with it.
        """
        return await self._ask("workflows.stats", name=name)

    async def workflow_stubs(self) -> str:
        """The types of all workflows, as the text of a ``.pyi`` file for editors, mypy and models."""
        return await self._ask("workflows.stubs")

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
