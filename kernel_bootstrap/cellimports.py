"""The imports of cells, taken to the top of a file where that changes nothing. Standard library only."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .cellhistory import CellHistory
from .cellsource import CellSource
from .scopes import Scope, imported

_CHANGES_IMPORTS = {("sys", "path"), ("os", "environ"), ("os", "putenv"), ("deps", "add"), ("deps", "sync")}

Import = ast.Import | ast.ImportFrom


class CellImports:
    """The imports at the top level of ``cells``. ``futures`` are the features that they import from ``__future__``.

    After ``move``, ``names`` are those that the moved imports bind, ``others`` the names of all other statements, and
    ``in`` tells whether a statement was taken out of its cell.
    """

    def __init__(self, cells: list[CellSource]) -> None:
        self._cells = cells
        self._moved: list[ast.stmt] = []
        self._from_future: list[ast.stmt] = []
        self.names: set[str] = set()
        self.others = Scope()
        self.futures: dict[str, None] = {}
        for cell, node in self._statements():
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                self.futures |= dict.fromkeys(alias.name for alias in node.names)
                self._from_future.append(node)
                cell.remove(node)

    def __contains__(self, node: ast.stmt) -> bool:
        return node in self._moved or node in self._from_future

    def lines(self) -> list[str]:
        """The moved imports, in their order."""
        return [ast.unparse(node) for node in self._moved]

    def move(self, history: CellHistory, *, postponed: bool) -> None:
        """Take out what can go to the top: where nothing before it matters, and its names mean nothing else."""
        self.others = Scope(postponed=postponed)
        movable: list[tuple[CellSource, Import]] = []
        stays = False
        for cell, node in self._statements():
            if node in self._from_future:
                continue
            if isinstance(node, Import) and not stays:
                movable.append((cell, node))
            else:
                stays = stays or _changes_imports(node)
                self.others.run([node])
        meanings: dict[str, set[str]] = {}
        for _, node in movable:
            for name, meaning in _meanings(node):
                meanings.setdefault(name, set()).add(meaning)
        for name in meanings:
            binding = history.get(name)
            if binding is not None:
                earlier = dict(_meanings(binding.node)) if isinstance(binding.node, Import) else {}
                meanings[name].add(earlier.get(name, ""))
        taken = self.others.bound | {"run"} | {name for name, several in meanings.items() if len(several) > 1}
        for cell, node in movable:
            names = imported(node)
            if taken.isdisjoint(names):
                self.names |= set(names)
                self._moved.append(node)
                cell.remove(node)
            else:
                self.others.run([node])
        self._refuse_stars()

    def _refuse_stars(self) -> None:
        for cell, node in self._statements():
            star = isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
            if star and node not in self:
                raise ValueError(
                    f"{cell.where(node)}: 'import *' can stand at the top of a file only, and the cells give "
                    "names that it brings another value, or need it to come later: import what is needed by name"
                )

    def _statements(self) -> Iterator[tuple[CellSource, ast.stmt]]:
        return ((cell, node) for cell in self._cells for node in cell.tree.body)


def _meanings(node: Import) -> Iterator[tuple[str, str]]:
    """Each name that an import binds, with what it stands for."""
    for alias in node.names:
        if isinstance(node, ast.Import):
            top = alias.name.partition(".")[0]
            yield (alias.asname, alias.name) if alias.asname else (top, top)
        else:
            module = f"{'.' * node.level}{node.module or ''}"
            names = imported(node) if alias.name == "*" else [alias.asname or alias.name]
            yield from ((name, f"{module}.{name if alias.name == '*' else alias.name}") for name in names)


def _changes_imports(node: ast.stmt) -> bool:
    """Whether imports after ``node`` may depend on it."""
    return any(
        isinstance(found, ast.Attribute)
        and isinstance(found.value, ast.Name)
        and (found.value.id, found.attr) in _CHANGES_IMPORTS
        for found in ast.walk(node)
    )
