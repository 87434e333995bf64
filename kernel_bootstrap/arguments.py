"""The arguments of a workflow, checked before it is called.

Python's own complaint says what does not fit, but not what would; and a value of the wrong type fails in the middle
of the work, or not at all.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any

from .errors import WorkflowArgumentError
from .plaintext import short_repr

_ACCEPTED: dict[Any, tuple[type, ...]] = {
    str: (str,),
    int: (int, bool),
    float: (float, int, bool),
    complex: (complex, float, int, bool),
    bool: (bool,),
    bytes: (bytes,),
    list: (list,),
    dict: (dict,),
    tuple: (tuple,),
    set: (set,),
    frozenset: (frozenset,),
    None: (type(None),),
    type(None): (type(None),),
}
"""Annotations that are understood, and the exact types of values that fit them; a value of any other type passes."""

_JUDGED = frozenset(kind for kinds in _ACCEPTED.values() for kind in kinds)
_BEYOND = 1 << 30  # the place of a parameter that has none
_SHOWN = 60


class _Parameter:
    """One parameter. ``refused`` are the ids of types, since a metaclass may not let its classes be hashed."""

    __slots__ = ("default", "key", "literals", "name", "place", "refused", "required", "text")

    def __init__(self, parameter: inspect.Parameter, place: int, namespace: dict[str, Any]) -> None:
        self.name = parameter.name
        self.key = None if parameter.kind is parameter.POSITIONAL_ONLY else parameter.name
        self.place = place
        self.default = parameter.default
        starred = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        self.required = parameter.default is parameter.empty and not starred
        self.text = "" if parameter.annotation is parameter.empty else _written(parameter.annotation)
        fits = _understood(parameter.annotation, namespace)
        kinds, self.literals = (set(_JUDGED), ()) if fits is None else fits
        self.refused = frozenset(map(id, _JUDGED - kinds))

    def refuses(self, value: Any) -> bool:
        """Whether ``value``, whose type is one of the refused, does not fit all the same."""
        return value is not self.default and value not in self.literals


class Checker:
    """Whether arguments fit ``run``, which is called ``name``; made once, asked before each call.

    What a decorator has put in the place of ``run`` is judged by its own signature, so that no call is refused
    that would work.
    """

    def __init__(self, run: Callable[..., Any], name: str) -> None:
        self._name = name
        try:
            self._signature = inspect.signature(run, follow_wrapped=False)
        except (TypeError, ValueError):  # a callable that does not tell
            self._signature = inspect.signature(lambda *args, **kwargs: None)
        namespace = getattr(run, "__globals__", {})
        self._positional: list[_Parameter] = []
        self._named: dict[str, _Parameter] = {}
        self._required: list[_Parameter] = []
        self._rest: _Parameter | None = None
        self._others: _Parameter | None = None
        for parameter in self._signature.parameters.values():
            self._add(parameter, namespace)

    def _add(self, parameter: inspect.Parameter, namespace: dict[str, Any]) -> None:
        by_place = parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        made = _Parameter(parameter, len(self._positional) if by_place else _BEYOND, namespace)
        if parameter.kind is parameter.VAR_POSITIONAL:
            self._rest = made
            return
        if parameter.kind is parameter.VAR_KEYWORD:
            self._others = made
            return
        if by_place:
            self._positional.append(made)
        if made.key is not None:
            self._named[made.key] = made
        if made.required:
            self._required.append(made)

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raises WorkflowArgumentError, with all that is wrong and the signature, unless the arguments fit."""
        if told := self.told(args, kwargs):
            raise WorkflowArgumentError(f"workflows.{self._name}: {told}", workflow=self._name)

    def told(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """All that is wrong, and the signature; "" where nothing is."""
        if self._fits(args, kwargs):
            return ""
        problems = [*self._misplaced(args, kwargs), *self._mistyped(args, kwargs)]
        return f"{'; '.join(problems)}. It takes: {self.signature()}"

    def signature(self) -> str:
        """One line, as in ``fetch_json(url: str, limit: int = 10) -> dict``."""
        empty = inspect.Parameter.empty
        parameters = [
            parameter.replace(
                annotation=empty if parameter.annotation is empty else _Text(_written(parameter.annotation)),
                default=empty if parameter.default is empty else _Text(short_repr(parameter.default, _SHOWN)),
            )
            for parameter in self._signature.parameters.values()
        ]
        returns = self._signature.return_annotation
        returns = returns if returns is inspect.Signature.empty else _Text(_written(returns))
        return f"{self._name}{inspect.Signature(parameters, return_annotation=returns)}"

    def _fits(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """The quick check, which nearly all calls pass."""
        count = len(args)
        if count > len(self._positional) and (
            self._rest is None or any(_bad(self._rest, v) for v in self._beyond(args))
        ):
            return False
        for parameter, value in zip(self._positional, args, strict=False):
            if id(type(value)) in parameter.refused and parameter.refuses(value):
                return False
        for key, value in kwargs.items():
            found = self._named.get(key) or self._others
            if found is None or found.place < count:
                return False
            if id(type(value)) in found.refused and found.refuses(value):
                return False
        for parameter in self._required:  # noqa: SIM110 - any() with a generator takes twice as long
            if parameter.place >= count and parameter.key not in kwargs:
                return False
        return True

    def _beyond(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return args[len(self._positional) :]

    def _misplaced(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterable[str]:
        most = len(self._positional)
        if len(args) > most and self._rest is None:
            named = [parameter.name for parameter in self._named.values() if parameter.place == _BEYOND]
            hint = f" (give {', '.join(map(repr, named))} by name)" if named else ""
            yield f"it takes {_counted(most)} without a name, {len(args)} are given{hint}"
        for key in kwargs:
            found = self._named.get(key)
            if found is not None and found.place < len(args):
                yield f"{key!r} is given twice, by its place and by its name"
            elif found is None and self._others is None:
                yield self._unknown(key)
        missing = [p for p in self._required if p.place >= len(args) and p.key not in kwargs]
        if missing:
            told = [f"{p.name!r} ({p.text})" if p.text else repr(p.name) for p in missing]
            yield f"missing {', '.join(told)}"

    def _unknown(self, key: str) -> str:
        if any(parameter.name == key for parameter in self._positional):
            return f"{key!r} is given by its place only, without its name"
        import difflib  # for a mistake only

        plain = {name.casefold().replace("-", "_"): name for name in reversed(self._named)}
        close = difflib.get_close_matches(key.casefold().replace("-", "_"), plain, n=3)
        hint = f" (did you mean {' or '.join(repr(plain[word]) for word in close)}?)" if close else ""
        return f"no argument {key!r}{hint}"

    def _mistyped(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterable[str]:
        given = [(p, p.name, value) for p, value in zip(self._positional, args, strict=False)]
        if self._rest is not None:
            given += [(self._rest, f"*{self._rest.name}", value) for value in self._beyond(args)]
        for key, value in kwargs.items():
            found = self._named.get(key) or self._others
            if found is not None:
                given.append((found, key, value))
        for parameter, name, value in given:
            if _bad(parameter, value):
                shown = "" if value is None else f" ({short_repr(value, _SHOWN)})"
                kind = "None" if value is None else type(value).__name__
                yield f"{name!r} has to be {parameter.text}, not {kind}{shown}"


class _Text:
    """Stands for an annotation or a default in a signature, as it is to be written."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _bad(parameter: _Parameter, value: Any) -> bool:
    return id(type(value)) in parameter.refused and parameter.refuses(value)


def _counted(most: int) -> str:
    return "no argument" if most == 0 else "1 argument" if most == 1 else f"{most} arguments"


def _written(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _understood(annotation: Any, namespace: dict[str, Any]) -> tuple[set[type], tuple[Any, ...]] | None:
    """The types and the single values that fit ``annotation``; None where anything may."""
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, namespace)
        except Exception:  # noqa: BLE001 - a name that is there for type checkers only, or anything else
            return None
        if isinstance(annotation, str):
            return None
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return set(), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _understood(annotation.__origin__, namespace)
    if origin in (typing.Union, types.UnionType):
        kinds: set[type] = set()
        literals: tuple[Any, ...] = ()
        for member in typing.get_args(annotation):
            fits = _understood(member, namespace)
            if fits is None:
                return None
            kinds |= fits[0]
            literals += fits[1]
        return kinds, literals
    try:
        accepted = _ACCEPTED.get(origin or annotation)
    except TypeError:  # not hashable
        return None
    return None if accepted is None else (set(accepted), ())
