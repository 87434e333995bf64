"""The ``ToolStore`` seam: where the definitions of tools are kept, as the text of ``tools/*.yaml``."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from py_code_mode.errors import ToolDefinitionError

SUFFIXES = (".yaml", ".yml")
"""Of the files that are definitions."""


class ToolSource(Protocol):
    """Definitions that can be read. ``StoredToolProvider`` makes tools of them; thread-safe and blocking.

    A name is that of the file without ``.yaml``; see ``name_of_file``. A stamp is equal to an earlier one only if
    the definition has not changed in between. All of it raises StorageError when the storage fails.
    """

    def stamps(self) -> Mapping[str, Hashable]:
        """The stamps of all definitions, by name; asked for at each list and call of a tool."""
        ...

    def read(self, names: Iterable[str]) -> dict[str, bytes | ToolDefinitionError]:
        """The definitions as they are stored, by name, or why one cannot be read; what is gone is left out."""
        ...

    def where(self, name: str) -> Path | str:
        """Where a definition is, for people: the path of a file, or the address of a storage that has none."""
        ...


class ToolStore(ToolSource, Protocol):
    """Definitions that can be changed as well; what ``get_tool_store`` of a storage gives."""

    def write(self, name: str, content: bytes) -> None:
        """Create or replace; a crash leaves the old definition or the new one.

        It may be malformed: whoever reads it says so. Raises ToolDefinitionError for a name that no file can have.
        """
        ...

    def delete(self, name: str) -> bool:
        """Delete one; False: there is no such."""
        ...


class MemoryToolStore:
    """The ToolStore in a dict."""

    def __init__(self) -> None:
        self._items: dict[str, tuple[int, bytes]] = {}
        self._versions = itertools.count()
        self._lock = threading.Lock()

    def stamps(self) -> Mapping[str, Hashable]:
        """See ``ToolSource.stamps``."""
        with self._lock:
            return {name: version for name, (version, _) in self._items.items()}

    def read(self, names: Iterable[str]) -> dict[str, bytes | ToolDefinitionError]:
        """See ``ToolSource.read``."""
        with self._lock:
            return {name: self._items[name][1] for name in names if name in self._items}

    def where(self, name: str) -> str:
        """See ``ToolSource.where``."""
        return f"memory:/tools/{file_of_name(name)}"

    def write(self, name: str, content: bytes) -> None:
        """See ``ToolStore.write``."""
        check_store_name(name)
        with self._lock:
            self._items[name] = (next(self._versions), bytes(content))

    def delete(self, name: str) -> bool:
        """See ``ToolStore.delete``."""
        with self._lock:
            return self._items.pop(name, None) is not None


def name_of_file(file: str) -> str:
    """The name of the definition in the file: without ``.yaml``, but with ``.yml``, so that each file has its own."""
    name = file.removesuffix(".yaml")
    return file if name.endswith(SUFFIXES) else name


def file_of_name(name: str) -> str:
    """The file of the definition ``name``."""
    return name if name.endswith(SUFFIXES) else f"{name}.yaml"


def check_store_name(name: str) -> None:
    """Raises ToolDefinitionError for a name that no definition can have."""
    reason = _problem(name)
    if reason is not None:
        raise ToolDefinitionError(f"{name!r:.80} cannot be the name of a definition: {reason}", tool=str(name))


def _problem(name: str) -> str | None:
    if not isinstance(name, str) or not name:
        return "a text expected, not an empty one"
    if name.startswith(".") or "/" in name or not name.isprintable():
        return "it is the name of a file without .yaml, so it has no '/' and does not begin with '.'"
    if len(os.fsencode(file_of_name(name))) > 255:
        return "it is longer than the name of a file can be"
    return None
