"""numpy arrays and scalars in the codec.

    {"$t": "ndarray", "d": dtype, "s": shape, "b" or "v": data}      "f": true for Fortran order
    {"$t": "ndarray", "d": "O", "s": shape, "items": [...]}          an array of objects, item by item
    {"$t": "npscalar", "d": dtype, "i": number}                      or "b"/"v", as in an array

``dtype`` is a string as ``"<f8"``, or for structured arrays the list of fields of numpy's own file format.
"""

from __future__ import annotations

import math
import re
import sys
from typing import Any, Final

from .codec import CONTAINER_COST, INLINE, TAG, CodecError, library
from .codec_decode import Decoder, integers
from .codec_encode import Encoder
from .codec_types import Handler
from .wire import Buffer

SIMPLE_DTYPE: Final = re.compile(r"[<>|=]?[biufcSUVmM]\d{1,9}(\[\d{0,9}[a-zA-Z]{1,2}\])?")
"""No objects ("O"), no comma-separated or named types."""
NUMBERS: Final = "biufc"
MAX_DIMENSIONS: Final = 64


def handler_for(value: Any) -> Handler | None:
    np = sys.modules["numpy"]
    if isinstance(value, np.generic):
        return _encode_scalar
    if isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray):
        return encode_array
    return None


def encode_array(enc: Encoder, value: Any, depth: int) -> Any:
    """The tree of an array, or of as many of its first rows as fit."""
    np = sys.modules["numpy"]
    array = np.asarray(value)
    if "numpy" not in enc.accepts:
        return _encode_lists(enc, array, depth)
    if array.dtype.kind in "OT":
        return _encode_objects(enc, array, depth)
    descr = dtype_descr(array.dtype)
    if descr is None:
        return enc.opaque(value)
    enc.spend(CONTAINER_COST * (1 + array.ndim))
    rows = len(array) if array.ndim else 1
    array = _first_rows(enc, array)
    data, fortran = raw_data(array)
    tree: dict[str, Any] = {TAG: "ndarray", "d": descr, "s": list(array.shape), **enc.blob(data)}
    if fortran:
        tree["f"] = True
    if array.ndim and len(array) < rows:
        enc.cut()
    return tree


def _first_rows(enc: Encoder, array: Any) -> Any:
    """``array``, or as many of its first rows as one blob may hold."""
    room = enc.left
    if array.nbytes <= INLINE or room <= INLINE:
        room = (enc.left - CONTAINER_COST) * 0.75  # base64
    if array.nbytes <= room or array.ndim == 0:
        return array
    return array[: max(int(room * len(array) / array.nbytes), 0)]


def raw_data(array: Any) -> tuple[Buffer, bool]:
    """The bytes of ``array``, without a copy if it is contiguous, and whether they are in Fortran order."""
    np = sys.modules["numpy"]
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    flat = (array.T if fortran else np.ascontiguousarray(array)).reshape(-1)
    return (memoryview(flat.view(np.uint8)) if array.nbytes else b""), fortran


def dtype_descr(dtype: Any) -> Any:
    """``dtype`` as JSON, or None if that cannot say it exactly."""
    np = sys.modules["numpy"]
    if dtype.hasobject or dtype.itemsize == 0:
        return None
    if dtype.names is None:
        return dtype.str if np.dtype(dtype.str) == dtype and SIMPLE_DTYPE.fullmatch(dtype.str) else None
    try:
        descr = dtype.descr
        if np.lib.format.descr_to_dtype(descr) != dtype:
            return None
    except ValueError:  # fields that overlap
        return None
    return _lists(descr)


def _lists(descr: Any) -> Any:
    return [_lists(part) for part in descr] if isinstance(descr, list | tuple) else descr


def _encode_lists(enc: Encoder, array: Any, depth: int) -> Any:
    """For a receiver without numpy: nested lists of Python values."""
    if array.dtype.kind in "mM" and array.dtype.str[3:] not in ("", "[Y]", "[M]"):
        array = array.astype(array.dtype.str[:3] + "[us]")  # finer ones would become bare integers
    elif array.dtype.char in "gG":  # Python has no long doubles
        array = array.astype("f8" if array.dtype.char == "g" else "c16")
    if array.ndim == 0:
        return enc.value(array.item(), depth)
    return enc.fit(len(array), array.nbytes / max(len(array), 1), lambda rows: enc.value(array[:rows].tolist(), depth))


def _encode_objects(enc: Encoder, array: Any, depth: int) -> Any:
    def make(rows: int) -> Any:
        part = array[:rows] if array.ndim else array
        enc.spend(CONTAINER_COST * (1 + part.ndim))
        items = enc.items(part.ravel().astype(object).tolist(), depth)
        return {TAG: "ndarray", "d": "O", "s": list(part.shape), "items": items}

    return enc.fit(len(array) if array.ndim else 1, 1, make)


def _encode_scalar(enc: Encoder, value: Any, depth: int) -> Any:
    np = sys.modules["numpy"]
    if "numpy" not in enc.accepts:
        return _encode_lists(enc, np.asarray(value), depth)
    array = np.asarray(value)
    descr = dtype_descr(array.dtype)
    if descr is None:
        return enc.opaque(value)
    enc.spend(2 * CONTAINER_COST)
    if array.dtype.kind in NUMBERS and not isinstance(value, np.longdouble | np.clongdouble):
        return {TAG: "npscalar", "d": descr, "i": enc.value(array.item(), depth)}
    return {TAG: "npscalar", "d": descr, **enc.blob(raw_data(array)[0])}


def _decode_array(dec: Decoder, tree: dict[str, Any], depth: int) -> Any:
    np = library("numpy")
    shape = tuple(integers(tree["s"]))
    if len(shape) > MAX_DIMENSIONS or any(side < 0 for side in shape):
        raise CodecError("not the shape of an array")
    if tree["d"] == "O":
        items = dec.items(tree["items"], depth)
        out = np.empty(len(items), dtype=object)
        for position, item in enumerate(items):  # numpy would take lists apart
            out[position] = item
        return out.reshape(shape)
    dtype = decode_dtype(tree["d"])
    data = dec.blob(tree)
    if math.prod(shape) * dtype.itemsize != memoryview(data).nbytes:
        raise CodecError(f"the data of an array does not fit its shape {shape}")
    array = np.frombuffer(data, dtype=dtype) if math.prod(shape) else np.empty(0, dtype=dtype)
    return array.reshape(shape, order="F" if tree.get("f") else "C").copy(order="K")  # writable, and its own


def _decode_scalar(dec: Decoder, tree: dict[str, Any], depth: int) -> Any:
    np = library("numpy")
    if "i" not in tree:
        return _decode_array(dec, {**tree, "s": []}, depth)[()]
    number = dec.value(tree["i"], depth)
    if type(number) not in (bool, int, float, complex):
        raise CodecError("not a number")
    return np.array(number, dtype=decode_dtype(tree["d"]))[()]


def decode_dtype(descr: Any) -> Any:
    """The dtype that ``dtype_descr`` described, of a size and without objects. Raises CodecError."""
    np = library("numpy")
    if isinstance(descr, list):
        dtype = np.lib.format.descr_to_dtype([_field(field) for field in descr])
    elif isinstance(descr, str) and SIMPLE_DTYPE.fullmatch(descr):
        dtype = np.dtype(descr)
    else:
        raise CodecError("not a dtype")
    if dtype.hasobject or dtype.itemsize == 0:
        raise CodecError("a dtype of that kind is refused")
    return dtype


def _field(field: Any) -> tuple[Any, ...]:
    if not isinstance(field, list) or len(field) not in (2, 3):
        raise CodecError("not a field of a dtype")
    name, descr, *shape = field
    if isinstance(descr, list):
        descr = [_field(part) for part in descr]
    elif not isinstance(descr, str) or not SIMPLE_DTYPE.fullmatch(descr):
        raise CodecError("not the dtype of a field")
    name = tuple(name) if isinstance(name, list) else name
    return (name, descr, *(tuple(integers(part)) for part in shape))


DECODERS: Final = {"ndarray": _decode_array, "npscalar": _decode_scalar}
