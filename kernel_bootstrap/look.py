"""What the variables of a session are, in short: bounded, whatever the values do. Shared with the host."""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Iterable
from typing import Any

_REPR = 120
"""Characters of a variable in the list of all; ``inspect`` shows ``_LONG_REPR``."""
_LONG_REPR = 10_000
_ITEMS = 6
_DEPTH = 3
_DOC = 10_000
_LARGEST = 2**63


class LookError(LookupError):
    """There is no such variable, or it is broken."""


def variables(namespace: dict[str, Any], hidden: Iterable[str], limit: int) -> list[dict[str, Any]]:
    """The first ``limit`` variables by name: ``name``, ``type``, ``size`` (bytes), ``shape``, ``repr``."""
    skipped = set(hidden)
    keys = [name for name in list(namespace) if isinstance(name, str)]  # globals() takes anything
    names = sorted(str(name) for name in keys if not name.startswith("_") and name not in skipped)
    found = []
    for name in names[:limit]:
        try:
            found.append({"name": _sendable(name), **describe(namespace[name], _REPR)})
        except KeyError:
            pass  # the code has deleted it meanwhile
    return found


def inspect_name(namespace: dict[str, Any], path: str) -> dict[str, Any]:
    """One variable, or an attribute of one ("frame.columns"), with ``doc``, ``signature`` and a longer ``repr``."""
    name, *attributes = path.split(".")
    if name not in namespace:
        raise LookError(f"there is no variable {name!r}")
    value = namespace[name]
    for attribute in attributes:
        try:
            value = getattr(value, attribute)
        except BaseException as error:  # noqa: BLE001 - a property is code of the user
            told = _quiet(str, error)
            raise LookError(_sendable(f"{path!r} cannot be read: {type(error).__name__}: {told}")) from None
    doc = _quiet(inspect.getdoc, value)
    return {
        "name": _sendable(path),
        **describe(value, _LONG_REPR),
        "doc": _sendable(doc[:_DOC]) if isinstance(doc, str) else "",
        "signature": _sendable(str(_quiet(lambda: str(inspect.signature(value))) or "")[:_DOC]),
    }


def describe(value: Any, room: int) -> dict[str, Any]:
    """``type``, ``size``, ``shape`` and ``repr`` (at most ``room`` characters) of any value."""
    return {
        "type": _sendable(_quiet(_type_name, type(value)) or "?"),
        "size": _size(value),
        "shape": _shape(value),
        "repr": _sendable(_short(value, room, _DEPTH)),
    }


def _type_name(kind: type) -> str:
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def _size(value: Any) -> int:
    """Bytes of it alone, or of the data that it holds where it says so."""
    for measure in (_data_size, sys.getsizeof):
        size = _quiet(measure, value)
        if isinstance(size, int) and 0 <= size <= _LARGEST:
            return size
    return 0


def _data_size(value: Any) -> int | None:
    kind = type(value)
    if hasattr(kind, "memory_usage") and hasattr(kind, "columns"):
        return int(value.memory_usage(index=True, deep=False).sum())
    return int(value.nbytes) if hasattr(kind, "nbytes") else None


def _shape(value: Any) -> list[int] | None:
    """Of an array or a table its shape, of what has a length that, else None."""
    kind = type(value)
    if hasattr(kind, "shape"):
        shape = _quiet(lambda: [int(side) for side in value.shape[:32]])
        if shape is not None and all(0 <= side <= _LARGEST for side in shape):
            return list(shape)
    length = _quiet(len, value) if hasattr(kind, "__len__") else None
    return None if length is None else [int(length)]


def _short(value: Any, room: int, depth: int) -> str:
    try:
        text = _shown(value, room, depth)
    except BaseException as error:  # noqa: BLE001 - a repr is code of the user
        text = f"<{type(value).__name__}, whose repr fails: {type(error).__name__}>"
    return text if len(text) <= room else text[: room - 1] + "…"


def _shown(value: Any, room: int, depth: int) -> str:
    # By exact type: what a subclass does may be anything.
    kind = type(value)
    if kind in (str, bytes, bytearray):
        return repr(value[: room + 1])
    if kind is int and value.bit_length() > 4 * room:
        return f"<int of {value.bit_length()} bits>"
    if kind in (list, tuple, set, frozenset):
        left, right = _BRACKETS[kind.__name__]
        items = [_short(item, room, depth - 1) for item in itertools.islice(value, _ITEMS)] if depth else []
        comma = "," if kind is tuple and len(value) == 1 else ""
        return f"{left}{_listed(items, len(value))}{comma}{right}" if value else repr(value)
    if kind is dict:
        some = list(itertools.islice(value.items(), _ITEMS)) if depth else []
        items = [f"{_short(k, room, depth - 1)}: {_short(v, room, depth - 1)}" for k, v in some]
        return f"{{{_listed(items, len(value))}}}"
    if hasattr(kind, "columns") and hasattr(kind, "dtypes"):
        return f"columns {_listed([str(name) for name in value.columns[:_ITEMS]], len(value.columns))}"
    return repr(value)


_BRACKETS = {"list": ("[", "]"), "tuple": ("(", ")"), "set": ("{", "}"), "frozenset": ("frozenset({", "})")}


def _listed(items: list[str], count: int) -> str:
    return ", ".join([*items, "…"] if len(items) < count else items)


def _quiet(function: Any, *args: Any) -> Any:
    """What ``function`` gives, None when it fails: it runs code of the user, which may even exit."""
    try:
        return function(*args)
    except BaseException:  # noqa: BLE001
        return None


def _sendable(text: str) -> str:
    """``text`` without lone surrogates, which no message can carry."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
