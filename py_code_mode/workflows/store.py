"""The seam between the workflow library and what keeps its workflows: a file system, Redis, memory."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Protocol

from kernel_bootstrap.wire import Buffer

from .history import Entry, Use, Version


class WorkflowHistory(Protocol):
    """The history of a store. Only the library calls it, from several threads at once.

    Versions are never changed and never removed, whatever becomes of the workflow. All of it raises StorageError
    when the storage fails.
    """

    def versions(self, name: str) -> list[Version]:
        """All versions, the oldest first. A source that was changed past the store is one as well."""
        ...

    def source(self, name: str, digest: str) -> bytes | None:
        """The source of a version; None: there is none with that digest."""
        ...


class UseCounts(Protocol):
    """The counts of a store, by workflow. Raises StorageError when the storage fails."""

    def add(self, uses: Mapping[str, Use]) -> None:
        """Count these in; what other processes count in at the same time is not lost."""
        ...

    def read(self) -> Mapping[str, Use]:
        """All counts."""
        ...


class WorkflowStore(Protocol):
    """Where the sources are kept. Only the library calls it, from several threads at once.

    A name is whatever the storage has before ".py"; the library says which ones can be workflows. A stamp
    is equal to an earlier one only if the source has not changed in between. All of it raises
    StorageError when the storage fails. ``history`` has the versions of the workflows, ``uses`` how often each was
    called.
    """

    @property
    def history(self) -> WorkflowHistory:
        """What the workflows were before."""

    @property
    def uses(self) -> UseCounts:
        """How often each was called."""

    @property
    def is_near(self) -> bool:
        """Whether ``stamp`` takes no longer than a look at a disk of this machine."""
        ...

    def stamps(self) -> Mapping[str, Hashable]:
        """The stamps of all workflows, by name. ``list`` and ``search`` ask for them at each call.

        They do so in no time if it is the same mapping as before, which a store may give when nothing changed.
        """
        ...

    def stamp(self, name: str) -> Hashable | None:
        """The stamp of one, at a cost that does not grow with their number; None: there is no such."""
        ...

    def read(self, name: str) -> bytes | None:
        """The source as stored; None: it is gone. Raises WorkflowInvalidError for what cannot be read."""
        ...

    def write(self, name: str, source: Buffer, entry: Entry) -> None:
        """Create or replace, and append ``entry`` to the history; a crash leaves the old source or the new one.

        A workflow that has this very source is left as it is.
        """
        ...

    def delete(self, name: str, entry: Entry) -> bool:
        """Delete one, and append ``entry`` to its history; False: there is no such."""
        ...
