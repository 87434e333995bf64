"""Python arguments bound to the schema of a command-line tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from py_code_mode.errors import ToolArgumentError

from .definition import CliDefinition, Recipe
from .hints import nearest
from .values import BadValueError


class Binding:
    """How the arguments of a call bind to the schema: of a recipe, or with None of the raw tool."""

    def __init__(self, definition: CliDefinition, recipe: Recipe | None) -> None:
        self._tool = definition.name
        self._label = f"tools.{definition.name}" + (f".{recipe.name}" if recipe else "")
        self._all = {argument.python_name: argument for argument in (*definition.positional, *definition.options)}
        self._optional_places = [place.python_name for place in definition.positional if not place.required]
        if recipe is None:
            self._names = list(self._all)
            self._order = [place.python_name for place in definition.positional]
            own: dict[str, Any] = {}
        else:
            self._names = self._order = list(recipe.params)
            own = {**recipe.preset, **{name: default for name, (default, _) in recipe.params.items()}}
        defaults = {name: argument.default for name, argument in self._all.items()}
        defaults |= {name: value for name, value in own.items() if value is not None}
        self._defaults = {name: value for name, value in defaults.items() if value is not None}

    def error(self, problem: str) -> ToolArgumentError:
        """The error for ``problem``; its message begins with what was called."""
        return ToolArgumentError(f"{self._label}: {problem}", tool=self._tool)

    def values(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The checked value of every argument that the command gets, by ``Argument.python_name``.

        Raises:
            ToolArgumentError: one is unknown, missing, given twice or of the wrong type.
        """
        given = self._bind(args, kwargs)
        for name, value in given.items():
            try:
                given[name] = self._all[name].check(value)
            except BadValueError as error:
                raise self.error(f"{name!r} {error}") from None
        values = {**self._defaults, **given}
        missing = [name for name, argument in self._all.items() if argument.required and values.get(name, []) == []]
        if missing:
            raise self.error(f"missing {', '.join(map(repr, missing))}; it takes: {self._takes()}")
        # An optional positional that is left out would let the next one slip into its place.
        absent = None
        for name in self._optional_places:
            if name not in values:
                absent = absent or name
            elif absent is not None:
                raise self.error(f"{name!r} needs {absent!r} as well, which comes before it on the command line")
        return values

    def _bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if len(args) > len(self._order):
            order = f" ({', '.join(self._order)})" if self._order else ""
            raise self.error(f"at most {len(self._order)} arguments without a name{order}, {len(args)} given")
        bound = dict(zip(self._order, args, strict=False))
        words = {word: name for name in self._names for word in (self._all[name].name, name)}
        for word, value in kwargs.items():
            if word not in words:
                hint = nearest(word, self._names) or "; it takes none"
                raise self.error(f"no argument {word!r}{hint}")
            if words[word] in bound:
                raise self.error(f"{words[word]!r} is given twice")
            bound[words[word]] = value
        return {name: value for name, value in bound.items() if value is not None}

    def _takes(self) -> str:
        return ", ".join(self._names) or "nothing"
