"""numpy arrays and tables as files: ``.npy`` and the Arrow IPC file format, which other programs read too.

A frame that Arrow would change (labels that are not unique strings, columns of mixed objects) is left to the
codec's own format.
"""

from __future__ import annotations

import importlib.util
import io
import math
import sys
from collections.abc import Mapping
from types import NoneType
from typing import Any, Final

from .codec import SAFE_ARROW, CodecError, library
from .codec_numpy import dtype_descr, raw_data
from .errors import ArtifactFormatError
from .formats import Payload, read_into
from .wire import Buffer, Source

NAMED_COLUMNS: Final = 100
"""Columns that the details name."""
NPY_HEAD: Final = 64 * 1024
"""Bytes in which the header of an array lies, unless it has thousands of fields."""


def dump_table(value: Any) -> Payload | None:
    """``value`` as npy or arrow; None if it is not for these formats. Raises ArtifactFormatError."""
    np, pd, pa = (sys.modules.get(name) for name in ("numpy", "pandas", "pyarrow"))
    if np is not None and isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray):
        return _dump_npy(np, value)
    if pd is not None and isinstance(value, pd.DataFrame | pd.Series):
        return _dump_pandas(pd, value)
    if pa is not None and isinstance(value, pa.Table | pa.RecordBatch):
        table = pa.Table.from_batches([value]) if isinstance(value, pa.RecordBatch) else value
        return _dump_arrow(table, "Table")
    pl = sys.modules.get("polars")
    if pl is not None and isinstance(value, pl.DataFrame):
        _need_pyarrow("polars.DataFrame", "value.write_csv()")
        return _dump_arrow(value.to_arrow(compat_level=pl.CompatLevel.oldest()), "Table")
    return None


def _dump_npy(np: Any, value: Any) -> Payload | None:
    array = np.asarray(value)
    if dtype_descr(array.dtype) is None:
        return None
    data, fortran = raw_data(array)
    head = io.BytesIO()
    header = {
        "descr": np.lib.format.dtype_to_descr(array.dtype),
        "fortran_order": fortran,
        "shape": array.shape,
    }
    try:
        np.lib.format.write_array_header_1_0(head, header)
    except ValueError:  # more than 64 KiB of field names
        np.lib.format.write_array_header_2_0(head, header)
    details = {"shape": list(array.shape), "dtype": str(array.dtype)}
    return Payload("npy", head.getvalue(), details, (data,))


def read_npy(file: Source, size: int) -> Any:
    """The array of an ``.npy`` file of ``size`` bytes, in memory of its own. Raises ArtifactFormatError, ValueError."""
    np = _library("numpy")
    head = memoryview(bytearray(min(size, NPY_HEAD)))
    read_into(head, file)
    begin = FileOf(head)
    array = _empty_array(np, begin, size)
    if array is None:  # of another version, with objects, or spoiled: numpy itself knows what to do
        data = memoryview(bytearray(size))
        data[: len(head)] = head
        read_into(data[len(head) :], file)
        return np.lib.format.read_array(FileOf(data), allow_pickle=False)
    if array.nbytes:
        memory = memoryview((array if array.flags.c_contiguous else array.T).reshape(-1).view(np.uint8))
        done = begin.readinto(memory)
        read_into(memory[done:], file)
    return array


def _empty_array(np: Any, file: FileOf, size: int) -> Any:
    """An array for the data that follows the header at the beginning of ``file``; None if it is not a plain one."""
    try:
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = readers[version](file)
    except (KeyError, ValueError):
        return None
    plain = not dtype.hasobject and dtype.itemsize and min(shape, default=0) >= 0
    if not plain or math.prod(shape) * dtype.itemsize != size - file.tell():
        return None
    return np.empty(shape, dtype, order="F" if fortran else "C")


class FileOf(io.RawIOBase):
    """A buffer as a file; BytesIO would copy a memoryview whole."""

    def __init__(self, data: Buffer) -> None:
        self._view = memoryview(data).cast("B")
        self._at = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        into = memoryview(buffer).cast("B")
        part = self._view[self._at : self._at + len(into)]
        into[: len(part)] = part
        self._at += len(part)
        return len(part)


def _dump_pandas(pd: Any, value: Any) -> Payload | None:
    kind = "Series" if isinstance(value, pd.Series) else "DataFrame"
    _need_pyarrow(f"pandas.{kind}", "value.to_csv()")
    details: dict[str, Any] = {}
    frame = value
    if kind == "Series":
        if value.name is not None and type(value.name) is not str:
            return None
        frame = value.to_frame(name="value")
        details["name"] = value.name
    if isinstance(frame.index, pd.DatetimeIndex | pd.TimedeltaIndex):
        details["freq"] = frame.index.freqstr
    table = _as_table(pd, frame)
    return None if table is None else _dump_arrow(table, kind, details)


def _as_table(pd: Any, frame: Any) -> Any:
    """``frame`` as an Arrow table; None if it would not come back as it was."""
    pa = library("pyarrow")
    index, columns = frame.index, frame.columns
    if not len(frame):  # a file without batches has no categories
        return None
    levels = index.levels if isinstance(index, pd.MultiIndex) else [index]
    if isinstance(columns, pd.MultiIndex) or not columns.is_unique or not set(map(type, columns)) <= {str}:
        return None
    if not set(map(type, [columns.name, *index.names])) <= {str, NoneType} or set(index.names) & set(columns):
        return None
    objects = [part for part in [*(frame[name] for name in columns), *levels] if part.dtype == object]
    if not all(set(map(type, part)) <= {str, NoneType} for part in objects):
        return None
    try:
        table = pa.Table.from_pandas(frame)
        empty = table.slice(0, 0).to_pandas()
    except (pa.ArrowException, TypeError, ValueError):
        return None
    same = list(empty.dtypes) == list(frame.dtypes) and empty.index.dtype == index.dtype
    return table if same and empty.index.names == index.names else None


def _dump_arrow(table: Any, kind: str, details: Mapping[str, Any] | None = None) -> Payload:
    pa, ipc = library("pyarrow"), library("pyarrow.ipc")
    sink = pa.BufferOutputStream()
    with ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    described = {"kind": kind, "rows": table.num_rows, "columns": table.column_names[:NAMED_COLUMNS]}
    return Payload("arrow", memoryview(sink.getvalue()), {**described, **(details or {})})


def load_arrow(data: Buffer, details: Mapping[str, Any]) -> Any:
    """The frame, series or table of an Arrow IPC file, compressed or not. Raises what Arrow raises."""
    pa, ipc = _library("pyarrow"), _library("pyarrow.ipc")
    if int(pa.__version__.partition(".")[0]) < SAFE_ARROW:
        raise ArtifactFormatError(f"reading it needs pyarrow {SAFE_ARROW} or newer: deps.add('pyarrow>={SAFE_ARROW}')")
    table = ipc.open_file(pa.py_buffer(data)).read_all()
    table.validate(full=True)
    by_pandas = b"pandas" in (table.schema.metadata or {}) and importlib.util.find_spec("pandas") is not None
    kind = details.get("kind", "DataFrame" if by_pandas else "Table")
    if kind not in ("DataFrame", "Series"):
        return table
    _library("pandas")
    frame = table.to_pandas()
    if details.get("freq") is not None:
        frame.index.freq = details["freq"]
    return frame["value"].rename(details.get("name")) if kind == "Series" else frame


def _need_pyarrow(type_name: str, instead: str) -> None:
    try:
        library("pyarrow")
    except CodecError as error:
        raise ArtifactFormatError(
            f"a {type_name} is saved as Arrow, which needs pyarrow: deps.add('pyarrow'), or save {instead}"
        ) from error


def _library(name: str) -> Any:
    try:
        return library(name)
    except CodecError as error:
        package = name.partition(".")[0]
        raise ArtifactFormatError(f"this artifact needs {package}: deps.add('{package}')") from error
