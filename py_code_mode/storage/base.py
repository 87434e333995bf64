"""The ``StorageBackend`` seam: where the workflows, artifacts and requirements of a workspace are kept."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from py_code_mode.artifacts.store import ArtifactStore
from py_code_mode.deps.manager import DependencyStore
from py_code_mode.tools.store import ToolStore
from py_code_mode.workflows.library import WorkflowLibrary


@runtime_checkable
class StorageBackend(Protocol):
    """One workspace. A Session asks it once for each store; the stores are thread-safe and block."""

    @property
    def identity(self) -> str:
        """Text that is this workspace's alone and stays the same; it keys the workspace's virtualenv."""
        ...

    def get_workflow_library(self) -> WorkflowLibrary:
        """The workflows."""
        ...

    def get_artifact_store(self) -> ArtifactStore:
        """The artifacts."""
        ...

    def get_dependency_store(self) -> DependencyStore:
        """The configured dependencies."""
        ...


@runtime_checkable
class KeepsTools(Protocol):
    """What a StorageBackend has beside that where definitions of tools can be kept in it.

    A Session without a directory of tools asks for them once.
    """

    def get_tool_store(self) -> ToolStore:
        """The definitions of tools."""
        ...
