"""Python value <-> tagged JSON + binary buffers, no pickle.

Plain JSON values stay as they are: ``{"a": [1, "x", None]}`` is its own tree. Anything else is an object
with the key ``"$t"``, the name of its type: ``(1, 2)`` is ``{"$t": "tuple", "v": [1, 2]}``. A dict that has
the key ``"$t"``, or keys that are not strings, is itself written with a tag. Text and bytes over 32 KiB, and
the data of arrays and tables, are buffers beside the tree, referred to by position, each at most once.

``decode`` trusts nothing: it unpickles, evaluates and imports nothing that the data names, its recursion is
bounded, and whatever is malformed is a ``CodecError``. The halves are ``codec_encode`` (with ``codec_types``)
and ``codec_decode``; ``codec_numpy``, ``codec_pandas`` and ``codec_arrow`` are imported when such a value
turns up.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Any, Final

from .wire import Buffer

__all__ = ["ALL", "CodecError", "Encoded", "Repr", "accepted", "decode", "encode"]

ALL: Final = frozenset({"numpy", "pandas", "arrow"})
TAG: Final = "$t"
INLINE: Final = 32 * 1024
"""Bytes and characters up to this size lie in the tree: a frame each would cost more than the base64."""
MAX_DEPTH: Final = 200
"""Nesting that crosses. Three Python frames a level stay well below the default recursion limit of 1,000."""
SCALARS: Final = frozenset({NoneType, bool, int, float, str})
INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
CONTAINER_COST: Final = 24
"""What a container costs beside its items: nearer to the memory of both sides than its two brackets."""
FRACTION_BITS: Final = 100_000
"""Integers of a fraction that cross: making one takes quadratic time."""
SAFE_ARROW: Final = 15
"""The first major version of pyarrow that never unpickles what a schema says (CVE-2023-47248)."""


class Full(Exception):  # noqa: N818 - a signal inside the encoder, not an error
    """What was tried does not fit; the nearest container leaves it out and ends there."""


class CodecError(ValueError):
    """A tree and buffers that ``encode`` cannot have made, or that need a library which is not here."""


class Repr(str):
    """The repr of a value that could not cross. ``type_name`` is the value's class, as ``"mymod.Foo"``."""

    type_name: str

    def __new__(cls, text: str, type_name: str = "") -> Repr:
        self = super().__new__(cls, text)
        self.type_name = type_name
        return self


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value, encoded.

    ``tree`` is strict JSON (no NaN, no integers past 64 bits). ``buffers`` are views of the value's own
    memory where that is possible: send or copy them before the value can change. ``is_repr`` says that a
    repr stands for the value or for something inside it, ``truncated`` that something was cut because of the
    limit.
    """

    tree: Any
    buffers: list[Buffer]
    is_repr: bool
    truncated: bool


def encode(value: Any, *, limit: int | None = None, accepts: frozenset[str] = ALL) -> Encoded:
    """``value`` as a tree and buffers. Never raises, whatever the value.

    ``limit`` is the size of tree and buffers together in bytes, approximately; a larger value keeps what
    comes first: a prefix of text and bytes, the first items of a container, the first rows of a table. None
    is no limit, unless the value holds the same containers over 250,000 times.
    ``accepts`` is the receiver's ``accepted()``; without a library, its values go as lists and dicts.
    """
    if limit is None or limit > INLINE:
        if _stands(value):
            return Encoded(value, [], False, False)
        if type(value) is dict and len(value) <= 8 and _all_stand(value):  # such as the parameters of most requests
            return Encoded(value.copy(), [], False, False)
    from .codec_encode import Encoder

    encoder = Encoder(limit, accepts)
    tree = encoder.top(value)
    return Encoded(tree, encoder.buffers, encoder.is_repr, encoder.truncated)


def _stands(value: Any) -> bool:
    """Whether a value is its own tree, as far as that can be told at once; small in any case."""
    cls = type(value)
    if cls is str:
        return len(value) <= 1024 and value.isascii()
    if cls is int:
        return bool(INT_MIN <= value <= INT_MAX)
    return value is None or cls is bool


def _all_stand(value: dict[Any, Any]) -> bool:
    return (
        set(map(type, value)) <= {str}
        and TAG not in value
        and all(map(_stands, value))
        and all(map(_stands, value.values()))
    )


def decode(tree: Any, buffers: Sequence[Buffer]) -> Any:
    """The value of ``tree`` and ``buffers``. Raises CodecError, and nothing else, for what is malformed."""
    cls = type(tree)
    if cls in SCALARS:
        return tree
    if cls is dict and TAG not in tree and set(map(type, tree)) <= {str} and set(map(type, tree.values())) <= SCALARS:
        return tree.copy()
    from .codec_decode import Decoder

    try:
        return Decoder(buffers).value(tree, 0)
    except CodecError:
        raise
    except Exception as error:  # whatever hostile data breaks is its own fault
        raise CodecError(f"malformed value: {type(error).__name__}: {error}") from error


@cache
def accepted() -> frozenset[str]:
    """Which of ``ALL`` this process could decode. Imports none of them.

    The answer is kept; ``accepted.cache_clear()`` after packages were installed.
    """
    found = {name for name in ("numpy", "pandas", "pyarrow") if _importable(name)}
    if "numpy" not in found:
        return frozenset()
    if "pyarrow" in found:
        found.remove("pyarrow")
        if _major_version("pyarrow") >= SAFE_ARROW:
            found.add("arrow")
    return frozenset(found)


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # a module without a spec stands in sys.modules
        return False


def _major_version(name: str) -> int:
    import importlib.metadata  # itself the larger part of what importing this module would take

    try:
        return int(importlib.metadata.version(name).partition(".")[0])
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return 0


def flat_cost(items: Sequence[Any]) -> int | None:
    """The size of ``items`` as JSON, if each can stand there as it is; else None.

    Only C loops touch the items, so that a list of a million numbers costs milliseconds.
    """
    kinds = set(map(type, items))
    if not kinds <= SCALARS:
        return None
    cost = 6 * len(items)
    for kind in kinds - {NoneType, bool}:
        chosen = items if len(kinds) == 1 else [item for item in items if type(item) is kind]
        if kind is int:
            low, high = min(chosen), max(chosen)
            if low < INT_MIN or high > INT_MAX:
                return None
            cost += len(chosen) * (len(str(max(-low, high))) - 4)
        elif kind is float:
            if not math.isfinite(sum(chosen)):  # the sum of finite numbers may overflow: merely slower
                return None
            cost += len(chosen) * 14
        else:
            if max(map(len, chosen)) > INLINE:
                return None
            joined = "".join(map(str, chosen))
            if not is_unicode(joined):
                return None
            cost += len(joined) * (1 if joined.isascii() else 6)
    return cost


def is_unicode(text: str) -> bool:
    """Whether ``text`` has no surrogates. JSON would join two of them that stand side by side."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def library(name: str) -> Any:
    """The module ``name`` of numpy, pandas, pyarrow, for decoding. Raises CodecError where it is not here."""
    if name not in ("numpy", "pandas", "pyarrow", "pyarrow.ipc"):
        raise ValueError(name)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise CodecError(f"this value needs {name.partition('.')[0]}, which cannot be imported here") from error
