"""The formats of artifacts: what a value becomes in its file, and back. Never pickle.

text    str                          UTF-8 (a lone surrogate as the three bytes that Python gives it)
bytes   bytes, bytearray, memoryview
json    JSON values                  plain and indented; other values without large data as the codec's
                                     tagged JSON, with ``{"codec": true}`` in the details
npy     numpy arrays                 numpy's own file format, without objects
arrow   pandas and Arrow tables      Arrow IPC file; see ``formats_tables``
codec   the rest that the codec has  one file: MAGIC, length of the head, head, buffers
"""

from __future__ import annotations

import codecs
import io
import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Final

from .codec import SCALARS, TAG, CodecError, Encoded, Repr, decode, encode, is_unicode
from .errors import ArtifactFormatError, CodeModeError
from .wire import Buffer, Source, sizes

__all__ = ["FORMATS", "Payload", "dump", "guess", "load", "read"]

FORMATS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "text": "text/plain; charset=utf-8",
        "bytes": "application/octet-stream",
        "json": "application/json",
        "npy": "application/x-npy",
        "arrow": "application/vnd.apache.arrow.file",
        "codec": "application/x-py-code-mode-value",
    }
)
"""The names of the formats, with the media type to suggest for each."""

MAGIC: Final = b"\x93PYCODEMODE\x01"
INDENTED: Final = 256 * 1024
"""JSON up to this many characters is indented: larger files are for programs, and indenting is slow."""
READABLE_INT_BITS: Final = 10_000
"""Integers that every Python parses: it refuses decimals of more than 4,300 digits."""
SAVEABLE: Final = "text, bytes, JSON values, numpy arrays and pandas or Arrow tables can be saved"
TEXT_SUFFIXES: Final = frozenset(
    [
        ".txt",
        ".md",
        ".rst",
        ".csv",
        ".tsv",
        ".html",
        ".htm",
        ".xml",
        ".svg",
        ".css",
        ".js",
        ".ts",
        ".py",
        ".sh",
        ".sql",
        ".yaml",
        ".yml",
        ".toml",
        ".ini",
        ".cfg",
        ".log",
        ".jsonl",
        ".ndjson",
        ".tex",
    ]
)
HINTS: Final = {
    "matplotlib": "save a picture of it: buffer = io.BytesIO(); figure.savefig(buffer); buffer.getvalue()",
    "PIL": "save its bytes: buffer = io.BytesIO(); image.save(buffer, 'PNG'); buffer.getvalue()",
    "function": "save a function as a workflow, or its result",
}


@dataclass(frozen=True, slots=True)
class Payload:
    """A value as the content of a file: ``format``, ``data`` and ``details``, a small JSON description.

    ``rest`` follows after ``data``: the memory of arrays, which is not copied. So what the payload was made of
    must not change until it is saved.
    """

    format: str
    data: Buffer
    details: dict[str, Any] = field(default_factory=dict)
    rest: tuple[Buffer, ...] = ()

    @property
    def parts(self) -> tuple[Buffer, ...]:
        """The whole content, in order."""
        return (self.data, *self.rest)

    @property
    def size(self) -> int:
        """Of the whole content, bytes."""
        return sizes(self.parts)


def dump(value: Any) -> Payload:
    """``value`` as the content of a file.

    Raises ArtifactFormatError for what no format holds; it names the type, where in the value it is, and what
    can be saved.
    """
    if isinstance(value, str) and not isinstance(value, Repr):
        return Payload("text", str.__str__(value).encode("utf-8", "surrogatepass"))
    if isinstance(value, bytes | bytearray):
        return Payload("bytes", value)
    if isinstance(value, memoryview):
        return Payload("bytes", value if value.c_contiguous else value.tobytes())
    if {"numpy", "pandas", "pyarrow", "polars"} & {_root(base) for base in type(value).__mro__}:
        from .formats_tables import dump_table

        if (payload := dump_table(value)) is not None:
            return payload
    encoded = encode(value)
    _check(encoded, value)
    if _is_json(value) and is_unicode(text := _json(value)):
        return Payload("json", text.encode("utf-8"))
    if encoded.buffers:
        return _container(encoded)
    text = _json(encoded.tree)
    if not is_unicode(text):  # the name of a file may have surrogates
        text = _json(encoded.tree, ascii_only=True)
    return Payload("json", text.encode("utf-8"), {"codec": True})


def load(format: str, data: Buffer, details: Mapping[str, Any]) -> Any:  # noqa: A002 - the word of the matter
    """The value that ``dump`` made a payload of.

    Raises ArtifactFormatError for data that is not of ``format``, or that needs a library which is not here.
    """
    with _format_errors(format):
        return _load(format, data, details)


def read(format: str, file: Source, size: int, details: Mapping[str, Any]) -> Any:  # noqa: A002
    """The same from a file that is read once from front to end, and holds ``size`` bytes.

    Bytes and arrays are read into the memory that they have in the end.
    """
    with _format_errors(format):
        if format == "npy":
            from .formats_tables import read_npy

            return read_npy(file, size)
        content = io.BytesIO(bytes(size))  # the one way to fill bytes bit by bit: getvalue() makes no copy
        with content.getbuffer() as memory:
            read_into(memory, file)
        return _load(format, content.getvalue(), details)


def read_into(memory: memoryview, file: Source) -> None:
    """Fill ``memory`` from ``file``. Raises CodecError when that ends before."""
    while memory:
        count = file.readinto(memory)
        if not count:
            raise CodecError("the file is cut off")
        memory = memory[count:]


@contextmanager
def _format_errors(format: str) -> Iterator[None]:  # noqa: A002
    try:
        yield
    except CodecError as error:
        raise ArtifactFormatError(f"the artifact cannot be read as {format}: {error}") from error
    except (CodeModeError, MemoryError):
        raise
    except Exception as error:  # the file may hold anything
        reason = f"{type(error).__name__}: {error}"
        raise ArtifactFormatError(f"the artifact cannot be read as {format}: {reason}") from error


def guess(name: str, head: bytes) -> str:
    """The format of a file that a person put there, by its ``name`` and first bytes (a few hundred do)."""
    for magic, found in ((b"\x93NUMPY", "npy"), (b"ARROW1", "arrow"), (MAGIC, "codec")):
        if head.startswith(magic):
            return found
    if not _is_text(head):
        return "bytes"
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".json":
        return "json"
    return "text" if suffix in TEXT_SUFFIXES or b"\0" not in head else "bytes"


def _is_text(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # a character may be cut off at the end
    except UnicodeDecodeError:
        return False
    return True


def _load(format: str, data: Buffer, details: Mapping[str, Any]) -> Any:  # noqa: A002
    if format == "text":
        return str(data, "utf-8", "surrogatepass")
    if format == "bytes":
        return bytes(data)
    if format == "json":
        tree = json.loads(bytes(data))
        return decode(tree, []) if details.get("codec") is True else tree
    if format == "codec":
        return _open_container(data)
    if format == "npy":
        from .formats_tables import FileOf, read_npy

        return read_npy(FileOf(data), sizes([data]))
    if format == "arrow":
        from .formats_tables import load_arrow

        return load_arrow(data, details)
    raise ArtifactFormatError(f"unknown format {format!r}; the formats are {', '.join(FORMATS)}")


def _root(cls: type) -> str:
    return str(cls.__module__).partition(".")[0]


def _is_json(value: Any) -> bool:
    """Whether plain JSON holds ``value`` exactly; the codec has seen that it is finite and not too deep."""
    cls = type(value)
    if cls is int:
        return bool(value.bit_length() <= READABLE_INT_BITS)
    if cls in SCALARS:
        return True
    if cls is dict:
        return set(map(type, value)) <= {str} and _is_json(list(value.values()))
    if cls is not list:
        return False
    return set(map(type, value)) <= SCALARS - {int} or all(_is_json(item) for item in value)


def _json(value: Any, *, ascii_only: bool = False) -> str:
    text = json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":"))
    if len(text) <= INDENTED:
        text = json.dumps(value, ensure_ascii=ascii_only, indent=2)
    return text + "\n"


def _container(encoded: Encoded) -> Payload:
    sizes = [memoryview(buffer).nbytes for buffer in encoded.buffers]
    head = json.dumps({"tree": encoded.tree, "sizes": sizes}, separators=(",", ":")).encode("ascii")
    return Payload("codec", b"".join([MAGIC, struct.pack("<Q", len(head)), head]), rest=tuple(encoded.buffers))


def _open_container(data: Buffer) -> Any:
    view = memoryview(data).cast("B")
    start = len(MAGIC) + 8
    if bytes(view[: len(MAGIC)]) != MAGIC or len(view) < start:
        raise CodecError("the file does not begin as such a file does")
    (length,) = struct.unpack_from("<Q", view, len(MAGIC))
    head = json.loads(bytes(view[start : start + length]))
    at = start + length
    buffers: list[Buffer] = []
    for size in head["sizes"]:
        if type(size) is not int or size < 0 or at + size > len(view):
            raise CodecError("the file is cut off")
        buffers.append(view[at : at + size])
        at += size
    return decode(head["tree"], buffers)


def _check(encoded: Encoded, value: Any) -> None:
    """Raises ArtifactFormatError if something of ``value`` did not cross."""
    if encoded.truncated:
        raise ArtifactFormatError("the value cannot be saved: it holds the same containers over 250,000 times")
    if not encoded.is_repr:
        return
    found = _find_repr(encoded.tree)
    if found is None:
        raise ArtifactFormatError(f"a {type(value).__name__} cannot be saved; {SAVEABLE}")
    path, tree = found
    raise ArtifactFormatError(refusal(f"value{path}", tree["type"], tree["v"]))


def refusal(where: str, type_name: str, text: str = "") -> str:
    """The message for a value of a type that cannot be saved."""
    nested = text.startswith("<") and (" object: contains itself" in text or " object: nested more" in text)
    if nested:
        return f"{where} cannot be saved: {text.strip('<>').partition(': ')[2]}"
    kind = "function" if type_name in ("function", "method", "builtin_function_or_method") else ""
    hint = HINTS.get(kind or type_name.partition(".")[0], SAVEABLE)
    article = "an" if type_name[:1].lower() in tuple("aeiou") else "a"
    return f"{where} is {article} {type_name}, which cannot be saved; {hint}"


def _find_repr(tree: Any) -> tuple[str, dict[str, Any]] | None:
    """The path to the first repr in ``tree``, as one would write it in Python, and its tree."""
    if isinstance(tree, list):
        children = [(f"[{position}]", item) for position, item in enumerate(tree)]
    elif not isinstance(tree, dict):
        return None
    elif tree.get(TAG) == "repr":
        return "", tree
    elif tree.get(TAG) == "dict":
        children = [(" (a key of it)", key) for key in tree["k"]]
        children += [(f"[{_key(key)}]", item) for key, item in zip(tree["k"], tree["v"], strict=True)]
    elif TAG not in tree:
        children = [(f"[{key!r}]", item) for key, item in tree.items()]
    elif tree[TAG] in ("set", "frozenset"):
        children = [(" (a member of it)", item) for item in tree["v"]]
    elif tree[TAG] == "tuple":
        return _find_repr(tree["v"])
    else:
        children = [("", item) for item in tree.values()]
    for path, child in children:
        if (found := _find_repr(child)) is not None:
            return path + found[0], found[1]
    return None


def _key(tree: Any) -> str:
    try:
        return f"{decode(tree, [])!r:.80}"
    except CodecError:  # a key that lies in a buffer
        return "..."
