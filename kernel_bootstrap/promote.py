"""Makes the source of a workflow from cells that were just run.

The cells become the body of ``async def run``. What they need from before becomes parameters (data), imports, or
definitions that are carried over from the cells that made them, with what these need in turn.
"""

from __future__ import annotations

import ast
import builtins
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from . import errors
from .cellhistory import DEFINITIONS, Binding, CellHistory
from .cellimports import CellImports
from .cellsource import CellSource
from .draftsource import write
from .nonlocals import make_nonlocal
from .scopes import Scope
from .valuetypes import Annotator, importable, is_code

UNKNOWN: Final = object()
"""Stands for the value of the cells where that is not known."""

_GIVEN = {"tools", "workflows", "artifacts", "deps", "display", "get_ipython", *errors.BY_NAME}
_HISTORY = re.compile(r"_{1,3}|_\d+|_i{1,3}|_i\d+|In|Out|_[iod]h")
_SEES_NAMES = {"globals", "locals", "vars", "exec", "eval"}


@dataclass(frozen=True, slots=True)
class Draft:
    """A workflow that was made from cells.

    ``arguments`` are the values that its parameters have in the session now; ``notes`` say what a person should know.
    """

    source: str
    arguments: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def draft(
    name: str,
    description: str,
    cells: Sequence[str],
    earlier: Sequence[str],
    namespace: Mapping[str, Any],
    *,
    result: Any = UNKNOWN,
) -> Draft:
    """A workflow that does what ``cells`` did.

    Args:
        name: what it is to be called
        description: its docstring
        cells: the sources of the cells, in order
        earlier: the sources of all cells of the session before them, in order
        namespace: the variables of the session now
        result: the value of the last cell, for the annotation

    Raises:
        ValueError: there is nothing to promote, or code that a workflow cannot have; the message says where, and what
            to do.
    """
    sources = [CellSource(text, f"cell {number} of those chosen") for number, text in enumerate(cells, 1)]
    if not any(source.tree.body for source in sources):
        raise ValueError("the cells hold no code: choose some that do")
    return _Promotion(name, description, sources, CellHistory(earlier), namespace, result).draft()


class _Carried:
    """A definition of an earlier cell, and what it needs in turn."""

    def __init__(self, name: str, binding: Binding, *, postponed: bool) -> None:
        assert binding.node is not None
        self.name = name
        self.order = binding.order
        self.source = binding.source.segment(binding.node)
        self.scope = Scope(postponed=postponed)
        self.scope.run(self.source.tree.body)
        self.scope.finish()
        self.needs = [*(need for need in self.scope.needed if need != name), *self.scope.declared]


class _Promotion:
    def __init__(
        self,
        name: str,
        description: str,
        cells: list[CellSource],
        history: CellHistory,
        namespace: Mapping[str, Any],
        result: Any,
    ) -> None:
        self._name = name
        self._description = description
        self._cells = cells
        self._history = history
        self._namespace = namespace
        self._result = result
        self._notes: list[str] = []
        self._seen: set[str] = set()
        self._parameters: dict[str, Any] = {}
        self._carried: list[_Carried] = []
        self._imports: dict[str, list[str]] = {}
        self._moved = CellImports(cells)
        self._futures = {**history.futures, **self._moved.futures}
        self._postponed = "annotations" in self._futures
        self._moved.move(history, postponed=self._postponed)
        self._locals = self._moved.others.own

    def draft(self) -> Draft:
        """Find what the cells need, decide where it goes, and write it down."""
        scope = Scope(postponed=self._postponed)
        for cell in self._cells:
            scope.run(statement for statement in cell.tree.body if statement not in self._moved)
        scope.finish()
        for name in [*scope.needed, *(name for name in scope.doubtful if name in self._history)]:
            self._need(name)
        inside = self._inside(scope.declared)
        carried = sorted(self._carried, key=lambda found: found.order)
        inner = [found for found in carried if found.name in inside]
        self._refuse_classes([scope, *(found.scope for found in inner)], inside)
        for source in [*self._cells, *(found.source for found in inner)]:
            make_nonlocal(source)
        returned = self._return()
        body = self._body(inside, inner, scope.declared)
        outer = [found for found in carried if found.name not in inside]
        return self._written(inside, outer, body, returned)

    # -- what is needed from before ---------------------------------------------------------------------

    def _need(self, name: str) -> None:
        if name in self._seen or name in self._moved.names:
            return
        self._seen.add(name)
        binding = self._history.get(name)
        if binding is None and self._is_given(name):
            return
        statements = self._history.imports(name, binding)
        if statements:
            self._imports[name] = statements
        elif binding is not None and isinstance(binding.node, DEFINITIONS):
            self._carry(name, binding)
        elif name in self._namespace:
            self._need_value(name, self._namespace[name], binding)
        else:
            self._notes.append(f"{name!r} has no value in the session now: what uses it fails, unless it never runs")

    def _is_given(self, name: str) -> bool:
        """Whether a workflow has ``name``, which no cell has bound, without doing anything for it."""
        if name in _GIVEN or (name.startswith("__") and name.endswith("__")):
            return True
        if _HISTORY.fullmatch(name):
            raise ValueError(f"the cells use {name!r}, an earlier input or result of the session: give it a name first")
        return hasattr(builtins, name)  # whatever the shell has put in its place, such as its own open()

    def _carry(self, name: str, binding: Binding) -> None:
        found = _Carried(name, binding, postponed=self._postponed)
        self._carried.append(found)
        if name in found.scope.needed:
            self._need_earlier(name, binding)
        for need in found.needs:
            self._need(need)

    def _need_earlier(self, name: str, binding: Binding) -> None:
        """What ``name`` was before ``binding`` made something else of it, as in ``f = cache(f)``."""
        earlier = self._history.before(name, binding)
        if earlier is None or earlier.node is None:
            self._notes.append(f"{name!r} is made of what it was before, which is not known any more")
            return
        statements = self._history.imports(name, earlier)
        if statements:
            self._imports[name] = statements
        else:
            self._carry(name, earlier)

    def _need_value(self, name: str, value: Any, binding: Binding | None) -> None:
        changed = (
            name in self._locals
        )  # then the value is the one after the cells, which says nothing of the one before
        found = None if changed else self._import_of(value)
        if found is not None:
            text, own = found
            self._imports[name] = [text if own == name else f"{text} as {name}"]
        elif (
            binding is not None
            and binding.node is not None
            and (is_code(value) if not changed else binding.is_lambda())
        ):
            self._carry(name, binding)
        else:
            self._parameters[name] = value
            if changed:
                self._notes.append(f"the cells give {name!r} another value: what it has now is the one after them")

    @staticmethod
    def _import_of(value: Any) -> tuple[str, str] | None:
        """How a module, class or function is imported, and the name that it has then."""
        if isinstance(value, types.ModuleType):
            return f"import {value.__name__}", value.__name__
        if not isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
            return None
        module = "builtins" if vars(builtins).get(value.__name__) is value else importable(value)
        if module is None or not value.__qualname__.isidentifier():
            return None
        return f"from {module} import {value.__qualname__}", value.__qualname__

    # -- where it goes ----------------------------------------------------------------------------------

    def _inside(self, declared: set[str]) -> set[str]:
        """The names that belong to ``run``: what it binds, and definitions and imports that have to be seen with it."""
        inside = {*self._parameters, *self._locals, *declared, "run", "__name__"}
        waiting = list(self._carried)
        while True:
            found = [item for item in waiting if item.name in inside or item.scope.declared or inside & {*item.needs}]
            if not found:
                return inside
            for item in found:
                inside |= {item.name, *item.scope.declared}
            waiting = [item for item in waiting if item not in found]

    def _refuse_classes(self, scopes: list[Scope], inside: set[str]) -> None:
        for scope in scopes:
            for name, node in scope.in_classes.items():
                if name in inside:
                    raise ValueError(
                        f"class {node.name} reads {name!r} of the session and then sets a {name!r} of its own, which "
                        "cannot be told apart inside a function: rename one of the two"
                    )

    # -- the text ---------------------------------------------------------------------------------------

    def _body(self, inside: set[str], inner: list[_Carried], declared: set[str]) -> str:
        declared = declared.union(*(found.scope.declared for found in inner))
        known = {*self._parameters, *self._locals, *(found.name for found in inner), *self._imports}
        first = [f"    {name}: object" for name in sorted(declared - known)]
        if "__name__" in self._seen:
            first.append(f'    __name__ = "{self._namespace.get("__name__", "__main__")}"')
        first += [f"    {text}" for name in self._imports if name in inside for text in self._imports[name]]
        parts = ["\n".join(dict.fromkeys(first)), *(found.source.result("    ") for found in inner)]
        parts += [cell.result("    ").strip("\n") for cell in self._cells]
        text = "\n\n".join(part for part in parts if part.strip())
        runs = any(node not in self._moved for cell in self._cells for node in cell.tree.body)
        return text if runs or first or inner else f"{text}\n    pass".lstrip("\n")

    def _return(self) -> tuple[str, Any]:
        """Let the last cell return its value; gives a line for the end, and the value where it is known."""
        cell = next(cell for cell in reversed(self._cells) if cell.tree.body)
        last = cell.tree.body[-1]
        if isinstance(last, ast.Expr) and not _is_shown(last.value) and not cell.is_quiet():
            cell.insert(last, "return ")
            value = self._result
            if value is UNKNOWN and isinstance(last.value, ast.Name):
                value = self._namespace.get(last.value.id, UNKNOWN)
            return "", UNKNOWN if value is None else value
        names = _assigned(last)
        if not names:
            return "", None
        values = tuple(self._namespace.get(name, UNKNOWN) for name in names)
        unknown = any(value is UNKNOWN for value in values)  # arrays cannot be compared
        known = UNKNOWN if unknown else values[0] if len(values) == 1 else values
        return f"\n    return {', '.join(names)}", known

    def _written(self, inside: set[str], outer: list[_Carried], body: str, returned: tuple[str, Any]) -> Draft:
        futures = [f"from __future__ import {feature}" for feature in self._futures]
        imports = [text for name, texts in self._imports.items() if name not in inside for text in texts]
        names = {
            name: self._namespace[name] for name in [*self._moved.names, *self._imports] if name in self._namespace
        }
        names = {name: value for name, value in names.items() if name not in inside}
        names |= {found.name: self._namespace.get(found.name) for found in outer}
        annotator = Annotator(names, {*inside, *self._seen, *self._moved.names})
        parameters = [f"{name}: {annotator.of(value)}" for name, value in self._parameters.items()]
        tail, value = returned
        returns = "" if value is UNKNOWN else " -> None" if value is None else f" -> {annotator.of(value)}"
        source, notes = write(
            self._description,
            [*futures, *imports, *self._moved.lines(), *annotator.imports],
            [found.source.result() for found in outer],
            (parameters, returns),
            body + tail,
        )
        try:
            compile(source, f"workflows/{self._name}.py", "exec", dont_inherit=True)
        except SyntaxError as error:
            line = source.split("\n")[(error.lineno or 1) - 1].strip()
            raise ValueError(f"the cells cannot be made into a function: {error.msg}: {line}") from None
        return Draft(source, dict(self._parameters), [*self._notes, *self._told(annotator), *notes])

    def _told(self, annotator: Annotator) -> list[str]:
        seeing = sorted(_SEES_NAMES & self._seen)
        told = [f"{name}() sees the names of the workflow, not those of the session" for name in seeing]
        for name, value in self._parameters.items():
            if value is not None and annotator.of(value) == annotator.any():
                kind = type(value).__name__
                told.append(f"{name!r} is a {kind}, which cannot be imported: a call from elsewhere has none to give")
        return told


def _is_shown(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "display")


def _assigned(node: ast.stmt) -> list[str]:
    """The names that a plain assignment binds; none where it binds anything else."""
    match node:
        case ast.Assign([*_, target]) | ast.AnnAssign(target, _, ast.expr()) | ast.AugAssign(target):
            elements = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
            names = [element.id for element in elements if isinstance(element, ast.Name)]
            return names if len(names) == len(elements) else []
    return []
