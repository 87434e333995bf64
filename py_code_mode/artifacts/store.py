"""The store of artifacts, which deals in bytes, and the way of a value into it and out again."""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from contextlib import closing
from typing import Any, Protocol

from kernel_bootstrap import formats
from kernel_bootstrap.formats import Payload
from kernel_bootstrap.wire import Buffer, Source
from py_code_mode.errors import ArtifactNotFoundError
from py_code_mode.tools.hints import nearest

from .artifact import Artifact


class ArtifactStore(Protocol):
    """Keeps artifacts. Session and the kernel's requests call it in worker threads; it is thread-safe.

    Every method raises ArtifactNameError for a name that is refused, StorageError when the storage fails.
    A backend has the first five; ``save``, ``read`` and ``exists`` are made of them.
    """

    @property
    def is_near(self) -> bool:
        """Whether ``exists`` answers in microseconds, so that an event loop may call it without a thread."""
        return False

    def create(
        self,
        name: str,
        format: str,  # noqa: A002 - the word of the matter
        details: dict[str, Any],
        description: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> ArtifactWriter:
        """Begin to create or replace an artifact; nobody sees of it before it is committed.

        Raises ArtifactFormatError for an unknown format, and when ``details`` or ``metadata`` is not a JSON object.
        """
        ...

    def open(self, name: str) -> tuple[Artifact, Source]:
        """The artifact and its bytes to read, which belong together and stay as they are. Raises ArtifactNotFoundError.

        The caller closes the source.
        """
        ...

    def get(self, name: str) -> Artifact | None:
        """The artifact without its bytes; None: there is no such."""
        ...

    def list(self) -> builtins.list[Artifact]:
        """All artifacts by name."""
        ...

    def delete(self, name: str) -> bool:
        """Delete one; False: there is no such."""
        ...

    def exists(self, name: str) -> bool:
        """Whether there is one of that name."""
        return self.get(name) is not None

    def save(
        self, name: str, payload: Payload, description: str = "", metadata: dict[str, Any] | None = None
    ) -> Artifact:
        """Create or replace; see ``create`` and ``ArtifactWriter.commit``."""
        with closing(self.create(name, payload.format, payload.details, description, metadata)) as writer:
            for part in payload.parts:
                writer.write(part)
            return writer.commit()

    def read(self, name: str) -> tuple[Artifact, Buffer]:
        """The artifact and all of its bytes. Raises ArtifactNotFoundError."""
        artifact, source = self.open(name)
        with closing(source):
            return artifact, source.read(artifact.size) or b""


class ArtifactWriter(Protocol):
    """An artifact that is being written, by one thread at a time. Whoever created it closes it.

    Every method raises StorageError when the storage fails, a full disk among the reasons.
    """

    def write(self, data: Buffer) -> None:
        """The next bytes."""
        ...

    def commit(self) -> Artifact:
        """Make it the artifact, value and description at once: a crash leaves the old artifact or the new one.

        ``created_at`` stays when an artifact is replaced. Raises ArtifactNameError when the name is a folder of
        other artifacts, or below one.
        """
        ...

    def close(self) -> None:
        """Free what it holds; what was not committed is gone. May be called again."""
        ...


def save_value(
    store: ArtifactStore,
    name: str,
    value: Any,
    description: str = "",
    metadata: dict[str, Any] | None = None,
) -> Artifact:
    """Save ``value`` in the format that fits it. Raises ArtifactFormatError when none does."""
    return store.save(name, formats.dump(value), description, metadata)


def load_value(store: ArtifactStore, name: str) -> Any:
    """The value of an artifact. Raises ArtifactNotFoundError, and ArtifactFormatError for spoiled content."""
    artifact, data = store.read(name)
    return formats.load(artifact.format, data, artifact.details)


def not_found(name: str, names: Iterable[str]) -> ArtifactNotFoundError:
    """The error for an artifact that is not there; it tells the nearest of ``names``."""
    return ArtifactNotFoundError(f"no artifact {name!r}{nearest(name, sorted(names))}", artifact=name)
