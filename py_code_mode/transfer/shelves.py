"""The shelves of a storage: workflows, tools and requirements, whose texts are held in memory. Blocking."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from py_code_mode.deps.manager import DependencyStore
from py_code_mode.deps.requirements import canonical
from py_code_mode.errors import RequirementError, ToolDefinitionError, ToolError
from py_code_mode.storage.base import KeepsTools, StorageBackend
from py_code_mode.tools.base import ToolInfo
from py_code_mode.tools.loader import examine
from py_code_mode.tools.store import ToolStore
from py_code_mode.workflows.library import WorkflowLibrary
from py_code_mode.workflows.workflow import Workflow

from .artifacts import ArtifactShelf
from .shelf import Item, Moved, Shelf


def shelf(storage: StorageBackend, kind: str, author: str = "") -> Shelf:
    """The things of that kind in ``storage``; ``author`` changes them. Raises KeyError for a kind that is none."""
    makers: dict[str, Callable[[], Shelf]] = {
        "workflows": lambda: WorkflowShelf(storage.get_workflow_library(), author),
        "tools": lambda: ToolShelf(storage.get_tool_store() if isinstance(storage, KeepsTools) else None),
        "deps": lambda: DependencyShelf(storage.get_dependency_store()),
        "artifacts": lambda: ArtifactShelf(storage.get_artifact_store()),
    }
    return makers[kind]()


class WorkflowShelf:
    """The workflows as they are now, without their history; what is put here is a new version by ``author``.

    A broken one cannot be carried.
    """

    def __init__(self, library: WorkflowLibrary, author: str) -> None:
        self._library = library
        self._author = author
        self._found: dict[str, Workflow] = {}

    def items(self) -> dict[str, Item]:
        """See ``Shelf``, here and below."""
        self._found = {workflow.name: workflow for workflow in self._library.list()}
        return {name: Item(name, found.description, _why_not(found)) for name, found in self._found.items()}

    def same(self, name: str, other: WorkflowShelf) -> bool:
        return self.text(name) == other.text(name)

    def text(self, name: str) -> str:
        return self._found[name].source

    def take(self, name: str, other: WorkflowShelf, moved: Moved) -> None:
        self._library.create(name, other.text(name), author=self._author)

    def remove(self, name: str) -> None:
        self._library.delete(name, author=self._author)


def _why_not(workflow: Workflow) -> str | None:
    if workflow.broken is None and not workflow.description:
        return "it has no description: begin it with a docstring"
    return workflow.broken


class ToolShelf:
    """The definitions of tools; a malformed one cannot be carried. ``store`` None: the storage keeps none."""

    def __init__(self, store: ToolStore | None) -> None:
        self._store = store
        self._contents: dict[str, bytes] = {}

    def items(self) -> dict[str, Item]:
        """See ``Shelf``, here and below."""
        if self._store is None:
            return {}
        found = self._store.read(sorted(self._store.stamps()))
        self._contents = {name: content for name, content in found.items() if isinstance(content, bytes)}
        return {name: _tool_item(name, made) for name, made in examine(_Held(found, self._store.where)).items()}

    def same(self, name: str, other: ToolShelf) -> bool:
        return self._contents.get(name) == other._contents.get(name)

    def text(self, name: str) -> str:
        return self._contents.get(name, b"").decode("utf-8", "backslashreplace")

    def take(self, name: str, other: ToolShelf, moved: Moved) -> None:
        if self._store is None:
            raise ToolError("this storage keeps no tools", tool=name)
        content = other._contents[name]
        # What is right in a file may not be right here: a command that is relative to the file.
        for made in examine(_Held({name: content}, self._store.where)).values():
            if isinstance(made, ToolDefinitionError):
                raise made
        self._store.write(name, content)

    def remove(self, name: str) -> None:
        if self._store is not None:
            self._store.delete(name)


def _tool_item(name: str, made: ToolInfo | ToolDefinitionError) -> Item:
    if isinstance(made, ToolDefinitionError):
        return Item(name, problem=made.message)
    return Item(name, made.description)


class _Held:
    """The ToolSource of definitions that have been read."""

    def __init__(self, contents: Mapping[str, bytes | ToolDefinitionError], where: Callable[[str], Path | str]) -> None:
        self._contents = contents
        self.where = where

    def stamps(self) -> Mapping[str, Hashable]:
        return dict.fromkeys(self._contents, 0)

    def read(self, names: Iterable[str]) -> dict[str, bytes | ToolDefinitionError]:
        return {name: self._contents[name] for name in names}


class DependencyShelf:
    """The configured requirements by package; lines that are none, such as options, cannot be carried."""

    def __init__(self, store: DependencyStore) -> None:
        self._store = store
        self._texts: dict[str, list[str]] = {}
        self._others: dict[str, str] = {}

    def items(self) -> dict[str, Item]:
        """See ``Shelf``, here and below."""
        self._texts = {}
        for text in self._store.read():
            self._texts.setdefault(str(canonicalize_name(canonical(text))), []).append(text)
        items = {name: Item(name, ", ".join(texts), _several(texts)) for name, texts in self._texts.items()}
        lines = self._store.problems()
        self._others = {problem.where: problem.text for problem in lines}
        return items | {line.where: Item(line.where, line.text, f"{line.text!r}: {line.reason}") for line in lines}

    def same(self, name: str, other: DependencyShelf) -> bool:
        return self.text(name) == other.text(name)

    def text(self, name: str) -> str:
        return "\n".join(self._texts.get(name, [self._others.get(name, "")]))

    def take(self, name: str, other: DependencyShelf, moved: Moved) -> None:
        self._store.add(other.text(name))

    def remove(self, name: str) -> None:
        if name not in self._texts:
            raise RequirementError(f"{self.text(name)!r} can be removed by hand only", requirement=self.text(name))
        self._store.remove(name)


def _several(texts: list[Any]) -> str | None:
    if len(texts) > 1:
        return f"several requirements for one package ({', '.join(texts)}), of which one only can be kept"
    return None
