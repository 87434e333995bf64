"""One option or positional of a command: its type, the check of its values, and their place in argv."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal, get_args

from .base import Parameter

ArgumentType = Literal["boolean", "string", "integer", "number", "array"]
TYPES: tuple[str, ...] = get_args(ArgumentType)

_EXPECTED = {
    "boolean": "True or False",
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "array": "a list",
}


class BadValueError(Exception):
    """A value that does not fit; the message follows the name of the argument."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One option or positional of a schema.

    ``name`` is the command's word, ``python_name`` the one for calls. ``flag`` is ``-s`` or ``--silent``,
    None for a positional.
    """

    name: str
    python_name: str
    type: ArgumentType
    flag: str | None
    required: bool = False
    default: Any = None
    enum: tuple[Any, ...] | None = None
    description: str = ""

    def parameter(self, *, positional: bool, default: Any = None, description: str = "") -> Parameter:
        """How a callable shows this argument; ``default`` and ``description`` are a recipe's own."""
        default = self.default if default is None else default
        return Parameter(
            name=self.python_name,
            type=self.type,
            required=self.required and default is None,
            default=default,
            enum=self.enum,
            description=description or self.description,
            positional=positional,
        )

    def check(self, value: Any) -> Any:
        """``value`` as the command gets it: bool, str, int, float, or a list of strings.

        Raises:
            BadValueError: it has another type, is not in ``enum``, or cannot be passed to a process.
        """
        if self.type == "array":
            if isinstance(value, str | bytes) or not isinstance(value, list | tuple):
                raise BadValueError(f"takes a list, not {_shown(value)}{_list_hint(value)}")
            return [self._one_of(_item(item)) for item in value]
        if self.type == "boolean":
            if isinstance(value, bool):
                return value
        elif self.type == "string":
            if isinstance(value, str | PurePath):
                return self._one_of(_text(value))
        elif not isinstance(value, bool) and isinstance(value, numbers.Real):
            if isinstance(value, numbers.Integral):
                return self._one_of(int(value))
            if self.type == "number":
                return self._one_of(float(value))
        raise BadValueError(f"takes {_EXPECTED[self.type]}, not {_shown(value)}{self._hint(value)}")

    def _one_of(self, value: Any) -> Any:
        if self.enum is not None and value not in self.enum:
            raise BadValueError(f"takes one of {', '.join(map(repr, self.enum))}, not {_shown(value)}")
        return value

    def _hint(self, value: Any) -> str:
        if isinstance(value, str) and self.type in ("integer", "number"):
            return "; pass the number without quotes"
        return "; pass str(...) of it" if self.type == "string" and isinstance(value, int | float) else ""

    def option(self, value: Any) -> Iterator[str]:
        """The words of argv for an option with the checked ``value``."""
        flag = self.flag or ""
        if self.type == "boolean":
            if value:
                yield flag
            return
        for text in self.texts(value):
            if not text.startswith("-"):
                yield flag
                yield text
            elif flag.startswith("--"):
                yield f"{flag}={text}"
            else:
                yield f"{flag}{text}"

    def texts(self, value: Any) -> list[str]:
        """The checked ``value`` as the words that a command reads."""
        return list(value) if self.type == "array" else [str(value)]


def _item(value: Any) -> str:
    if isinstance(value, str | PurePath):
        return _text(value)
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        return str(int(value) if isinstance(value, numbers.Integral) else float(value))
    raise BadValueError(f"takes a list of strings, not one with {_shown(value)}")


def _text(value: str | PurePath) -> str:
    text = str(value)
    if "\0" in text:
        raise BadValueError("has a NUL character, which no argument of a process can hold")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise BadValueError("has a lone surrogate, which no argument of a process can hold") from None
    return text


def _shown(value: Any) -> str:
    shown = repr(value)
    return f"{type(value).__name__} {shown if len(shown) <= 80 else shown[:77] + '...'}"


def _list_hint(value: Any) -> str:
    return f"; pass [{value!r}]" if isinstance(value, str) and len(value) <= 40 else ""
