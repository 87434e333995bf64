"""pandas frames, series, indexes and scalars in the codec.

A table is written column by column, so that labels of any kind, duplicate ones and mixed columns come back as
they were: numpy columns as ``ndarray`` (no copy), categories as codes, and extension types (strings, nullable
numbers, time zones, periods, intervals) as Arrow where both sides have it, else item by item.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from .codec import ALL, CONTAINER_COST, TAG, CodecError, library
from .codec_arrow import plain, read_stream, write_stream
from .codec_decode import Decoder, integers, text
from .codec_decode import zone as decode_zone
from .codec_encode import Encoder
from .codec_numpy import encode_array
from .codec_types import Handler
from .codec_types import zone as encode_zone

TABULAR: Final = ALL - {"arrow"}


def handler_for(value: Any) -> Handler | None:
    pd = sys.modules["pandas"]
    for kind, handler in (
        (pd.DataFrame, _encode_frame),
        (pd.Series, _encode_series),
        (pd.Index, _encode_index),
        (pd.api.extensions.ExtensionArray, _encode_array),
        (pd.Timestamp, _encode_timestamp),
        (pd.Timedelta, _encode_timedelta),
        (pd.Period, _encode_period),
        (pd.Interval, _encode_interval),
    ):
        if isinstance(value, kind):
            return handler
    if value is pd.NaT:
        return _encode_nat
    return _encode_na if value is pd.NA else None


def _rows(enc: Encoder, value: Any, make: Callable[[Any], Any]) -> Any:
    """``make`` of the first rows that fit."""
    usage = value.memory_usage() if hasattr(value, "memory_usage") else value.nbytes
    size = float(usage.sum() if hasattr(usage, "sum") else usage)
    cut = value.iloc if hasattr(value, "iloc") else value
    return enc.fit(len(value), size / max(len(value), 1), lambda rows: make(cut[:rows]))


def _encode_frame(enc: Encoder, value: Any, depth: int) -> Any:
    return _rows(enc, value, lambda part: _frame(enc, part, depth))


def _frame(enc: Encoder, frame: Any, depth: int) -> Any:
    columns = [frame.iloc[:, position] for position in range(frame.shape[1])]
    if not enc.accepts >= TABULAR:
        pairs = [(label, _plain_list(column)) for label, column in zip(list(frame.columns), columns, strict=True)]
        return enc.value(dict(pairs) if frame.columns.is_unique else pairs, depth)
    enc.spend(CONTAINER_COST)
    return {
        TAG: "frame",
        "columns": _index(enc, frame.columns, depth),
        "index": _index(enc, frame.index, depth),
        "data": [_column(enc, column, depth) for column in columns],
    }


def _encode_series(enc: Encoder, value: Any, depth: int) -> Any:
    return _rows(enc, value, lambda part: _series(enc, part, depth))


def _series(enc: Encoder, series: Any, depth: int) -> Any:
    if not enc.accepts >= TABULAR:
        return enc.value(_plain_list(series), depth)
    return {
        TAG: "series",
        "data": _column(enc, series, depth),
        "index": _index(enc, series.index, depth),
        "name": enc.sealed(series.name, depth),
    }


def _encode_index(enc: Encoder, value: Any, depth: int) -> Any:
    return _rows(enc, value, lambda part: _index(enc, part, depth))


def _index(enc: Encoder, index: Any, depth: int) -> Any:
    pd = sys.modules["pandas"]
    if not enc.accepts >= TABULAR:
        return enc.value(_plain_list(index), depth)
    enc.spend(CONTAINER_COST)
    if isinstance(index, pd.MultiIndex):
        return {
            TAG: "index",
            "levels": [_index(enc, level, depth) for level in index.levels],
            "codes": [encode_array(enc, codes, depth) for codes in map(_array_of, index.codes)],
            "names": [enc.sealed(name, depth) for name in index.names],
        }
    tree: dict[str, Any] = {TAG: "index", "name": enc.sealed(index.name, depth)}
    if isinstance(index, pd.RangeIndex):
        return {**tree, "range": [index.start, index.stop, index.step]}
    if isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex) and index.freqstr is not None:
        tree["freq"] = index.freqstr
    return {**tree, "data": _column(enc, index, depth)}


def _array_of(values: Any) -> Any:
    return sys.modules["numpy"].asarray(values)


def _encode_array(enc: Encoder, value: Any, depth: int) -> Any:
    return _rows(enc, value, lambda part: _column(enc, part, depth))


def _column(enc: Encoder, values: Any, depth: int) -> Any:
    """The data of a series, an index or an extension array."""
    pd = sys.modules["pandas"]
    if not enc.accepts >= TABULAR:
        return enc.value(_plain_list(values), depth)
    dtype = values.dtype
    if not isinstance(dtype, pd.api.extensions.ExtensionDtype):
        return encode_array(enc, values.to_numpy(), depth)
    array = getattr(values, "array", values)
    enc.spend(CONTAINER_COST)
    if isinstance(dtype, pd.CategoricalDtype):
        return {
            TAG: "categorical",
            "codes": encode_array(enc, array.codes, depth),
            "categories": _index(enc, dtype.categories, depth),
            "ordered": bool(dtype.ordered),
        }
    if not _known(pd, dtype):
        return encode_array(enc, values.to_numpy(dtype=object), depth)
    if "arrow" in enc.accepts and (data := _as_arrow(array)) is not None:
        return {TAG: "column", "dtype": str(dtype), **enc.blob(data)}
    before, enc.is_repr = enc.is_repr, False
    items = enc.items(list(array), depth)
    whole, enc.is_repr = not enc.is_repr, before or enc.is_repr
    if whole:
        return {TAG: "column", "dtype": str(dtype), "items": items}
    return {TAG: "ndarray", "d": "O", "s": [len(items)], "items": items}  # the dtype does not take reprs


def _known(pd: Any, dtype: Any) -> bool:
    """Whether the name of ``dtype`` is enough to have it again."""
    try:
        return isinstance(dtype, pd.ArrowDtype) or bool(pd.api.types.pandas_dtype(str(dtype)) == dtype)
    except (TypeError, ValueError, NotImplementedError):
        return False


def _as_arrow(array: Any) -> Any:
    """``array`` as an IPC stream of one column; None where it has no Arrow form, or pyarrow is not here."""
    if not (hasattr(array, "__arrow_array__") and hasattr(array.dtype, "__from_arrow__")):
        return None
    try:
        pa = library("pyarrow")
        column = pa.array(array)
        return write_stream(pa.table({"0": column})) if plain(column.type) else None
    except (CodecError, TypeError, ValueError, NotImplementedError):
        return None


def _plain_list(values: Any) -> list[Any]:
    """The items as Python values; what is missing is None, but in columns of floats."""
    pd = sys.modules["pandas"]
    items: list[Any] = values.tolist()
    if isinstance(values.dtype, pd.api.extensions.ExtensionDtype):
        return [None if gone else item for item, gone in zip(items, values.isna(), strict=True)]
    return [None if item is pd.NaT else item for item in items]


def _encode_timestamp(enc: Encoder, value: Any, depth: int) -> Any:
    if not enc.accepts >= TABULAR:
        return enc.value(value.to_pydatetime(warn=False), depth)
    enc.spend(4 * CONTAINER_COST)
    naive = value if value.tz is None else value.tz_convert("UTC").tz_localize(None)
    return {TAG: "timestamp", "v": naive.isoformat(), "unit": value.unit, "tz": encode_zone(value)}


def _encode_timedelta(enc: Encoder, value: Any, depth: int) -> Any:
    if not enc.accepts >= TABULAR:
        return enc.value(value.to_pytimedelta(), depth)
    enc.spend(2 * CONTAINER_COST)
    return {TAG: "pdtimedelta", "v": int(value.asm8.astype("int64")), "unit": value.unit}


def _encode_period(enc: Encoder, value: Any, depth: int) -> Any:
    if not enc.accepts >= TABULAR:
        return enc.value(str(value), depth)
    enc.spend(3 * CONTAINER_COST)
    return {TAG: "period", "v": value.ordinal, "freq": value.freqstr}


def _encode_interval(enc: Encoder, value: Any, depth: int) -> Any:
    if not enc.accepts >= TABULAR:
        return enc.value(str(value), depth)
    ends = [enc.value(end, depth) for end in (value.left, value.right)]
    return {TAG: "interval", "v": ends, "closed": value.closed}


def _encode_nat(enc: Encoder, value: Any, depth: int) -> Any:
    return enc.value(None, depth) if not enc.accepts >= TABULAR else _marker(enc, "nat")


def _encode_na(enc: Encoder, value: Any, depth: int) -> Any:
    return enc.value(None, depth) if not enc.accepts >= TABULAR else _marker(enc, "na")


def _marker(enc: Encoder, tag: str) -> Any:
    enc.spend(CONTAINER_COST)
    return {TAG: tag}


def _decode_frame(dec: Decoder, tree: dict[str, Any], depth: int) -> Any:
    pd = library("pandas")
    index = _need(dec.value(tree["index"], depth), pd.Index)
    columns = _need(dec.value(tree["columns"], depth), pd.Index)
    data = [_series_of(pd, column, index) for column in dec.items(tree["data"], depth)]
    frame = pd.DataFrame(dict(enumerate(data)), index=index, copy=False)
    frame.columns = columns
    return frame


def _decode_series(dec: Decoder, tree: dict[str, Any], depth: int) -> Any:
    pd = library("pandas")
    index = _need(dec.value(tree["index"], depth), pd.Index)
    series = _series_of(pd, dec.value(tree["data"], depth), index)
    series.name = dec.value(tree["name"], depth)
    return series


def _series_of(pd: Any, data: Any, index: Any) -> Any:
    array = _need(data, library("numpy").ndarray, pd.api.extensions.ExtensionArray)
    return pd.Series(array, index=index, dtype=array.dtype, copy=False)


def _decode_index(dec: Decoder, tree: dict[str, Any], depth: int) -> Any:
    pd = library("pandas")
    if "levels" in tree:
        levels = [_need(level, pd.Index) for level in dec.items(tree["levels"], depth)]
        codes = [_need(part, library("numpy").ndarray) for part in dec.items(tree["codes"], depth)]
        return pd.MultiIndex(levels=levels, codes=codes, names=dec.items(tree["names"], depth))
    name = dec.value(tree["name"], depth)
    if "range" in tree:
        return pd.RangeIndex(*integers(tree["range"], 3), name=name)
    data = _need(dec.value(tree["data"], depth), library("numpy").ndarray, pd.api.extensions.ExtensionArray)
    index = pd.Index(data, dtype=data.dtype, name=name)
    if "freq" in tree:
        index.freq = text(tree, "freq")
    return index


def _decode_column(dec: Decoder, tree: dict[str, Any], depth: int) -> Any:
    pd = library("pandas")
    name = text(tree, "dtype")
    if "items" in tree:
        return pd.array(dec.items(tree["items"], depth), dtype=_extension(pd, name))
    column = read_stream(dec.blob(tree)).column(0)
    dtype = pd.ArrowDtype(column.type) if name.endswith("[pyarrow]") else _extension(pd, name)
    return dtype.__from_arrow__(column)


def _extension(pd: Any, name: str) -> Any:
    return _need(pd.api.types.pandas_dtype(name), pd.api.extensions.ExtensionDtype)


def _decode_categorical(dec: Decoder, tree: dict[str, Any], depth: int) -> Any:
    pd = library("pandas")
    codes = _need(dec.value(tree["codes"], depth), library("numpy").ndarray)
    categories = _need(dec.value(tree["categories"], depth), pd.Index)
    return pd.Categorical.from_codes(codes, categories=categories, ordered=tree["ordered"] is True)


def _need(value: Any, *kinds: type) -> Any:
    if not isinstance(value, kinds):
        raise CodecError(f"{type(value).__name__} where {kinds[0].__name__} was expected")
    return value


def _decode_timestamp(dec: Decoder, tree: dict[str, Any], depth: int) -> Any:
    pd = library("pandas")
    moment = pd.Timestamp(text(tree))
    if (tz := decode_zone(tree["tz"])) is not None:
        moment = moment.tz_localize("UTC").tz_convert(tz)
    return moment.as_unit(text(tree, "unit"))


def _decode_timedelta(dec: Decoder, tree: dict[str, Any], depth: int) -> Any:
    np, pd = library("numpy"), library("pandas")
    return pd.Timedelta(np.timedelta64(integers([tree["v"]])[0], text(tree, "unit")))


def _decode_period(dec: Decoder, tree: dict[str, Any], depth: int) -> Any:
    return library("pandas").Period(ordinal=integers([tree["v"]])[0], freq=text(tree, "freq"))


def _decode_interval(dec: Decoder, tree: dict[str, Any], depth: int) -> Any:
    left, right = dec.items(tree["v"], depth)
    return library("pandas").Interval(left, right, closed=text(tree, "closed"))


def _decode_nat(dec: Decoder, tree: dict[str, Any], depth: int) -> Any:
    return library("pandas").NaT


def _decode_na(dec: Decoder, tree: dict[str, Any], depth: int) -> Any:
    return library("pandas").NA


DECODERS: Final = {
    "frame": _decode_frame,
    "series": _decode_series,
    "index": _decode_index,
    "column": _decode_column,
    "categorical": _decode_categorical,
    "timestamp": _decode_timestamp,
    "pdtimedelta": _decode_timedelta,
    "period": _decode_period,
    "interval": _decode_interval,
    "nat": _decode_nat,
    "na": _decode_na,
}
