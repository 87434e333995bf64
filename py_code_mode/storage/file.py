"""A workspace in a directory."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .bases import is_url

if TYPE_CHECKING:
    from py_code_mode.search.named import EmbedderLike
    from py_code_mode.workflows.library import WorkflowLibrary

    from .file_artifacts import FileArtifactStore
    from .file_deps import FileDependencyStore
    from .file_tools import FileToolStore


class FileStorage:
    """The workspace in the directory ``base_path`` ("~" is expanded), with the files as people know them.

    ``artifacts/``, ``workflows/``, ``tools/`` and ``requirements.txt`` lie below it; what is missing is created when it
    is first written to. Several processes can use one directory. Files that people add, edit and delete
    are seen at the next call. ``embedder`` is what searches of workflows and tools go by: a name such as
    "model2vec:<model>", a callable or an Embedder (see ``search.named.embedder``); None for the one that
    PY_CODE_MODE_EMBEDDER names, else the one that comes with the package.
    """

    def __init__(self, base_path: str | Path, *, embedder: EmbedderLike = None) -> None:
        if not isinstance(base_path, str | os.PathLike):
            raise TypeError(f"base_path is a str or a Path, not {type(base_path).__name__}")
        if not os.fspath(base_path):
            raise ValueError("base_path is empty; '.' is the current directory")
        if is_url(base_path):
            raise ValueError("base_path is a directory; the URL of a Redis is for RedisStorage or Session.from_base")
        self._base = Path(base_path).expanduser().resolve()
        self._embedder = embedder

    def __repr__(self) -> str:
        return f"FileStorage({str(self._base)!r})"

    @property
    def base_path(self) -> Path:
        """The directory, absolute, its symbolic links resolved."""
        return self._base

    @property
    def identity(self) -> str:
        """ "file:" and the absolute path."""
        return f"file:{self._base}"

    def get_workflow_library(self) -> WorkflowLibrary:
        """The workflows, from ``workflows/*.py``."""
        return self._workflows

    def get_artifact_store(self) -> FileArtifactStore:
        """The artifacts, below ``artifacts/``."""
        return self._artifacts

    def get_dependency_store(self) -> FileDependencyStore:
        """The requirements, from ``requirements.txt``."""
        return self._dependencies

    def get_tool_store(self) -> FileToolStore:
        """The definitions of tools, from ``tools/*.yaml``."""
        return self._tools

    # What the stores import is not needed before a kernel is on its way.

    @cached_property
    def _workflows(self) -> WorkflowLibrary:
        from py_code_mode.workflows.library import WorkflowLibrary

        from .file_workflows import FileWorkflowStore

        return WorkflowLibrary(FileWorkflowStore(self._base), embedding=self._embedder)

    @cached_property
    def _artifacts(self) -> FileArtifactStore:
        from .file_artifacts import FileArtifactStore

        return FileArtifactStore(self._base)

    @cached_property
    def _dependencies(self) -> FileDependencyStore:
        from .file_deps import FileDependencyStore

        return FileDependencyStore(self._base)

    @cached_property
    def _tools(self) -> FileToolStore:
        from .file_tools import FileToolStore

        return FileToolStore(self._base)
