"""Annotations of many sources, brought into one file: their imports come with them, under names that do not clash."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator

_BUILTINS = frozenset(dir(builtins))
_MOST_DEPTH = 50


class ImportedNames:
    """The imports of the file that is made, each under a name of its own; ``taken`` are names that none may have."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._hidden = frozenset(taken)
        self._used = self._hidden | _BUILTINS
        self._aliases: dict[tuple[str, str | None], str] = {}

    def get(self, module: str, name: str | None = None, wish: str = "") -> str:
        """How ``name`` of ``module`` is written in the file, or with None the module; ``wish`` if that is free."""
        target = (module, name)
        if target not in self._aliases:
            wish = wish or name or module.replace(".", "_")
            alias, number = wish, 1
            while alias in self._used:
                alias = f"_{wish.strip('_')}{number if number > 1 else ''}"
                number += 1
            self._aliases[target] = alias
            self._used |= {alias}
        return self._aliases[target]

    def builtin(self, name: str) -> str:
        """How a built-in name is written in the file."""
        return f"{self.get('builtins')}.{name}" if name in self._hidden else name

    def lines(self) -> list[str]:
        """The import statements, sorted."""
        modules: list[str] = []
        names: dict[str, list[str]] = {}
        for (module, name), alias in self._aliases.items():
            if name is None:
                modules.append(f"import {module}" + ("" if alias == module else f" as {alias}"))
            else:
                names.setdefault(module, []).append(name if alias == name else f"{name} as {alias}")
        return sorted(modules) + [
            f"from {module} import {', '.join(sorted(names[module]))}" for module in sorted(names)
        ]


class Annotations:
    """The annotations of one source, as ``names`` lets them be written; what cannot be resolved becomes ``Any``."""

    def __init__(self, source: str, names: ImportedNames, known: dict[str, str] | None = None) -> None:
        self._source = source
        self._names = names
        self._known = known or {}
        self._bound: dict[str, _Bound] | None = None
        self._depth = 0

    def text(self, annotation: str | None) -> str:
        """``annotation``, which is source text, for the file that is made."""
        if annotation is None:
            return self._any()
        try:
            resolved = self._resolve(ast.parse(annotation, mode="eval").body)
            return ast.unparse(resolved) if resolved is not None else self._any()
        except (SyntaxError, ValueError, RecursionError):
            return self._any()

    def optional(self, annotation: str | None) -> str:
        """The same, for a parameter whose default is None."""
        text = self.text(annotation)
        if text == self._any() or any(part in text for part in ("None", "Optional")):
            return text
        return f"{text} | None"

    def _any(self) -> str:
        return self._names.get("typing", "Any")

    def _resolve(self, node: ast.expr) -> ast.expr | None:
        match node:
            case ast.Constant(None):
                return node
            case ast.Constant(str(text)):
                return self._resolve(ast.parse(text.strip(), mode="eval").body)
            case ast.Name() | ast.Attribute():
                return self._resolve_name(node)
            case ast.Subscript(value, arguments):
                return self._resolve_generic(value, arguments)
            case ast.BinOp(left, ast.BitOr(), right):
                return ast.BinOp(self._or_any(left), ast.BitOr(), self._or_any(right))
        return None

    def _or_any(self, node: ast.expr) -> ast.expr:
        try:
            resolved = self._resolve(node)
        except SyntaxError:
            resolved = None
        return _expression(self._any()) if resolved is None else resolved

    def _resolve_generic(self, value: ast.expr, arguments: ast.expr) -> ast.expr | None:
        base = self._resolve(value)
        if base is None:
            return None
        many = arguments.elts if isinstance(arguments, ast.Tuple) else [arguments]
        kind = value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")
        if kind == "Annotated":
            return self._resolve(many[0])
        if kind == "Literal":
            return ast.Subscript(base, arguments, ast.Load()) if all(map(_is_literal, many)) else None
        resolved = [self._argument(argument) for argument in many]
        inside = ast.Tuple(resolved, ast.Load()) if isinstance(arguments, ast.Tuple) else resolved[0]
        return ast.Subscript(base, inside, ast.Load())

    def _argument(self, node: ast.expr) -> ast.expr:
        match node:
            case ast.Constant(value) if value is ...:
                return node
            case ast.List(items):  # the parameters of a Callable
                return ast.List([self._argument(item) for item in items], ast.Load())
            case ast.Tuple([]):  # as in tuple[()]
                return node
        return self._or_any(node)

    def _resolve_name(self, node: ast.Name | ast.Attribute) -> ast.expr | None:
        path = _path(node)
        if not path:
            return None
        if self._bound is None:
            self._bound = _bindings(self._source)
        found = self._bound.get(path[0])
        if path[0] in self._known:
            return _expression(".".join([self._known[path[0]], *path[1:]]))
        if found is None:
            is_type = len(path) == 1 and isinstance(getattr(builtins, path[0], None), type)
            return _expression(self._names.builtin(path[0])) if is_type else None
        if found.alias is not None:
            return self._resolve_alias(found.alias) if len(path) == 1 else None
        return self._imported(path, found)

    def _resolve_alias(self, value: ast.expr) -> ast.expr | None:
        self._depth += 1
        try:
            return None if self._depth > _MOST_DEPTH else self._resolve(value)
        finally:
            self._depth -= 1

    def _imported(self, path: list[str], found: _Bound) -> ast.expr | None:
        if not found.modules:
            return None
        if found.name is not None:
            alias = self._names.get(found.modules[0], found.name, path[0])
            return _expression(".".join([alias, *path[1:]]))
        if found.is_renamed:
            return _expression(".".join([self._names.get(found.modules[0], None, path[0]), *path[1:]]))
        # `import a.b` binds "a": the longest module that was imported so is what has to be imported again.
        dotted = ".".join(path)
        fits = [module for module in found.modules if dotted.startswith(f"{module}.")]
        module = max(fits, key=len) if fits else path[0]
        rest = dotted[len(module) :].lstrip(".")
        return _expression(".".join(part for part in (self._names.get(module), rest) if part))


class _Bound:
    """What a name of a source stands for: an imported module or name, an alias of a type, or (nothing) its own."""

    def __init__(
        self,
        modules: Iterable[str] = (),
        name: str | None = None,
        alias: ast.expr | None = None,
        *,
        renamed: bool = False,
    ) -> None:
        self.modules = list(modules)
        self.name = name
        self.alias = alias
        self.is_renamed = renamed


def _bindings(source: str) -> dict[str, _Bound]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return {}
    bound: dict[str, _Bound] = {}
    for statement, is_else in _statements(tree.body):
        for name, found in _binds(statement):
            before = bound.get(name)
            if before is not None and is_else:
                continue  # `try: import x` with `except ImportError: x = None`
            if before is not None and found.modules and not (found.name or found.is_renamed):
                found.modules += before.modules  # import a.b; import a.c
            bound[name] = found
    for node in tree.body:
        if isinstance(node, ast.AsyncFunctionDef) and node.name == "run":
            bound |= {str(parameter.name): _Bound() for parameter in getattr(node, "type_params", ())}
    return bound


def _statements(body: list[ast.stmt], is_else: bool = False) -> Iterator[tuple[ast.stmt, bool]]:
    """The statements at the top level, also below ``if`` and ``try``; whether they are in a branch for otherwise."""
    for node in body:
        if isinstance(node, ast.If | ast.Try | ast.TryStar):
            yield from _statements(node.body, is_else)
            for handler in getattr(node, "handlers", ()):
                yield from _statements(handler.body, True)
            yield from _statements(node.orelse, isinstance(node, ast.If) or is_else)
        else:
            yield node, is_else


def _binds(node: ast.stmt) -> Iterator[tuple[str, _Bound]]:
    match node:
        case ast.Import(names):
            for alias in names:
                yield (
                    alias.asname or alias.name.partition(".")[0],
                    _Bound([alias.name], renamed=alias.asname is not None),
                )
        case ast.ImportFrom(str(module), names, 0):
            yield from (
                (alias.asname or alias.name, _Bound([module], alias.name)) for alias in names if alias.name != "*"
            )
        case ast.ImportFrom(_, names, _):
            yield from ((alias.asname or alias.name, _Bound()) for alias in names)
        case ast.Assign([ast.Name(name)], value) | ast.AnnAssign(ast.Name(name), _, ast.expr() as value, _):
            yield name, _Bound(alias=value)
        case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
            yield name, _Bound()
        case _ if type(node).__name__ == "TypeAlias":  # Python 3.12
            yield node.name.id, _Bound(alias=node.value)  # type: ignore[attr-defined]


def _path(node: ast.expr) -> list[str]:
    """The names of ``a.b.c``; empty for anything else."""
    path: list[str] = []
    while isinstance(node, ast.Attribute):
        path.append(node.attr)
        node = node.value
    return [node.id, *reversed(path)] if isinstance(node, ast.Name) else []


def _is_literal(node: ast.expr) -> bool:
    match node:
        case ast.Constant(None | bool() | int() | str() | bytes()) | ast.UnaryOp(ast.USub(), ast.Constant(int())):
            return True
    return False


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body
