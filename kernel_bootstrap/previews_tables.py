"""The first rows of tables and arrays, as HTML."""

from __future__ import annotations

import importlib
import io
import math
from collections.abc import Sequence
from typing import Any

from .codec import SAFE_ARROW, CodecError, library
from .html import Html, code, escaped, joined, note, pre, quiet, table
from .plaintext import one_line

_ROWS = 20
_COLUMNS = 30
_LONGEST = 80
_MOST_TEXT = 6000
_MOST_VALUES = 400


def value_table(
    names: Sequence[Any], columns: Sequence[Sequence[Any]], total: int | None, width: int, index: int = 0
) -> Html:
    """The first rows of ``columns``, as many as are shown; there are ``total`` rows (None: unknown), ``width`` columns.

    ``index`` is how many of the first columns name the rows.
    """
    columns = columns[:_COLUMNS]
    numbers = {position for position, column in enumerate(columns) if _are_numbers(column)}
    names = [one_line(str(name), _LONGEST) for name, _ in zip(names, columns, strict=False)]
    count = min(_ROWS, max(map(len, columns), default=0))
    rows = ([_cell(column[row], position < index) for position, column in enumerate(columns)] for row in range(count))
    rows_text = f"{count:,} rows shown" if total is None else _counted(total, "row")
    columns_text = _counted(width - index, "column")
    if width > len(columns):
        columns_text += f", the first {len(columns) - index} shown"
    return joined((table(names, rows, total, numbers=numbers), note(f"{rows_text} × {columns_text}")))


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _cell(value: Any, is_label: bool) -> Html:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return quiet("" if value is None else "nan")
    text = f"{value:.6g}" if isinstance(value, float) else value if isinstance(value, str) else str(value)
    return Html(f"<b>{escaped(one_line(text, _LONGEST))}</b>") if is_label else escaped(one_line(text, _LONGEST))


def _are_numbers(column: Sequence[Any]) -> bool:
    values = [value for value in column[:_ROWS] if value is not None and value != ""]
    return bool(values) and all(map(_is_number, values))


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, int | float)


def arrow(head: dict[str, Any]) -> Html:
    """The first rows of an Arrow file, or its columns where it is too large to be here whole."""
    details, data = head["details"], head["data"]
    about = _about(details)
    try:
        pa, ipc = library("pyarrow"), library("pyarrow.ipc")
    except CodecError:
        return joined((about, note("pyarrow is not installed here, so no rows are shown: deps.add('pyarrow')")))
    if int(pa.__version__.partition(".")[0]) < SAFE_ARROW:
        return joined((about, note(f"rows are shown with pyarrow {SAFE_ARROW} or newer")))
    if len(data) < head["size"]:
        # Such a file is a stream between two markers; of a large one the stream's schema is here.
        schema = ipc.open_stream(pa.py_buffer(bytes(data)[8:])).schema
        return joined(
            (
                _about({"rows": details.get("rows")}),
                _schema(schema),
                note("too large to show rows here: artifacts.load(...).head()"),
            )
        )
    reader = ipc.open_file(pa.py_buffer(bytes(data)))
    if not reader.num_record_batches:
        return joined((note("no rows"), _schema(reader.schema)))
    batch = reader.get_batch(0)
    batch.validate(full=True)
    total = details.get("rows", batch.num_rows if reader.num_record_batches == 1 else None)
    return _batch(batch, total)


def _about(details: dict[str, Any]) -> Html:
    names, rows = details.get("columns"), details.get("rows")
    text = [_counted(rows, "row")] if isinstance(rows, int) else []
    if isinstance(names, list):
        text.append(f"columns: {one_line(', '.join(map(str, names)), 1000)}")
    return note("; ".join(text)) if text else Html("")


def _schema(schema: Any) -> Html:
    rows = ([code(str(field.name)), quiet(one_line(str(field.type)))] for field in schema)
    return table(("column", "type"), rows, len(schema))


def parquet(head: dict[str, Any]) -> Html:
    """The first rows of a whole Parquet file."""
    try:
        pa, pq = library("pyarrow"), importlib.import_module("pyarrow.parquet")
    except (CodecError, ImportError):
        return note("a Parquet file; pyarrow is not installed here, so no rows are shown: deps.add('pyarrow')")
    file = pq.ParquetFile(pa.BufferReader(bytes(head["data"])))
    batch = next(file.iter_batches(batch_size=_ROWS), None)
    return _schema(file.schema_arrow) if batch is None else _batch(batch, file.metadata.num_rows)


def _batch(batch: Any, total: int | None) -> Html:
    names = list(batch.schema.names)
    labels = _index_of(batch.schema)
    order = sorted(range(len(names)), key=lambda at: names[at] not in labels)
    columns = [[_python(value) for value in batch.column(at).slice(0, _ROWS)] for at in order[:_COLUMNS]]
    # pandas names a level of its index that has no name of its own like this.
    shown = ["" if names[at].startswith("__index_level_") else names[at] for at in order]
    return value_table(shown, columns, total, len(names), len(labels))


def _index_of(schema: Any) -> set[str]:
    """The columns that were the index of a pandas frame; one of plain numbers is no column."""
    found = (schema.pandas_metadata or {}).get("index_columns", ())
    return {name for name in found if isinstance(name, str)} & set(schema.names)


def _python(value: Any) -> Any:
    try:
        return value.as_py()
    except Exception:  # noqa: BLE001 - dates that Python does not have, types of a newer library
        return str(value)


def frame(value: Any) -> Html:
    """The first rows of a pandas frame."""
    head = value.iloc[:_ROWS, : _COLUMNS - 1]
    columns = [head.index.astype(str).tolist(), *(head.iloc[:, at].tolist() for at in range(head.shape[1]))]
    return value_table(["", *map(str, head.columns)], columns, len(value), value.shape[1] + 1, 1)


def npy(head: dict[str, Any]) -> Html:
    """The first values of an array."""
    details, data = head["details"], bytes(head["data"])
    try:
        np = library("numpy")
    except CodecError:
        about = f"{details.get('dtype', 'array')} of shape {tuple(details.get('shape', ()))}; "
        return note(about + "numpy is not installed here, so no values are shown: deps.add('numpy')")
    file = io.BytesIO(data)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, fortran, dtype = readers[np.lib.format.read_magic(file)](file)
    about = note(f"{dtype} of shape {shape}")
    whole = len(data) >= head["size"]
    # Of a part only the first rows are known, and in Fortran's order not even those.
    if dtype.hasobject or not dtype.itemsize or (fortran and not whole):
        return about
    size = math.prod(shape)
    count = min(size, (len(data) - file.tell()) // dtype.itemsize)
    values = np.frombuffer(data, dtype, count, offset=file.tell())
    if whole and count == size:
        values = values.reshape(shape, order="F" if fortran else "C")
    elif len(shape) > 1:
        row = math.prod(shape[1:])
        if 0 < row <= count:
            values = values[: count // row * row].reshape(-1, *shape[1:])
        values = values[:_ROWS]
    else:
        values = values[:_MOST_VALUES]
    text = np.array2string(values, threshold=_MOST_VALUES, edgeitems=4, max_line_width=160)
    cut = note("the first values") if not whole else Html("")
    return joined((about, pre(escaped(text, _MOST_TEXT)), cut))
