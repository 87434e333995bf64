"""Malformed and hostile trees and buffers raise CodecError, and nothing else."""

from __future__ import annotations

import datetime
import decimal
import fractions
import json
import pathlib
import uuid
import zoneinfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_bootstrap.codec import CodecError, decode, encode
from tests.codec_wire import frame

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("$t"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["$t", "v", "b", "k", "a"]), inner),
    max_leaves=8,
)
SAMPLES = [
    [10**30, float("nan"), 1j, b"x", bytearray(b"x"), (1,), {2}, frozenset([3]), {4: 5}, range(6), slice(7)],
    [
        datetime.datetime.now(tz=BERLIN),
        datetime.date.min,
        datetime.time(1, tzinfo=datetime.UTC),
        datetime.timedelta(1),
    ],
    [decimal.Decimal(1), fractions.Fraction(1, 2), uuid.UUID(int=1), pathlib.Path("a"), print, "x" * 40_000],
    [
        np.arange(3),
        np.float64(1),
        np.datetime64("2020"),
        np.array([None]),
        np.zeros(1, dtype=[("a", "i4", (2,))]),
    ],
    [
        frame(),
        frame()["category"],
        frame().index,
        pd.Timestamp("2020", tz="UTC"),
        pd.Timedelta(1),
        pd.Period("2020", "D"),
    ],
    [
        pd.MultiIndex.from_product([[1, 2], ["a"]]),
        pd.Interval(0, 1),
        pd.NaT,
        pa.table({"a": [1]}),
        np.arange(30_000),
    ],
]


def places(tree, path=()):
    """The path of every node in a tree."""
    yield path
    for key, child in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield from places(child, (*path, key))


def replaced(tree, path, value):
    if not path:
        return value
    copied = tree.copy()
    copied[path[0]] = replaced(tree[path[0]], path[1:], value)
    return copied


def refuses_or_decodes(tree, buffers) -> None:
    try:
        decode(tree, buffers)
    except CodecError:
        pass


TAGS = sorted(
    {"int", "float", "complex", "str", "bytes", "bytearray", "tuple", "set", "frozenset", "dict", "range"}
    | {"slice", "datetime", "date", "time", "timedelta", "decimal", "fraction", "uuid", "path", "repr"}
    | {"ndarray", "npscalar", "frame", "series", "index", "column", "categorical", "timestamp"}
    | {"pdtimedelta", "period", "interval", "nat", "arrow"}
)


@given(
    tag=st.sampled_from(TAGS),
    fields=st.dictionaries(st.sampled_from([*list("vbkdsi"), "tz", "items"]), json_values),
)
@settings(max_examples=150, deadline=None)
def test_arbitrary_trees_raise_nothing_but_codec_error(tag, fields):
    refuses_or_decodes({"$t": tag, **fields}, [b"abc", b""])


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_trees_raise_nothing_but_codec_error(data):
    encoded = encode(data.draw(st.sampled_from(SAMPLES)))
    tree = json.loads(json.dumps(encoded.tree))
    path = data.draw(st.sampled_from(list(places(tree))))
    refuses_or_decodes(replaced(tree, path, data.draw(json_values)), encoded.buffers)


@pytest.mark.parametrize(
    "tree",
    [
        {"$t": "no such tag"},
        {"$t": ["tuple"]},
        {"$t": "bytes", "b": 5},
        {"$t": "bytes", "b": -1},
        {"$t": "bytes", "b": True},
        [{"$t": "bytes", "b": 0}, {"$t": "bytes", "b": 0}],
        {"$t": "set", "v": [[]]},
        {"$t": "dict", "k": [1], "v": []},
        {"$t": "datetime", "v": "2020-01-01", "tz": {"key": "../../etc/passwd"}},
        {"$t": "datetime", "v": "2020-01-01", "tz": {"key": "os.path"}},
        {"$t": "fraction", "v": [1, 0]},
        {"$t": "ndarray", "d": "|O", "s": [1], "v": "AAAAAAAAAAA="},
        {"$t": "ndarray", "d": [["a", "|O"]], "s": [1], "v": "AAAAAAAAAAA="},
        {"$t": "ndarray", "d": "<f8", "s": [10**12], "v": ""},
        {"$t": "ndarray", "d": "<f8", "s": [-1, -1], "v": "AAAAAAAAAAA="},
        {"$t": "ndarray", "d": "S0", "s": [10**12], "v": ""},
        {"$t": "column", "dtype": "object", "items": [1]},
        {"$t": "arrow", "v": "AAAA"},
        (1, 2),
        {1: 2},
        b"bytes",
    ],
    ids=repr,
)
def test_malformed_data_is_a_codec_error(tree):
    with pytest.raises(CodecError):
        decode(tree, [b"abc"])


def test_nesting_without_end_is_refused():
    tree: list = []
    for _ in range(50_000):
        tree = [tree]
    with pytest.raises(CodecError, match="nested more than"):
        decode(tree, [])
    while tree:
        tree = tree.pop()


def stream(table, **options) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_arrow_data_that_may_grow_without_end_is_refused():
    numbers = pa.table({"n": [1] * 1000})
    words = pa.table({"n": pa.array(["x"] * 1000).dictionary_encode()})
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2**31 - 1], pa.int32()), pa.array([1]))
    for data in (
        stream(numbers, compression="lz4"),
        stream(words, compression="zstd"),
        stream(pa.table({"n": runs})),
        stream(pa.table({"n": pa.nulls(2**31 - 1)})),
    ):
        with pytest.raises(CodecError):
            decode({"$t": "arrow", "b": 0}, [data])


def test_arrow_data_with_offsets_out_of_bounds_is_refused():
    data = stream(pa.table({"s": ["abc", "def"]}))
    offsets = (0).to_bytes(4, "little") + (3).to_bytes(4, "little") + (6).to_bytes(4, "little")
    assert data.count(offsets) == 1
    wild = data.replace(offsets, offsets[:8] + (2**30).to_bytes(4, "little"))
    with pytest.raises(CodecError):
        decode({"$t": "arrow", "b": 0}, [wild])
