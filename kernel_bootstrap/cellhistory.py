"""Where the names of a session come from: what its earlier cells imported, defined and assigned."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from .cellsource import IPYTHON, CellSource
from .scopes import Scope, imported

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True, slots=True)
class Binding:
    """The statement that bound a name last: a definition, an import, or an assignment to this name alone.

    ``order`` grows with time. Without a ``node`` there is only the value that the name has.
    """

    source: CellSource
    order: int
    node: ast.stmt | None

    def is_lambda(self) -> bool:
        """Whether it is a function without a ``def``."""
        return isinstance(self.node, ast.Assign | ast.AnnAssign) and isinstance(self.node.value, ast.Lambda)


class CellHistory:
    """The earlier cells; lines that are no Python are left out."""

    def __init__(self, cells: Sequence[str]) -> None:
        self._bindings: dict[str, list[Binding]] = {}
        self._dotted: dict[str, list[str]] = {}
        self.futures: dict[str, None] = {}
        self._count = 0
        for number, text in enumerate(cells, 1):
            source = _lenient(text, f"earlier cell {number}")
            for statement in source.tree.body if source is not None else ():
                assert source is not None
                self._add(source, statement)

    def __contains__(self, name: str) -> bool:
        return name in self._bindings

    def get(self, name: str) -> Binding | None:
        """What bound ``name`` last, None where no cell did."""
        found = self._bindings.get(name)
        return found[-1] if found else None

    def before(self, name: str, binding: Binding) -> Binding | None:
        """What had bound ``name`` when ``binding`` did so again."""
        return next((found for found in reversed(self._bindings[name]) if found.order < binding.order), None)

    def imports(self, name: str, binding: Binding | None) -> list[str]:
        """The import statements for ``name`` as they were written, where ``binding`` is an import; else none."""
        node = binding.node if binding is not None else None
        if isinstance(node, ast.Import):
            for alias in node.names:
                if name == (alias.asname or alias.name.partition(".")[0]):
                    return self._dotted[name] if alias.asname is None else [f"import {alias.name} as {name}"]
        if isinstance(node, ast.ImportFrom):
            names = {alias.asname or alias.name: alias.name for alias in node.names}
            return [from_import(node, names.get(name, name), name)]
        return []

    def _add(self, source: CellSource, statement: ast.stmt) -> None:
        self._count += 1
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            self.futures |= dict.fromkeys(alias.name for alias in statement.names)
            return
        for node in _simple(statement):
            scope = Scope()
            scope.run([node])
            for name in scope.bound:
                telling = node if _is_telling(node, name) else None
                self._bindings.setdefault(name, []).append(Binding(source, self._count, telling))
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                if alias.asname is None:
                    self._dotted.setdefault(alias.name.partition(".")[0], []).append(f"import {alias.name}")


def from_import(node: ast.ImportFrom, name: str, alias: str) -> str:
    """``from ... import`` of one name."""
    text = f"from {'.' * node.level}{node.module or ''} import {name}"
    return text if alias == name else f"{text} as {alias}"


def _lenient(text: str, label: str) -> CellSource | None:
    for attempt in (text, "\n".join("pass" if IPYTHON.match(line) else line for line in text.split("\n"))):
        if attempt is text or not text.lstrip().startswith("%%"):
            try:
                return CellSource(attempt, label)
            except ValueError:
                continue
    return None


def _simple(statement: ast.stmt) -> list[ast.stmt]:
    """A statement, followed by the definitions inside it where it is compound: they are what binds their names.

    Where a name has several there, which of them was run is not known.
    """
    if isinstance(statement, DEFINITIONS):
        return [statement]
    inside: dict[str, list[ast.stmt]] = {}
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, DEFINITIONS):
            inside.setdefault(node.name, []).append(node)
        elif not isinstance(node, ast.expr):
            waiting += ast.iter_child_nodes(node)
    return [statement, *(found[0] for found in inside.values() if len(found) == 1)]


def _is_telling(node: ast.stmt, name: str) -> bool:
    """Whether ``node`` says what ``name`` is, so that it can be written again."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return node.name == name
        case ast.Import() | ast.ImportFrom():
            return name in imported(node)
        case ast.Assign([ast.Name()]) | ast.AnnAssign(ast.Name(), _, ast.expr()):
            return True
    return type(node).__name__ == "TypeAlias"
