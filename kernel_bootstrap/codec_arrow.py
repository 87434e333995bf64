"""Arrow tables in the codec, as uncompressed Arrow IPC streams: ``{"$t": "arrow", "b" or "v": data}``.

Arrow's reader takes a stream at its word. Before anything is done with a table from elsewhere, every buffer
is validated, and what is small on the wire but can be endless in memory (compression, run lengths, views) is
refused.
"""

from __future__ import annotations

import importlib.util
import struct
import sys
from collections.abc import Callable
from typing import Any, Final

from .codec import SAFE_ARROW, TAG, CodecError, library
from .codec_decode import Decoder
from .codec_encode import Encoder
from .codec_types import Handler
from .wire import Buffer

FREE_ROWS: Final = 1_000_000
"""Rows that a table may have without a bit of data each: columns of nulls, or no columns at all."""
RECORD_BATCH, DICTIONARY_BATCH = 3, 2  # MessageHeader in Arrow's Message.fbs


def handler_for(value: Any) -> Handler | None:
    pa = sys.modules.get("pyarrow")
    if pa is not None and isinstance(value, pa.Table | pa.RecordBatch):
        return _encode_table
    pl = sys.modules.get("polars")
    if pl is not None and isinstance(value, pl.DataFrame):
        return _encode_polars
    return None


def _encode_polars(enc: Encoder, value: Any, depth: int) -> Any:
    if "arrow" in enc.accepts and importlib.util.find_spec("pyarrow") is not None:
        library("pyarrow")
        oldest = sys.modules["polars"].CompatLevel.oldest()  # newer ones have string views
        return _encode_table(enc, value.to_arrow(compat_level=oldest), depth)
    return _encode_lists(enc, len(value), lambda rows: value[:rows].to_dict(as_series=False), depth)


def _encode_table(enc: Encoder, value: Any, depth: int) -> Any:
    pa = sys.modules["pyarrow"]
    table = pa.Table.from_batches([value]) if isinstance(value, pa.RecordBatch) else value
    if "arrow" not in enc.accepts:
        return _encode_lists(enc, len(table), lambda rows: table.slice(0, rows).to_pydict(), depth)
    if not all(plain(field.type) for field in table.schema):
        return enc.opaque(value)
    return enc.fit(
        len(table),
        table.nbytes / max(len(table), 1),
        lambda rows: {TAG: "arrow", **enc.blob(write_stream(table.slice(0, rows)))},
    )


def _encode_lists(enc: Encoder, rows: int, make: Callable[[int], Any], depth: int) -> Any:
    return enc.fit(rows, 1, lambda count: enc.value(make(count), depth))


def write_stream(table: Any) -> Buffer:
    """``table`` as an uncompressed Arrow IPC stream."""
    pa = library("pyarrow")
    ipc = library("pyarrow.ipc")
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return memoryview(sink.getvalue())


def plain(kind: Any) -> bool:
    """Whether data of the Arrow type ``kind`` takes as much memory as bytes on the wire."""
    types = library("pyarrow").types
    for refused in (
        "is_run_end_encoded",
        "is_union",
        "is_list_view",
        "is_large_list_view",
        "is_binary_view",
        "is_string_view",
    ):
        test = getattr(types, refused, None)
        if test is not None and test(kind):
            return False
    if types.is_dictionary(kind):
        return plain(kind.value_type)
    storage = getattr(kind, "storage_type", None)
    if storage is not None:
        return plain(storage)
    return all(plain(kind.field(position).type) for position in range(kind.num_fields))


def read_stream(data: Buffer) -> Any:
    """The table of an IPC stream from elsewhere. Raises CodecError, ValueError or Arrow's own errors."""
    pa = library("pyarrow")
    ipc = library("pyarrow.ipc")
    if int(pa.__version__.partition(".")[0]) < SAFE_ARROW:
        raise CodecError(f"reading Arrow data needs pyarrow {SAFE_ARROW} or newer")
    for message in ipc.MessageReader.open_stream(pa.py_buffer(data)):
        if _compressed(bytes(message.metadata)):
            raise CodecError("compressed Arrow data is refused")
    with ipc.open_stream(pa.py_buffer(data)) as reader:
        if not all(plain(field.type) for field in reader.schema):
            raise CodecError("an Arrow type of that kind is refused")
        table = reader.read_all()
    if len(table) > FREE_ROWS + 8 * memoryview(data).nbytes:
        raise CodecError("a table with more rows than bits of data")
    table.validate(full=True)
    return table


def _compressed(metadata: bytes) -> bool:
    """Whether a message is a batch with compressed buffers; pyarrow has no name for that.

    The flatbuffer tables are Message(version, header_type, header, ...), DictionaryBatch(id, data, isDelta)
    and RecordBatch(length, nodes, buffers, compression, ...) of Arrow's Message.fbs.
    """
    message = _offset(metadata, 0)
    kind_at = _slot(metadata, message, 1)
    kind = metadata[kind_at] if kind_at else 0
    if kind not in (RECORD_BATCH, DICTIONARY_BATCH):
        return False
    batch = _offset(metadata, _slot(metadata, message, 2))
    if kind == DICTIONARY_BATCH:
        batch = _offset(metadata, _slot(metadata, batch, 1))
    return _slot(metadata, batch, 3) != 0


def _offset(metadata: bytes, at: int) -> int:
    (relative,) = struct.unpack_from("<I", metadata, at)
    return int(at + relative)


def _slot(metadata: bytes, table: int, number: int) -> int:
    """Where field ``number`` of a flatbuffer table lies, 0 if it is not there."""
    (back,) = struct.unpack_from("<i", metadata, table)
    vtable = table - back
    (size,) = struct.unpack_from("<H", metadata, vtable)
    if 4 + 2 * number >= size:
        return 0
    (relative,) = struct.unpack_from("<H", metadata, vtable + 4 + 2 * number)
    return int(table + relative) if relative else 0


def _decode_table(dec: Decoder, tree: dict[str, Any], depth: int) -> Any:
    return read_stream(dec.blob(tree))


DECODERS: Final = {"arrow": _decode_table}
