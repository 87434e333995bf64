"""The decoding half of ``codec``. Whatever is raised here, ``codec.decode`` turns into a CodecError."""

from __future__ import annotations

import binascii
import datetime
import fractions
import pathlib
import re
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias

from .codec import FRACTION_BITS, MAX_DEPTH, SCALARS, TAG, CodecError, Repr
from .wire import Buffer

Handler: TypeAlias = Callable[["Decoder", dict[str, Any], int], Any]

PANDAS_TAGS: Final = frozenset(
    {"frame", "series", "index", "column", "categorical"}
    | {"timestamp", "pdtimedelta", "period", "interval", "nat", "na"}
)
ZONE_KEY: Final = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,3}")
"""An IANA key and nothing else: zoneinfo looks it up as a path, and as a package."""


class Decoder:
    """The state of one ``decode``."""

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self._buffers = buffers
        self._used: set[int] = set()

    def value(self, tree: Any, depth: int) -> Any:
        """The value of ``tree``, which lies ``depth`` values deep."""
        cls = type(tree)
        if cls in SCALARS:
            return tree
        if depth > MAX_DEPTH + 1:
            raise CodecError(f"nested more than {MAX_DEPTH} deep")
        if cls is list:
            return self.items(tree, depth)
        if cls is not dict:
            raise CodecError(f"{cls.__name__} is not JSON")
        if TAG not in tree:
            if not set(map(type, tree)) <= {str}:
                raise CodecError("the keys of a JSON object are strings")
            return {key: self.value(item, depth + 1) for key, item in tree.items()}
        tag = tree[TAG]
        decoder = _DECODERS.get(tag) or _library_decoder(tag)
        return decoder(self, tree, depth)

    def items(self, trees: Any, depth: int) -> list[Any]:
        """The values of a list of trees."""
        if type(trees) is not list:
            raise CodecError("a list was expected")
        if set(map(type, trees)) <= SCALARS:
            return trees.copy()
        out: list[Any] = []
        for tree in trees:
            out.append(self.value(tree, depth + 1))  # noqa: PERF401 - a comprehension would be a frame more
        return out

    def blob(self, tree: dict[str, Any]) -> Buffer:
        """The bytes that ``Encoder.blob`` put away."""
        if "v" in tree:
            return binascii.a2b_base64(text(tree), strict_mode=True)
        position = tree["b"]
        if type(position) is not int or not 0 <= position < len(self._buffers) or position in self._used:
            raise CodecError(f"no buffer {position!r}, or used twice")
        self._used.add(position)  # or a small message could name one large buffer a million times
        return self._buffers[position]


def _library_decoder(tag: str) -> Handler:
    if tag in ("ndarray", "npscalar"):
        from .codec_numpy import DECODERS
    elif tag in PANDAS_TAGS:
        from .codec_pandas import DECODERS
    elif tag == "arrow":
        from .codec_arrow import DECODERS
    else:
        raise CodecError(f"unknown tag: {tag!r:.100}")
    return DECODERS[tag]


def text(tree: dict[str, Any], key: str = "v") -> str:
    """The string under ``key``."""
    found = tree[key]
    if type(found) is not str:
        raise CodecError(f"{key!r} is not a string")
    return found


def integers(parts: Any, count: int | None = None) -> list[int]:
    """``parts``, a list of ``count`` integers."""
    if type(parts) is not list or not set(map(type, parts)) <= {int} or count not in (None, len(parts)):
        raise CodecError("integers were expected")
    return parts


def _parts(dec: Decoder, tree: dict[str, Any], depth: int, count: int) -> list[Any]:
    parts = dec.items(tree["v"], depth)
    if len(parts) != count:
        raise CodecError(f"{count} parts were expected, not {len(parts)}")
    return parts


def _repr(dec: Decoder, tree: dict[str, Any], depth: int) -> Repr:
    return Repr(text(tree), text(tree, "type"))


def _int(dec: Decoder, tree: dict[str, Any], depth: int) -> int:
    return int(text(tree), 16)


def _float(dec: Decoder, tree: dict[str, Any], depth: int) -> float:
    return {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}[text(tree)]


def _complex(dec: Decoder, tree: dict[str, Any], depth: int) -> complex:
    real, imag = _parts(dec, tree, depth, 2)
    if type(real) is not float or type(imag) is not float:
        raise CodecError("the parts of a complex number are floats")
    return complex(real, imag)


def _str(dec: Decoder, tree: dict[str, Any], depth: int) -> str:
    return str(dec.blob(tree), "utf-8", "surrogatepass")


def _bytes(dec: Decoder, tree: dict[str, Any], depth: int) -> bytes:
    return bytes(dec.blob(tree))


def _bytearray(dec: Decoder, tree: dict[str, Any], depth: int) -> bytearray:
    return bytearray(dec.blob(tree))


def _tuple(dec: Decoder, tree: dict[str, Any], depth: int) -> tuple[Any, ...]:
    return tuple(dec.items(tree["v"], depth))


def _set(dec: Decoder, tree: dict[str, Any], depth: int) -> set[Any]:
    return set(dec.items(tree["v"], depth))


def _frozenset(dec: Decoder, tree: dict[str, Any], depth: int) -> frozenset[Any]:
    return frozenset(dec.items(tree["v"], depth))


def _dict(dec: Decoder, tree: dict[str, Any], depth: int) -> dict[Any, Any]:
    return dict(zip(dec.items(tree["k"], depth), dec.items(tree["v"], depth), strict=True))


def _range(dec: Decoder, tree: dict[str, Any], depth: int) -> range:
    return range(*_parts(dec, tree, depth, 3))


def _slice(dec: Decoder, tree: dict[str, Any], depth: int) -> slice:
    return slice(*_parts(dec, tree, depth, 3))


def zone(spec: Any) -> datetime.tzinfo | None:
    """The time zone that ``codec_encode.zone`` described; its fixed offset where the key is unknown here."""
    if spec is None:
        return None
    if type(spec) is not dict:
        raise CodecError("a time zone is an object")
    if "key" in spec:
        import zoneinfo

        key = text(spec, "key")
        if len(key) > 100 or not ZONE_KEY.fullmatch(key):
            raise CodecError("not the key of a time zone")
        try:
            return zoneinfo.ZoneInfo(key)
        except (LookupError, OSError, ValueError):
            pass  # this machine has older tables, or none
    if "offset" not in spec:
        return None
    offset = datetime.timedelta(microseconds=integers([spec["offset"]])[0])
    if "name" in spec:
        return datetime.timezone(offset, text(spec, "name"))
    return datetime.timezone(offset)


def _datetime(dec: Decoder, tree: dict[str, Any], depth: int) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(text(tree))
    return moment.replace(tzinfo=zone(tree.get("tz")), fold=tree.get("fold", 0))


def _date(dec: Decoder, tree: dict[str, Any], depth: int) -> datetime.date:
    return datetime.date.fromisoformat(text(tree))


def _time(dec: Decoder, tree: dict[str, Any], depth: int) -> datetime.time:
    moment = datetime.time.fromisoformat(text(tree))
    return moment.replace(tzinfo=zone(tree.get("tz")), fold=tree.get("fold", 0))


def _timedelta(dec: Decoder, tree: dict[str, Any], depth: int) -> datetime.timedelta:
    return datetime.timedelta(*integers(tree["v"], 3))


def _decimal(dec: Decoder, tree: dict[str, Any], depth: int) -> Decimal:
    return Decimal(text(tree))


def _fraction(dec: Decoder, tree: dict[str, Any], depth: int) -> fractions.Fraction:
    numerator, denominator = integers(_parts(dec, tree, depth, 2))
    if max(numerator.bit_length(), denominator.bit_length()) > FRACTION_BITS:
        raise CodecError("a fraction of that size is refused")
    return fractions.Fraction(numerator, denominator)


def _uuid(dec: Decoder, tree: dict[str, Any], depth: int) -> uuid.UUID:
    return uuid.UUID(text(tree))


def _path(dec: Decoder, tree: dict[str, Any], depth: int) -> pathlib.PurePath:
    pure = {"posix": pathlib.PurePosixPath, "windows": pathlib.PureWindowsPath}[text(tree, "os")]
    native = isinstance(pathlib.Path(), pure)
    return pure(text(tree)) if tree["pure"] or not native else pathlib.Path(text(tree))


_DECODERS: Final[dict[str, Handler]] = {
    "repr": _repr,
    "int": _int,
    "float": _float,
    "complex": _complex,
    "str": _str,
    "bytes": _bytes,
    "bytearray": _bytearray,
    "tuple": _tuple,
    "set": _set,
    "frozenset": _frozenset,
    "dict": _dict,
    "range": _range,
    "slice": _slice,
    "datetime": _datetime,
    "date": _date,
    "time": _time,
    "timedelta": _timedelta,
    "decimal": _decimal,
    "fraction": _fraction,
    "uuid": _uuid,
    "path": _path,
}
