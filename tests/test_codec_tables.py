"""numpy, pandas and Arrow values in the codec."""

from __future__ import annotations

import datetime
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pandas.testing import assert_frame_equal, assert_index_equal, assert_series_equal

from kernel_bootstrap.codec import ALL, CodecError, accepted, decode, encode
from tests.codec_wire import crossed, frame

ARRAYS = [
    np.arange(6).reshape(2, 3),
    np.asfortranarray(np.arange(60_000.0).reshape(200, 300)),
    np.arange(100_000)[::7],
    np.array(5),
    np.array([], dtype="f4"),
    np.empty((0, 3)),
    np.array(["2020-01-01", "2021-01-01"], dtype="M8[ns]"),
    np.array([1, 2], dtype="m8[s]"),
    np.array([1, 2], dtype=">i4"),
    np.array([True, False]),
    np.array(["é", "longer"]),
    np.array([b"x"]),
    np.array([1 + 2j], dtype="c8"),
    np.array([1], dtype="g"),
    np.array([1, 2, 3], dtype="f2"),
    np.zeros(3, dtype=[("a", "i4"), ("b", "U3", (2,)), ("c", [("d", "f8")])]),
    np.zeros(2, dtype=np.dtype({"names": ["a", "b"], "formats": ["u1", "f8"]}, align=True)),
    np.array([1, "a", [1, 2], None], dtype=object),
]


@pytest.mark.parametrize("value", ARRAYS, ids=lambda value: str(value.dtype))
def test_an_array_comes_back_with_its_dtype_and_shape(value):
    back = crossed(value)
    assert (back.dtype, back.shape) == (value.dtype, value.shape)
    assert np.array_equal(back, value)
    assert back.flags.writeable


def test_a_large_array_is_sent_from_its_own_memory():
    value = np.zeros(100_000)
    (buffer,) = encode(value).buffers
    value[0] = 1.0
    assert np.frombuffer(buffer)[0] == 1.0


@pytest.mark.parametrize(
    "value",
    [
        np.float64(1.5),
        np.float32(0.1),
        np.float16(0.1),
        np.longdouble(1) / 3,
        np.int8(-3),
        np.uint64(2**64 - 1),
        np.bool_(True),
        np.complex64(1j),
        np.str_("x"),
        np.bytes_(b"x"),
        np.datetime64("2020-01-01T00:00:00.000000001"),
        np.timedelta64(3, "D"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_numpy_scalar_comes_back_with_its_type(value):
    back = crossed(value)
    assert type(back) is type(value)
    assert back == value


@pytest.mark.parametrize("accepts", [ALL, ALL - {"arrow"}], ids=["arrow", "without arrow"])
def test_a_frame_comes_back_with_its_labels_index_and_dtypes(accepts):
    base = frame()
    for value in (
        base,
        base.set_index("zoned"),
        base.set_index(["int", "text"])[["float"]],
        base.iloc[:0],
        pd.DataFrame(),
        pd.DataFrame(index=[1, 2]),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", None])),
        base.drop(columns="period").T,
    ):
        assert_frame_equal(crossed(value, accepts=accepts), value)


def test_series_and_indexes_come_back_with_name_and_dtype():
    base = frame()
    for name in base:
        assert_series_equal(crossed(base[name]), base[name])
    for value in (
        pd.Index(["a", "b"], name="n"),
        pd.Index([1, "a"]),
        pd.RangeIndex(3, name="r"),
        pd.date_range("2020", periods=3, freq="h", tz="UTC"),
        pd.MultiIndex.from_product([[1, 2], ["a"]], names=["x", "y"]),
        pd.CategoricalIndex(["a"]),
        pd.interval_range(0, 3),
    ):
        back = crossed(value)
        assert_index_equal(back, value, exact=True)
        assert getattr(back, "freq", None) == getattr(value, "freq", None)


@pytest.mark.parametrize(
    "value",
    [
        pd.Timestamp("2020-01-01 00:00:00.123456789"),
        pd.Timestamp("2020-10-25 01:30", tz="UTC").tz_convert("Europe/Berlin"),
        pd.Timestamp("2020-01-01T00:00+03:00"),
        pd.Timedelta(5, "ns"),
        pd.Timedelta(days=3),
        pd.Period("2020-03", "M"),
        pd.Interval(0, 1.5, closed="both"),
    ],
    ids=repr,
)
def test_a_pandas_scalar_comes_back(value):
    back = crossed([value])[0]
    assert type(back) is type(value)
    assert back == value
    assert getattr(back, "unit", None) == getattr(value, "unit", None)


def test_missing_values_of_pandas_come_back():
    assert crossed([pd.NaT, pd.NA]) == [pd.NaT, pd.NA]


def test_an_arrow_table_comes_back():
    value = pa.table({"a": [1, 2], "b": ["x", None], "c": [[1], [2, 3]], "d": pa.array(["k", "k"]).dictionary_encode()})
    assert crossed(value).equals(value)
    assert encode(pa.table({"v": pa.array(["x"], type=pa.string_view())})).is_repr


def test_a_receiver_without_the_libraries_gets_lists_and_dicts():
    def plain(value):
        return crossed(value, accepts=frozenset())

    assert plain(np.arange(4).reshape(2, 2)) == [[0, 1], [2, 3]]
    assert plain(np.float64(1.5)) == 1.5
    assert plain(np.array(["2020-01-01", "NaT"], dtype="M8[ns]")) == [datetime.datetime(2020, 1, 1), None]
    assert plain(frame()[["int", "text", "nullable", "naive"]].head(2)) == {
        "int": [1, 2],
        "text": ["a", None],
        "nullable": [1, None],
        "naive": [datetime.datetime(2020, 1, 1), datetime.datetime(2020, 1, 2)],
    }
    assert plain(frame()["string"]) == ["a", None, "c"]
    assert plain(pa.table({"a": [1, 2]})) == {"a": [1, 2]}
    assert plain([pd.NaT, pd.NA, pd.Timestamp("2020-01-01")]) == [None, None, datetime.datetime(2020, 1, 1)]


def test_encoding_plain_values_imports_no_library():
    code = (
        "import sys, datetime\n"
        "from kernel_bootstrap.codec import accepted, encode, decode\n"
        "encoded = encode([1, (2,), {3: b'x' * 99999}, datetime.datetime.now(), object()])\n"
        "decode(encoded.tree, encoded.buffers)\n"
        "assert accepted() == {'numpy', 'pandas', 'arrow'}\n"
        "assert not {'numpy', 'pandas', 'pyarrow'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_accepted_depends_on_what_can_be_imported(monkeypatch):
    accepted.cache_clear()
    try:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        assert accepted() == {"numpy", "pandas"}
        accepted.cache_clear()
        monkeypatch.setitem(sys.modules, "numpy", None)
        assert accepted() == frozenset()
    finally:
        accepted.cache_clear()


@pytest.mark.parametrize(
    ("value", "needs"), [(np.arange(3), "numpy"), (pa.table({"a": [1]}), "pyarrow")], ids=["numpy", "arrow"]
)
def test_decoding_without_the_library_names_it(monkeypatch, value, needs):
    encoded = encode(value)
    monkeypatch.setitem(sys.modules, needs, None)
    with pytest.raises(CodecError, match=f"needs {needs}"):
        decode(encoded.tree, encoded.buffers)
