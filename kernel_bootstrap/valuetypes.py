"""Annotations for values, as a person would write them."""

from __future__ import annotations

import builtins
import functools
import sys
import types
from collections.abc import Iterable
from typing import Any

_PLAIN = (bool, int, float, complex, str, bytes)
_MOST_ITEMS = 1_000
_MOST_PLACES = 5
_ALIASES = {
    "numpy": "np",
    "pandas": "pd",
    "polars": "pl",
    "matplotlib.pyplot": "plt",
    "geopandas": "gpd",
    "seaborn": "sns",
    "networkx": "nx",
    "xarray": "xr",
    "pyarrow": "pa",
}


class Annotator:
    """Annotations for a file whose global ``names`` are known with their objects; ``imports`` are what they need.

    ``taken`` are names that no import may bind.
    """

    def __init__(self, names: dict[str, Any], taken: Iterable[str]) -> None:
        self._names = dict(names)
        self._taken = {*taken, *dir(builtins)}
        self.imports: dict[str, None] = {}

    def of(self, value: Any, depth: int = 2) -> str:
        """The annotation for ``value``; ``Any`` where its type cannot be named."""
        kind = type(value)
        if (
            str(kind.__module__).partition(".")[0] == __package__
        ):  # what the namespaces give is a list or dict to people
            kind = next((base for base in kind.__mro__ if base.__module__ == "builtins"), kind)
        if kind in _PLAIN:
            return self._builtin(kind)
        if value is None:
            return self.any()
        if kind in (list, set, frozenset, dict, tuple):
            return self._container(kind, value, depth)
        return self._named(kind) or self.any()

    def any(self) -> str:
        """How ``Any`` is written."""
        import typing

        return self._named_in(typing.Any, "typing", "Any", from_it=True)

    def _builtin(self, kind: type) -> str:
        return kind.__name__ if self._names.get(kind.__name__, kind) is kind else self.any()

    def _container(self, kind: type, value: Any, depth: int) -> str:
        name = self._builtin(kind)
        if not value or depth == 0 or len(value) > _MOST_ITEMS or name != kind.__name__:
            return name
        if kind is dict:
            keys, items = self._common(value, depth), self._common(value.values(), depth)
            return f"dict[{keys}, {items or self.any()}]" if keys else name
        if kind is tuple and len(value) <= _MOST_PLACES:
            return f"tuple[{', '.join(self.of(item, depth - 1) for item in value)}]"
        common = self._common(value, depth)
        if not common:
            return name
        return f"tuple[{common}, ...]" if kind is tuple else f"{name}[{common}]"

    def _common(self, values: Iterable[Any], depth: int) -> str | None:
        """The annotation that all of ``values`` have, if they are of one type."""
        values = list(values)
        if len({id(type(value)) for value in values}) != 1 or values[0] is None:
            return None
        found = {self.of(value, depth - 1) for value in values}
        return found.pop() if len(found) == 1 else self.of(values[0], 0)

    def _named(self, kind: type) -> str | None:
        """How a class is written, imported where it has to be; None where it cannot be."""
        for name, known in self._names.items():
            if known is kind:
                return name
        module = importable(kind)
        if module is None:
            return None
        return self._named_in(kind, module, kind.__qualname__)

    def _named_in(self, found: Any, module: str, path: str, *, from_it: bool = False) -> str:
        for name, known in self._names.items():
            if known is found and "." not in path:
                return name
            if isinstance(known, types.ModuleType) and known is sys.modules.get(module):
                return f"{name}.{path}"
        if from_it:
            name = self._free(path)
            self._bind(f"from {module} import {path}" + ("" if name == path else f" as {name}"), name, found)
            return name
        name = self._free(_ALIASES.get(module, module.replace(".", "_") if "." in module else module))
        self._bind(f"import {module}" + ("" if name == module else f" as {name}"), name, sys.modules[module])
        return f"{name}.{path}"

    def _free(self, name: str) -> str:
        while name in self._names or name in self._taken:
            name = f"_{name}"
        return name

    def _bind(self, statement: str, name: str, value: Any) -> None:
        self.imports[statement] = None
        self._names[name] = value


def is_code(value: Any) -> bool:
    """Whether ``value`` belongs to a program, as a function, a class or an alias of a type does, and is no data."""
    if isinstance(value, type | types.FunctionType | types.GenericAlias | types.UnionType | functools.partial):
        return True
    kind = type(value)
    return kind.__module__ in ("typing", "typing_extensions") or kind is type(functools.cache(int))


def importable(found: Any) -> str | None:
    """The shortest module from which a class or function can be imported by its name, None where there is none."""
    path, home = getattr(found, "__qualname__", None), getattr(found, "__module__", None)
    if not isinstance(path, str) or not isinstance(home, str) or home in ("__main__", "builtins"):
        return None
    parts = home.split(".")
    for count in range(1, len(parts) + 1):
        module = ".".join(parts[:count])
        if not module.startswith("_") and _resolved(module, path) is found:
            return module
    return home if _resolved(home, path) is found else None


def _resolved(module: str, path: str) -> Any:
    found: Any = sys.modules.get(module)
    for name in path.split("."):
        found = vars(found).get(name) if isinstance(found, types.ModuleType) else getattr(found, name, None)
    return found
