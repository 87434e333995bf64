"""Artifact formats: what a value becomes in its file, what comes back, what is refused."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import io
import json
import mmap
import pathlib
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pandas.testing import assert_frame_equal, assert_series_equal

from kernel_bootstrap.codec import Repr
from kernel_bootstrap.errors import ArtifactFormatError
from kernel_bootstrap.formats import FORMATS, Payload, dump, guess, load, read


def stored(value) -> tuple[Payload, object]:
    """The payload of ``value``, and what is loaded when its bytes and details come from a store."""
    payload = dump(value)
    assert payload.format in FORMATS
    details = json.loads(json.dumps(payload.details))
    return payload, load(payload.format, memoryview(content(payload)), details)


def content(payload: Payload) -> bytes:
    """What the file of ``payload`` holds."""
    found = b"".join(payload.parts)
    assert payload.size == len(found)
    return found


@pytest.mark.parametrize("text", ["", "plain\r\n", "é😀\0", "\ud800 lone", "\ufeffmarked"])
def test_text_is_saved_as_utf8_text(text):
    payload, back = stored(text)
    assert payload.format == "text"
    assert back == text
    if "\ud800" not in text:
        assert payload.data == text.encode()


@pytest.mark.parametrize("value", [b"\0\xff", bytearray(b"ab"), memoryview(b"abcd")[::2]])
def test_bytes_are_saved_as_they_are(value):
    payload, back = stored(value)
    assert payload.format == "bytes"
    assert back == bytes(payload.data) == bytes(value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        10**3000,
        1.5,
        -0.0,
        [],
        {},
        {"é": [1, {"x": None}]},
        {"$t": "tuple"},
        {"long": "x" * 50_000},
    ],
    ids=lambda value: type(value).__name__,
)
def test_json_values_are_plain_readable_json(value):
    payload, back = stored(value)
    assert (payload.format, payload.details) == ("json", {})
    assert back == json.loads(payload.data) == value
    if value and isinstance(value, dict) and "é" in value:
        assert payload.data.decode() == '{\n  "é": [\n    1,\n    {\n      "x": null\n    }\n  ]\n}\n'


def test_nan_and_infinity_are_json_values_here():
    payload, back = stored([float("nan"), float("inf")])
    assert payload.data == b"[\n  NaN,\n  Infinity\n]\n"
    assert repr(back) == "[nan, inf]"


class Color(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        {1, 2},
        {1: {(2, 3): b"small"}},
        {"when": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)},
        {"surrogates": "\ud800\udc00"},
        [pathlib.Path("a"), pathlib.Path("\udcff")],
        [1j, 10**5000 + 1],
        np.float64(2.5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_values_come_back_with_their_type_from_a_json_file(value):
    payload, back = stored(value)
    assert (payload.format, payload.details) == ("json", {"codec": True})
    assert json.loads(payload.data) is not None
    assert type(back) is type(value)
    assert back == value


def test_enum_members_and_dataclasses_are_saved_as_their_values():
    @dataclasses.dataclass
    class Point:
        x: int

    assert stored([Color.RED, Point(1)])[1] == ["red", {"x": 1}]


def test_values_with_large_data_inside_become_one_file():
    value = {"model": np.arange(30_000.0), "blob": b"x" * 40_000, "rows": (1, 2)}
    payload, back = stored(value)
    assert payload.format == "codec"
    assert np.array_equal(back.pop("model"), value.pop("model"))
    assert back == value


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.ones((3, 4))),
        np.arange(10)[::3],
        np.array(3),
        np.array(["2020-01-01"], dtype="M8[s]"),
        np.zeros(2, dtype=[("a", "i4"), ("é", "U3")]),
        np.empty((0, 2)),
    ],
    ids=lambda value: str(value.dtype),
)
def test_arrays_are_npy_files_that_numpy_itself_reads(value, tmp_path):
    payload, back = stored(value)
    assert payload.format == "npy"
    assert payload.details == {"shape": list(value.shape), "dtype": str(value.dtype)}
    (tmp_path / "array.npy").write_bytes(content(payload))
    for found in (back, np.load(tmp_path / "array.npy", allow_pickle=False)):
        assert (found.dtype, found.shape) == (value.dtype, value.shape)
        assert np.array_equal(found, value)


def test_an_array_of_objects_is_saved_without_pickle():
    payload, back = stored(np.array([1, "a", None], dtype=object))
    assert payload.details == {"codec": True}
    assert back.tolist() == [1, "a", None]


def test_an_npy_file_with_pickled_objects_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ArtifactFormatError, match="allow_pickle"):
        load("npy", (tmp_path / "x.npy").read_bytes(), {})


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "int": [1, 2, 3],
            "float": [0.1, np.nan, 3],
            "text": ["a", None, "c"],
            "category": pd.Categorical(["a", "b", "a"], categories=["b", "a", "z"], ordered=True),
            "zoned": pd.date_range("2020", periods=3, tz="Europe/Berlin"),
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "delta": pd.to_timedelta([1, 2, 3], unit="s"),
        }
    )


def test_frames_are_arrow_files_that_come_back_as_frames():
    for value in (
        table(),
        table().set_index("zoned"),
        table().set_index(["int", "category"]),
        table().set_index(pd.date_range("2020", periods=3, freq="D")),
    ):
        payload, back = stored(value)
        assert payload.format == "arrow"
        assert payload.details["kind"] == "DataFrame"
        assert payload.details["rows"] == len(value)
        assert_frame_equal(back, value)
    assert pa.ipc.open_file(pa.py_buffer(payload.data)).schema.names[:2] == ["int", "float"]


def test_frames_that_arrow_would_change_are_saved_all_the_same():
    for value in (
        table().iloc[:0],
        table().assign(mixed=[1, "x", None]),
        table().assign(pairs=[(1,), (2,), (3,)]),
        table().rename(columns={"int": 1}),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
    ):
        payload, back = stored(value)
        assert payload.format != "arrow"
        assert_frame_equal(back, value)


def test_series_come_back_as_series():
    for value in (table()["text"], table()["int"].rename(None), table()["zoned"], pd.Series([1], name=3)):
        assert_series_equal(stored(value)[1], value)


def test_arrow_tables_come_back_as_tables():
    value = pa.table({"a": [1, 2], "b": [["x"], None]})
    payload, back = stored(value)
    assert payload.details == {"kind": "Table", "rows": 2, "columns": ["a", "b"]}
    assert back.equals(value)
    assert isinstance(stored(pa.Table.from_pandas(table()))[1], pa.Table)


def test_a_feather_file_that_pandas_wrote_is_a_frame(tmp_path):
    table().to_feather(tmp_path / "t.feather")
    data = (tmp_path / "t.feather").read_bytes()
    assert_frame_equal(load(guess("t.feather", data[:100]), data, {}), table())


class Model:
    """A class that nothing can save."""


def figure_of(module: str, name: str):
    return type(name, (), {"__module__": module})()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Model(), "value is a tests.test_formats.Model, which cannot be saved; text, bytes, JSON"),
        ({"best": [0, Model()]}, r"value\['best'\]\[1\] is a tests.test_formats.Model"),
        ({(1, 2): {"x": (Model(),)}}, r"value\[\(1, 2\)\]\['x'\]\[0\] is a tests"),
        ({Model(): 1}, r"value \(a key of it\) is a tests"),
        (np.array([Model()]), r"value\[0\] is a tests"),
        (pd.DataFrame({"m": [1, Model()]}), "tests.test_formats.Model"),
        (len, "save a function as a workflow"),
        (Repr("<x>", "other.Thing"), "value is an other.Thing"),
        (figure_of("matplotlib.figure", "Figure"), "matplotlib.figure.Figure.*savefig"),
        (figure_of("PIL.Image", "Image"), "PIL.Image.Image.*image.save"),
    ],
    ids=lambda item: item if isinstance(item, str) else type(item).__name__,
)
def test_what_cannot_be_saved_is_named_with_its_place(value, message):
    with pytest.raises(ArtifactFormatError, match=message):
        dump(value)


def test_a_value_that_contains_itself_is_refused():
    value: list = [1]
    value.append({"self": value})
    with pytest.raises(ArtifactFormatError, match=r"value\[1\]\['self'\] cannot be saved: contains itself"):
        dump(value)


def test_a_value_nested_200_deep_is_saved_and_a_deeper_one_refused():
    value: tuple = (1,)
    for _ in range(199):
        value = (value,)
    assert stored(value)[0].details == {"codec": True}
    with pytest.raises(ArtifactFormatError, match="nested more than 200 deep"):
        dump([[value]])


def test_a_frame_without_pyarrow_is_refused_with_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ArtifactFormatError, match=r"deps.add\('pyarrow'\), or save value.to_csv\(\)"):
        dump(table())


@pytest.mark.parametrize(
    ("value", "hidden"),
    [(np.arange(3), "numpy"), (table(), "pyarrow"), (table(), "pandas")],
    ids=["npy", "arrow", "frame"],
)
def test_loading_without_the_library_says_which_to_add(monkeypatch, value, hidden):
    payload = dump(value)
    monkeypatch.setitem(sys.modules, hidden, None)
    with pytest.raises(ArtifactFormatError, match=rf"needs {hidden}.*deps.add\('{hidden}'\)"):
        load(payload.format, content(payload), payload.details)


@pytest.mark.parametrize(
    ("format_name", "data"),
    [
        ("text", b"\xff\xfe"),
        ("json", b"{"),
        ("json", b"[" * 100_000),
        ("json", b"9" * 5000),
        ("npy", b"\x93NUMPY\x01"),
        ("npy", b"not an array"),
        ("arrow", b"ARROW1\0\0"),
        ("codec", b""),
        ("codec", content(dump([b"x" * 40_000]))[:-1]),
        ("pickle", b""),
    ],
)
def test_damaged_files_are_format_errors(format_name, data):
    with pytest.raises(ArtifactFormatError):
        load(format_name, data, {})


def test_damaged_tagged_json_is_a_format_error():
    with pytest.raises(ArtifactFormatError, match="unknown tag"):
        load("json", b'{"$t": "os.system"}', {"codec": True})


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("report.json", b'{"a": 1}', "json"),
        ("REPORT.JSON", b"[", "json"),
        ("x.npy", b"\x93NUMPY\x01\0", "npy"),
        ("x.arrow", b"ARROW1\0\0", "arrow"),
        ("x.feather", b"FEA1\xff\xff", "bytes"),
        ("notes.md", "é".encode(), "text"),
        ("notes.txt", "é".encode()[:1], "text"),
        ("notes.txt", b"\xff\xfea\0", "bytes"),
        ("data.csv", b"a,b\n1,2\n", "text"),
        ("nosuffix", b"words", "text"),
        ("nosuffix", b"a\0b", "bytes"),
        ("image.png", b"\x89PNG\r\n", "bytes"),
        ("empty", b"", "text"),
        ("saved", bytes(dump([b"x" * 40_000]).data[:64]), "codec"),
    ],
)
def test_the_format_of_a_file_is_guessed_from_name_and_content(name, head, expected):
    assert guess(name, head) == expected


class Drops(io.RawIOBase):
    """A file that gives a few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self.data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        return self.data.readinto(memoryview(buffer)[:1_009])


@pytest.mark.parametrize(
    "value",
    [
        "é" * 100_000,
        b"",
        b"bytes" * 30_000,
        {"a": [1, (2,)]},
        np.arange(60_000.0).reshape(3, 4, 5_000)[:, ::2],
        np.asfortranarray(np.arange(40_000).reshape(200, 200)),
        np.zeros(0),
        np.array([b"large" * 20_000, 1], dtype=object),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_read_bit_by_bit_is_what_was_saved(value):
    payload = dump(value)
    data = content(payload)
    back = read(payload.format, Drops(data), len(data), payload.details)
    assert type(back) is type(value)
    assert np.array_equal(back, value) if isinstance(value, np.ndarray) else back == value
    if isinstance(value, np.ndarray):
        assert back.dtype == value.dtype
        assert back.flags.writeable
    for damaged in (data[:-1], data[: len(data) // 2]) if data else ():
        with pytest.raises(ArtifactFormatError, match="cut off"):
            read(payload.format, Drops(damaged), len(data), payload.details)


@pytest.mark.parametrize("make", [lambda n: bytes(n), lambda n: np.zeros(n, dtype=np.uint8)], ids=["bytes", "array"])
def test_a_large_value_is_copied_on_the_way_back_only(make, tmp_path):
    size = 50_000_000
    value = make(size)
    tracemalloc.start()
    try:
        payload = dump(value)
        assert tracemalloc.get_traced_memory()[1] < 0.01 * size
        with (tmp_path / "file").open("wb") as file:
            file.writelines(payload.parts)
        details, name = payload.details, payload.format
        del payload
        with (
            (tmp_path / "file").open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        ):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            view = memoryview(mapped)
            back = load(name, view, details)
            view.release()
        assert tracemalloc.get_traced_memory()[1] - before < 1.1 * size
        assert len(back) == size
        del back
        with (tmp_path / "file").open("rb", buffering=0) as file:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            back = read(name, file, (tmp_path / "file").stat().st_size, details)
        assert tracemalloc.get_traced_memory()[1] - before < 1.1 * size
    finally:
        tracemalloc.stop()
    assert len(back) == size
