"""How the types of the standard library go into the codec: one handler a type, and how a handler is found."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import enum
import fractions
import math
import pathlib
import types
import uuid
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from .codec import CONTAINER_COST, FRACTION_BITS, INT_MAX, INT_MIN, TAG, Full, Repr, flat_cost, is_unicode

if TYPE_CHECKING:
    from .codec_encode import Encoder

Handler: TypeAlias = Callable[["Encoder", Any, int], Any]
"""Gives the tree of a value, of which it is the ``depth``-th container from the top."""

LIBRARIES: Final = frozenset({"numpy", "pandas", "pyarrow", "polars"})


def find_handler(value: Any, cls: type) -> Handler | None:
    """The handler for a value of a class that ``EXACT`` does not name."""
    if issubclass(cls, enum.Enum):
        return _enum
    if isinstance(getattr(cls, "__dataclass_fields__", None), dict):
        return _dataclass
    if issubclass(cls, tuple) and isinstance(getattr(cls, "_fields", None), tuple):
        return _namedtuple
    for base in cls.__mro__:
        if base in EXACT:
            return EXACT[base]
        library = str(base.__module__).partition(".")[0]
        if library in LIBRARIES and (handler := _library_handler(library, value)):
            return handler
    return None


def _library_handler(library: str, value: Any) -> Handler | None:
    """The handler for a value of a class of ``library``, which is imported already."""
    if library == "numpy":
        from .codec_numpy import handler_for
    elif library == "pandas":
        from .codec_pandas import handler_for
    else:
        from .codec_arrow import handler_for
    return handler_for(value)


def _repr(enc: Encoder, value: Repr, depth: int) -> Any:
    return enc.repr(str.__str__(value), value.type_name)


def _enum(enc: Encoder, value: enum.Enum, depth: int) -> Any:
    return enc.value(value._value_, depth)


def _int(enc: Encoder, value: int, depth: int) -> Any:
    value = int.__int__(value)
    if INT_MIN <= value <= INT_MAX:
        return enc.value(value, depth)
    enc.spend(value.bit_length() // 4 + CONTAINER_COST)
    return {TAG: "int", "v": hex(value)}  # hexadecimal has no limit of digits, and takes linear time


def _float(enc: Encoder, value: float, depth: int) -> Any:
    value = float.__float__(value)
    if math.isfinite(value):
        return enc.value(value, depth)
    enc.spend(CONTAINER_COST)
    return {TAG: "float", "v": repr(value)}


def _complex(enc: Encoder, value: complex, depth: int) -> Any:
    enc.spend(CONTAINER_COST)
    return {TAG: "complex", "v": [enc.value(value.real, depth), enc.value(value.imag, depth)]}


def _str(enc: Encoder, value: str, depth: int) -> Any:
    return enc.value(str.__str__(value), depth)


def _bytes(enc: Encoder, value: bytes, depth: int) -> Any:
    return enc.bytes(value if type(value) is bytes else memoryview(value), "bytes")


def _bytearray(enc: Encoder, value: bytearray, depth: int) -> Any:
    return enc.bytes(value, "bytearray")


def _memoryview(enc: Encoder, value: memoryview, depth: int) -> Any:
    return enc.bytes(value.cast("B") if value.c_contiguous and value.nbytes else value.tobytes(), "bytes")


def _list(enc: Encoder, value: list[Any], depth: int) -> Any:
    enc.spend(CONTAINER_COST)
    return enc.items(list.copy(value), depth)


def _iterable(enc: Encoder, value: Iterable[Any], depth: int) -> Any:
    enc.spend(CONTAINER_COST)
    return enc.items(list(value), depth)


def _tuple(enc: Encoder, value: tuple[Any, ...], depth: int) -> Any:
    enc.spend(CONTAINER_COST)
    return {TAG: "tuple", "v": enc.items(list(tuple.__iter__(value)), depth)}


def _set(enc: Encoder, value: set[Any], depth: int) -> Any:
    enc.spend(CONTAINER_COST)
    return {TAG: "set", "v": enc.members(list(set.__iter__(value)), depth)}


def _frozenset(enc: Encoder, value: frozenset[Any], depth: int) -> Any:
    enc.spend(CONTAINER_COST)
    return {TAG: "frozenset", "v": enc.members(list(frozenset.__iter__(value)), depth)}


def _dict(enc: Encoder, value: dict[Any, Any], depth: int) -> Any:
    enc.spend(CONTAINER_COST)
    copied = dict.copy(value)
    keys = list(copied)
    if not set(map(type, keys)) <= {str} or TAG in copied or not is_unicode("".join(keys)):
        return _tagged_dict(enc, copied, depth)
    cost = flat_cost(list(copied.values()))
    if cost is not None and (cost := cost + sum(map(len, keys)) + 4 * len(keys)) <= enc.left:
        enc.left -= cost
        return copied
    out: dict[str, Any] = {}
    try:
        for key, item in copied.items():
            if enc.full:
                break
            enc.spend(len(key) + 4)
            out[key] = enc.value(item, depth)
    except Full:
        enc.cut(empty=not out)
    return out


def _tagged_dict(enc: Encoder, value: dict[Any, Any], depth: int) -> Any:
    keys: list[Any] = []
    values: list[Any] = []
    try:
        for key, item in value.items():
            if enc.full:
                break
            key_tree = enc.sealed(key, depth)
            values.append(enc.value(item, depth))
            keys.append(key_tree)
    except Full:
        enc.cut(empty=not keys)
    return {TAG: "dict", "k": keys, "v": values}


def _mapping(enc: Encoder, value: Any, depth: int) -> Any:
    return _dict(enc, dict(value.items()), depth)  # an OrderedDict keeps its order beside that of its dict


def _dataclass(enc: Encoder, value: Any, depth: int) -> Any:
    if enc.hashable:
        return enc.opaque(value)
    names = [field.name for field in dataclasses.fields(value)]
    return _dict(enc, {name: getattr(value, name) for name in names if hasattr(value, name)}, depth)


def _namedtuple(enc: Encoder, value: Any, depth: int) -> Any:
    if enc.hashable:
        return _tuple(enc, value, depth)
    return _dict(enc, dict(zip(type(value)._fields, tuple.__iter__(value), strict=True)), depth)


def _range(enc: Encoder, value: range, depth: int) -> Any:
    return {TAG: "range", "v": [enc.value(part, depth) for part in (value.start, value.stop, value.step)]}


def _slice(enc: Encoder, value: slice, depth: int) -> Any:
    return {TAG: "slice", "v": [enc.value(part, depth) for part in (value.start, value.stop, value.step)]}


def zone(value: datetime.datetime | datetime.time) -> dict[str, Any] | None:
    """The time zone of ``value``: key of the IANA zone if it has one, offset in microseconds, name."""
    tz = value.tzinfo
    if tz is None:
        return None
    out: dict[str, Any] = {}
    module = type(tz).__module__
    key = getattr(tz, "key" if module == "zoneinfo" else "zone", None)  # pytz calls it zone
    if (module == "zoneinfo" or module.partition(".")[0] == "pytz") and isinstance(key, str):
        out["key"] = key
    offset = value.utcoffset()
    if offset is not None:
        out["offset"] = offset // datetime.timedelta(microseconds=1)
        name = value.tzname()
        if name is not None and name != str(datetime.timezone(offset)):
            out["name"] = name
    return out


def _datetime(enc: Encoder, value: datetime.datetime, depth: int) -> Any:
    bare = datetime.datetime.combine(datetime.date(value.year, value.month, value.day), _bare_time(value))
    return _moment(enc, "datetime", bare.isoformat(), value)


def _time(enc: Encoder, value: datetime.time, depth: int) -> Any:
    return _moment(enc, "time", _bare_time(value).isoformat(), value)


def _bare_time(value: datetime.datetime | datetime.time) -> datetime.time:
    return datetime.time(value.hour, value.minute, value.second, value.microsecond)


def _moment(enc: Encoder, tag: str, text: str, value: datetime.datetime | datetime.time) -> Any:
    enc.spend(len(text) + CONTAINER_COST)
    tree: dict[str, Any] = {TAG: tag, "v": text}
    if value.fold:
        tree["fold"] = 1
    if (tz := zone(value)) is not None:
        enc.spend(CONTAINER_COST)
        tree["tz"] = tz
    return tree


def _date(enc: Encoder, value: datetime.date, depth: int) -> Any:
    return _as_text(enc, "date", datetime.date.isoformat(value))


def _timedelta(enc: Encoder, value: datetime.timedelta, depth: int) -> Any:
    enc.spend(2 * CONTAINER_COST)
    return {TAG: "timedelta", "v": [value.days, value.seconds, value.microseconds]}


def _decimal(enc: Encoder, value: Decimal, depth: int) -> Any:
    return _as_text(enc, "decimal", Decimal.__str__(value))


def _fraction(enc: Encoder, value: fractions.Fraction, depth: int) -> Any:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > FRACTION_BITS:
        return enc.stand_in(value, "integers too large to cross")
    return {TAG: "fraction", "v": [enc.value(value.numerator, depth), enc.value(value.denominator, depth)]}


def _uuid(enc: Encoder, value: uuid.UUID, depth: int) -> Any:
    return _as_text(enc, "uuid", uuid.UUID.__str__(value))


def _path(enc: Encoder, value: pathlib.PurePath, depth: int) -> Any:
    kind = "windows" if isinstance(value, pathlib.PureWindowsPath) else "posix"
    tree = _as_text(enc, "path", pathlib.PurePath.__str__(value))
    return {**tree, "os": kind, "pure": not isinstance(value, pathlib.Path)}


def _as_text(enc: Encoder, tag: str, text: str) -> dict[str, Any]:
    enc.spend(len(text) + CONTAINER_COST)
    return {TAG: tag, "v": text}


EXACT: Final[dict[type, Handler]] = {
    Repr: _repr,
    int: _int,
    float: _float,
    complex: _complex,
    str: _str,
    bytes: _bytes,
    bytearray: _bytearray,
    memoryview: _memoryview,
    list: _list,
    tuple: _tuple,
    set: _set,
    frozenset: _frozenset,
    dict: _dict,
    range: _range,
    slice: _slice,
    collections.deque: _iterable,
    array.array: _iterable,
    type({}.keys()): _iterable,
    type({}.values()): _iterable,
    type({}.items()): _iterable,
    collections.OrderedDict: _mapping,
    types.MappingProxyType: _mapping,
    datetime.datetime: _datetime,
    datetime.date: _date,
    datetime.time: _time,
    datetime.timedelta: _timedelta,
    Decimal: _decimal,
    fractions.Fraction: _fraction,
    uuid.UUID: _uuid,
    pathlib.PurePath: _path,
}

UNHASHABLE: Final = frozenset(
    {_bytearray, _list, _iterable, _set, _dict, _mapping, _slice}  # slices are hashable from 3.12 on only
)

SMALL: Final = frozenset(
    {_enum, _float, _complex, _range, _slice, _datetime, _date, _time, _timedelta, _decimal, _uuid, _path}
)
"""Too small to matter when one value is there many times."""
