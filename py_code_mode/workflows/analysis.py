"""What a workflow needs, found in its source without running it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .scriptblock import MetadataError, declared, with_tags

__all__ = ["MetadataError", "Requires", "analyse", "with_tags"]

_TOOLS_OWN = frozenset({"list", "search"})
_HERE = sys.stdlib_module_names | {"kernel_bootstrap"}


@dataclass(frozen=True, slots=True)
class Requires:
    """What the source of a workflow uses and declares.

    ``tools`` are names of tools ("curl", whichever recipe is called), ``workflows`` those it calls, ``packages``
    the top-level names that it imports and that Python does not bring, all sorted. ``dependencies`` (PEP 508, in
    their order) and ``tags`` (sorted) are what its PEP 723 block declares.
    """

    tools: tuple[str, ...] = ()
    workflows: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


def analyse(tree: ast.Module, source: str) -> Requires:
    """What ``source`` needs, of which ``tree`` is the tree. Raises MetadataError (a ValueError) with the line."""
    from .workflow import RESERVED  # which imports this module

    said = declared(tree, source)
    walk = _Walk()
    walk.through(tree)
    used = walk.used()
    return Requires(
        tools=tuple(sorted(used["tools"] - _TOOLS_OWN)),
        workflows=tuple(sorted(used["workflows"] - RESERVED)),
        packages=tuple(sorted(walk.packages - _HERE)),
        dependencies=said.dependencies,
        tags=said.tags,
    )


class _Scope:
    """A function, class or comprehension: which of the namespaces' names it binds for itself."""

    __slots__ = ("bound", "kind", "outside", "parent")

    def __init__(self, parent: _Scope | None, kind: str) -> None:
        self.parent = parent
        self.kind = kind
        self.bound: set[str] = set()
        self.outside: set[str] = set()

    def sees(self, name: str) -> bool:
        """Whether ``name`` is that of the session here, and not one that the source has bound."""
        scope: _Scope | None = self
        while scope is not None:
            # The names of a class are seen in its own body only.
            if name in scope.bound and name not in scope.outside and (scope is self or scope.kind != "class"):
                return False
            scope = None if name in scope.outside else scope.parent
        return True


_NAMESPACES = frozenset({"tools", "workflows"})
_SKIPPED = frozenset({"ctx", "op", "ops", "type_comment", "kind", "type_ignores"})

_fields: dict[type[ast.AST], tuple[str, ...]] = {}


def _children(node: ast.AST) -> list[ast.AST]:
    fields = _fields.get(type(node))
    if fields is None:
        fields = _fields[type(node)] = tuple(field for field in node._fields if field not in _SKIPPED)
    found: list[ast.AST] = []
    for field in fields:
        value = getattr(node, field, None)
        if isinstance(value, list):
            found += [item for item in value if isinstance(item, ast.AST)]
        elif isinstance(value, ast.AST):
            found.append(value)
    return found


class _Walk:
    """Goes through a tree once. Where a name is bound is known in the end only, so uses are kept with their scope."""

    def __init__(self) -> None:
        self.packages: set[str] = set()
        self._module = _Scope(None, "module")
        self._scopes: list[_Scope] = []
        self._uses: list[tuple[str, str, _Scope]] = []
        self._waiting: list[tuple[ast.AST, _Scope]] = []

    def through(self, tree: ast.Module) -> None:
        """Visit every node. A handler that gives True has seen to the children of its node."""
        waiting = self._waiting
        waiting.append((tree, self._module))
        while waiting:
            node, scope = waiting.pop()
            handler = _HANDLERS.get(type(node))
            if handler is None or not handler(self, node, scope):
                waiting += [(child, scope) for child in _children(node)]

    def used(self) -> dict[str, set[str]]:
        """The names below each namespace that the source uses."""
        for scope in self._scopes:
            self._module.bound |= scope.bound & scope.outside
        found: dict[str, set[str]] = {name: set() for name in _NAMESPACES}
        for namespace, name, scope in self._uses:
            if not name.startswith("_") and scope.sees(namespace):
                found[namespace].add(name)
        return found

    def _inside(self, scope: _Scope, kind: str, children: Iterable[ast.AST]) -> _Scope:
        made = _Scope(scope, kind)
        self._scopes.append(made)
        self._waiting += [(child, made) for child in children]
        return made

    def _binds(self, name: str | None, scope: _Scope) -> None:
        if name in _NAMESPACES:
            scope.bound.add(name)

    def name(self, node: ast.Name, scope: _Scope) -> bool:
        if node.id in _NAMESPACES and not isinstance(node.ctx, ast.Load):
            scope.bound.add(node.id)
        return True

    def named(self, node: Any, scope: _Scope) -> None:
        self._binds(node.name, scope)

    def mapping(self, node: ast.MatchMapping, scope: _Scope) -> None:
        self._binds(node.rest, scope)

    def outside(self, node: ast.Global, scope: _Scope) -> None:
        scope.outside.update(node.names)

    def walrus(self, node: ast.NamedExpr, scope: _Scope) -> None:
        while scope.kind == "comprehension" and scope.parent is not None:
            scope = scope.parent
        self._binds(node.target.id, scope)

    def imports(self, node: ast.Import, scope: _Scope) -> bool:
        for alias in node.names:
            top = alias.name.partition(".")[0]
            self.packages.add(top)
            self._binds(alias.asname or top, scope)
        return True

    def imports_from(self, node: ast.ImportFrom, scope: _Scope) -> bool:
        if not node.level and node.module:
            self.packages.add(node.module.partition(".")[0])
        for alias in node.names:
            self._binds(alias.asname or alias.name, scope)
        return True

    def attribute(self, node: ast.Attribute, scope: _Scope) -> None:
        if isinstance(node.value, ast.Name) and node.value.id in _NAMESPACES:
            self._uses.append((node.value.id, node.attr, scope))

    def call(self, node: ast.Call, scope: _Scope) -> None:
        match node:
            case ast.Call(ast.Attribute(ast.Name("workflows"), "invoke"), [ast.Constant(str(name)), *_]):
                self._uses.append(("workflows", name, scope))
            case ast.Call(
                ast.Name("getattr"), [ast.Name("tools" | "workflows" as namespace), ast.Constant(str(name)), *_]
            ):
                self._uses.append((namespace, name, scope))

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: _Scope) -> bool:
        self._binds(node.name, scope)
        self._signature(node.args, scope, [*node.decorator_list, *([node.returns] if node.returns else [])])
        inner = self._inside(scope, "function", node.body)
        self._parameters(node.args, inner)
        return True

    def function_expression(self, node: ast.Lambda, scope: _Scope) -> bool:
        self._signature(node.args, scope, [])
        self._parameters(node.args, self._inside(scope, "function", [node.body]))
        return True

    def _signature(self, args: ast.arguments, scope: _Scope, others: list[ast.expr]) -> None:
        """Visit what is evaluated where the function is defined."""
        every = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
        annotations = [arg.annotation for arg in every if arg is not None]
        found = [*others, *args.defaults, *args.kw_defaults, *annotations]
        self._waiting += [(node, scope) for node in found if node is not None]

    def _parameters(self, args: ast.arguments, scope: _Scope) -> None:
        for arg in [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]:
            if arg is not None:
                self._binds(arg.arg, scope)

    def klass(self, node: ast.ClassDef, scope: _Scope) -> bool:
        self._binds(node.name, scope)
        self._waiting += [(child, scope) for child in (*node.decorator_list, *node.bases, *node.keywords)]
        self._inside(scope, "class", node.body)
        return True

    def comprehension(self, node: Any, scope: _Scope) -> bool:
        first, *others = node.generators
        elements = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        self._waiting.append((first.iter, scope))
        self._inside(scope, "comprehension", [first.target, *first.ifs, *others, *elements])
        return True

    def branch(self, node: ast.If, scope: _Scope) -> bool:
        match node.test:
            case ast.Name("TYPE_CHECKING") | ast.Attribute(_, "TYPE_CHECKING"):  # what is in it never runs
                self._waiting += [(child, scope) for child in node.orelse]
                return True
        return False


_HANDLERS: dict[type[ast.AST], Callable[[_Walk, Any, _Scope], bool | None]] = {
    ast.Name: _Walk.name,
    ast.ExceptHandler: _Walk.named,
    ast.MatchAs: _Walk.named,
    ast.MatchStar: _Walk.named,
    ast.MatchMapping: _Walk.mapping,
    ast.Global: _Walk.outside,
    ast.NamedExpr: _Walk.walrus,
    ast.Import: _Walk.imports,
    ast.ImportFrom: _Walk.imports_from,
    ast.Attribute: _Walk.attribute,
    ast.Call: _Walk.call,
    ast.FunctionDef: _Walk.function,
    ast.AsyncFunctionDef: _Walk.function,
    ast.Lambda: _Walk.function_expression,
    ast.ClassDef: _Walk.klass,
    ast.ListComp: _Walk.comprehension,
    ast.SetComp: _Walk.comprehension,
    ast.DictComp: _Walk.comprehension,
    ast.GeneratorExp: _Walk.comprehension,
    ast.If: _Walk.branch,
}
