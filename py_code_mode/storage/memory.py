"""A workspace in memory: the twin of FileStorage, for tests and for sessions that keep nothing."""

from __future__ import annotations

import builtins
import io
import itertools
import threading
import uuid
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from kernel_bootstrap.wire import Buffer, Source
from py_code_mode.artifacts.artifact import Artifact, check_format, check_name, check_notes, utc_now
from py_code_mode.artifacts.store import ArtifactStore, not_found
from py_code_mode.deps.requirements import Problem, RequirementsText
from py_code_mode.errors import ArtifactNameError
from py_code_mode.search.named import EmbedderLike
from py_code_mode.tools.store import MemoryToolStore
from py_code_mode.workflows.history import Entry, Use, Version, numbered
from py_code_mode.workflows.library import WorkflowLibrary


class MemoryStorage:
    """A workspace that ends with its process.

    ``requirements`` is the text of its requirements.txt, ``embedder`` as in FileStorage.
    """

    def __init__(self, *, requirements: str = "", embedder: EmbedderLike = None) -> None:
        self._identity = f"memory:{uuid.uuid4().hex}"
        self._workflows = WorkflowLibrary(MemoryWorkflowStore(), embedding=embedder)
        self._artifacts = MemoryArtifactStore(self._identity)
        self._dependencies = MemoryDependencyStore(requirements)
        self._tools = MemoryToolStore()

    @property
    def identity(self) -> str:
        """ "memory:" and random text, another for each instance."""
        return self._identity

    def get_workflow_library(self) -> WorkflowLibrary:
        """The workflows."""
        return self._workflows

    def get_artifact_store(self) -> MemoryArtifactStore:
        """The artifacts."""
        return self._artifacts

    def get_dependency_store(self) -> MemoryDependencyStore:
        """The configured dependencies."""
        return self._dependencies

    def get_tool_store(self) -> MemoryToolStore:
        """The definitions of tools."""
        return self._tools


class MemoryWorkflowStore:
    """The WorkflowStore in a dict."""

    def __init__(self) -> None:
        self._sources: dict[str, tuple[int, bytes]] = {}
        self._changes = itertools.count()
        self._lock = threading.Lock()
        self._stamps: dict[str, int] | None = None
        self.history = MemoryWorkflowHistory()
        self.uses = MemoryUseCounts()

    is_near = True

    def stamps(self) -> Mapping[str, Hashable]:
        """See ``WorkflowStore.stamps``; the same mapping as long as nothing changes."""
        with self._lock:
            if self._stamps is None:
                self._stamps = {name: change for name, (change, _) in self._sources.items()}
            return self._stamps

    def stamp(self, name: str) -> Hashable | None:
        """See ``WorkflowStore.stamp``."""
        found = self._sources.get(name)
        return None if found is None else found[0]

    def read(self, name: str) -> bytes | None:
        """See ``WorkflowStore.read``."""
        found = self._sources.get(name)
        return None if found is None else found[1]

    def write(self, name: str, source: Buffer, entry: Entry) -> None:
        """See ``WorkflowStore.write``."""
        data = bytes(source)
        with self._lock:
            if name in self._sources and self._sources[name][1] == data:
                return
            self._sources[name] = (next(self._changes), data)
            self._stamps = None
            self.history.add(name, entry, data)

    def delete(self, name: str, entry: Entry) -> bool:
        """See ``WorkflowStore.delete``."""
        with self._lock:
            if self._sources.pop(name, None) is None:
                return False
            self._stamps = None
            self.history.add(name, entry, b"")
            return True


class MemoryWorkflowHistory:
    """The WorkflowHistory in lists."""

    def __init__(self) -> None:
        self._entries: dict[str, list[Entry]] = {}
        self._sources: dict[str, bytes] = {}

    def versions(self, name: str) -> list[Version]:
        """See ``WorkflowHistory.versions``."""
        return numbered([*self._entries.get(name, ())])

    def source(self, name: str, digest: str) -> bytes | None:
        """See ``WorkflowHistory.source``."""
        return self._sources.get(digest)

    def add(self, name: str, entry: Entry, source: bytes) -> None:
        """Append a version; the store calls it, one call at a time."""
        if entry.digest:
            self._sources[entry.digest] = source
        self._entries.setdefault(name, []).append(entry)


class MemoryUseCounts:
    """The UseCounts in a dict."""

    def __init__(self) -> None:
        self._uses: dict[str, Use] = {}
        self._lock = threading.Lock()

    def add(self, uses: Mapping[str, Use]) -> None:
        """See ``UseCounts.add``."""
        with self._lock:
            self._uses = self._uses | {name: self._uses.get(name, Use()) + use for name, use in uses.items()}

    def read(self) -> Mapping[str, Use]:
        """See ``UseCounts.read``."""
        return self._uses


class MemoryArtifactStore(ArtifactStore):
    """The ArtifactStore in a dict. ``url`` is what the paths of its artifacts begin with."""

    def __init__(self, url: str = "memory:") -> None:
        self._url = url
        self._lock = threading.Lock()
        self._items: dict[str, tuple[Artifact, bytes]] = {}

    def create(
        self,
        name: str,
        format: str,  # noqa: A002
        details: dict[str, Any],
        description: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> MemoryArtifactWriter:
        """See ``ArtifactStore.create``."""
        parts = check_name(name)
        notes = check_notes(name, description, metadata)
        details = check_format(name, format, details)
        return MemoryArtifactWriter(lambda data: self._publish(name, parts, data, format, details, description, notes))

    def _publish(
        self,
        name: str,
        parts: tuple[str, ...],
        data: bytes,
        format: str,  # noqa: A002
        details: dict[str, Any],
        description: str,
        notes: dict[str, Any],
    ) -> Artifact:
        now = utc_now()
        with self._lock:
            self._check_folders(name, parts)
            old = self._items.get(name)
            artifact = Artifact(
                name=name,
                path=f"{self._url}/artifacts/{name}",
                format=format,
                size=len(data),
                created_at=now if old is None else old[0].created_at,
                updated_at=now,
                description=description,
                metadata=notes,
                details=details,
            )
            self._items[name] = (artifact, data)
        return artifact

    def open(self, name: str) -> tuple[Artifact, Source]:
        """See ``ArtifactStore.open``."""
        artifact, data = self.read(name)
        return artifact, io.BytesIO(data)

    def read(self, name: str) -> tuple[Artifact, bytes]:
        """See ``ArtifactStore.read``."""
        check_name(name)
        with self._lock:
            found = self._items.get(name)
            if found is None:
                raise not_found(name, self._items)
            return found

    def get(self, name: str) -> Artifact | None:
        """See ``ArtifactStore.get``."""
        check_name(name)
        with self._lock:
            found = self._items.get(name)
        return None if found is None else found[0]

    def list(self) -> builtins.list[Artifact]:
        """See ``ArtifactStore.list``."""
        with self._lock:
            return [self._items[name][0] for name in sorted(self._items)]

    def delete(self, name: str) -> bool:
        """See ``ArtifactStore.delete``."""
        check_name(name)
        with self._lock:
            return self._items.pop(name, None) is not None

    def _check_folders(self, name: str, parts: tuple[str, ...]) -> None:
        # Names that could not lie in one folder together are refused here, too: workspaces can be moved.
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder in self._items:
                raise ArtifactNameError(
                    f"{name!r} cannot be used: {folder!r} is an artifact, so it cannot be a folder",
                    artifact=name,
                )
        if any(other.startswith(f"{name}/") for other in self._items):
            raise ArtifactNameError(f"{name!r} is a folder that holds other artifacts", artifact=name)


class MemoryArtifactWriter:
    """The ArtifactWriter into memory; ``publish`` makes what was written the artifact."""

    def __init__(self, publish: Callable[[bytes], Artifact]) -> None:
        self._publish = publish
        self._content = io.BytesIO()

    def write(self, data: Buffer) -> None:
        """See ``ArtifactWriter.write``."""
        self._content.write(data)

    def commit(self) -> Artifact:
        """See ``ArtifactWriter.commit``."""
        return self._publish(self._content.getvalue())

    def close(self) -> None:
        """See ``ArtifactWriter.close``."""
        self._content.close()


class MemoryDependencyStore:
    """The DependencyStore in a RequirementsText."""

    def __init__(self, text: str = "") -> None:
        self._lock = threading.Lock()
        self._content = RequirementsText(text)

    def read(self) -> list[str]:
        """See ``DependencyStore.read``."""
        return self._content.requirements()

    def problems(self) -> list[Problem]:
        """See ``DependencyStore.problems``."""
        return self._content.problems()

    def add(self, requirement: str) -> None:
        """See ``DependencyStore.add``."""
        with self._lock:
            self._content = self._content.with_requirement(requirement)

    def remove(self, name: str) -> bool:
        """See ``DependencyStore.remove``."""
        with self._lock:
            before, self._content = self._content, self._content.without(name)
            return str(before) != str(self._content)
