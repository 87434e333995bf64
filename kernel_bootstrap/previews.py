"""What artifacts look like in a notebook: the table of them, and one with the beginning of its content.

Imported when the first of them is looked at. A preview is made of the bytes it is given: all of a small artifact, the
first of a large one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, Final

from . import formats
from .html import Html, code, escaped, image, joined, note, page, pre, quiet, table, tree
from .plaintext import clean, one_line, short_repr
from .previews_tables import arrow, frame, npy, parquet, value_table
from .wire import ONE_MESSAGE

WHOLE: Final = ONE_MESSAGE
"""Artifacts up to this size (bytes) are read for a preview, which is a few milliseconds of work."""
HEAD: Final = 64 * 1024
"""What is read of larger ones."""

_LARGEST_IMAGE = 256 * 1024
"""A plot of a retina screen; the one thing that may take more than the HTML of a page otherwise does."""
_MOST_LINES = 40
_MOST_TEXT = 4000
_MOST_BYTES = 256
_ROWS = 20
_COLUMNS = 30

_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def artifacts(items: Sequence[dict[str, Any]], title: str = "artifacts") -> str:
    """The table of artifacts."""
    if not items:
        return page(code(title), note("none; artifacts.save(name, data)"))
    rows = (
        [
            code(item["name"]),
            escaped(item["format"]),
            escaped(size_text(item["size"])),
            escaped(one_line(item["description"])),
            quiet(_time(item["created_at"])),
        ]
        for item in items
    )
    heading = joined((code(title), quiet(f"{len(items):,}")))
    return page(heading, table(("name", "format", "size", "description", "created"), rows, len(items), numbers={2}))


def artifact(item: dict[str, Any], head: dict[str, Any]) -> str:
    """One artifact, described by ``item``.

    ``head`` has its ``format``, ``details``, ``size`` and first bytes, ``data``.
    """
    about = [head["format"], size_text(head["size"]), f"created {_time(item['created_at'])}"]
    if item["updated_at"] != item["created_at"]:
        about.append(f"changed {_time(item['updated_at'])}")
    parts = [Html(f"<p>{escaped(item['description'], 2000)}</p>")] if item["description"] else []
    parts.append(Html(f"<p>{quiet(' · '.join(about))}<br>{quiet(item['path'])}</p>"))
    if item["metadata"]:
        parts.append(tree(item["metadata"], "metadata"))
    parts.append(preview(item["name"], head))
    return page(code(item["name"]), *parts)


def preview(name: str, head: dict[str, Any]) -> Html:
    """The beginning of the content, by its type; a remark where there is nothing to show."""
    makers: dict[str, Callable[[str, dict[str, Any]], Html]] = {
        "text": _text,
        "bytes": _bytes,
        "json": _json,
        "npy": lambda _, head: npy(head),
        "arrow": lambda _, head: arrow(head),
        "codec": _whole_value,
    }
    try:
        make = makers.get(head["format"])
        return note("no preview of this format") if make is None else make(name, head)
    except Exception as error:  # noqa: BLE001 - content can be anything
        return note(f"no preview: {one_line(str(error)) or type(error).__name__}")


def size_text(size: int) -> str:
    """A number of bytes as people write it."""
    if size < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.5:
            return f"{value:.3g} {unit}"
    return f"{value / 1000:,.3g} TB"


def _time(text: str) -> str:
    # ISO 8601 in UTC, to the microsecond.
    return f"{text[:10]} {text[11:16]} UTC"


def _is_whole(head: dict[str, Any]) -> bool:
    return len(head["data"]) >= int(head["size"])


def _text(name: str, head: dict[str, Any]) -> Html:
    data = bytes(head["data"])
    text = data.decode("utf-8", "surrogatepass" if _is_whole(head) else "replace")
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".svg" or text[:500].lstrip().startswith("<svg"):
        return _image("image/svg+xml", head)
    if suffix in (".csv", ".tsv"):
        return _csv(text, "\t" if suffix == ".tsv" else "", whole=_is_whole(head))
    if suffix in (".jsonl", ".ndjson"):
        return _json_lines(text, whole=_is_whole(head))
    if suffix == ".json" and _is_whole(head):
        return tree(formats.load("json", data, {}))
    return _lines(text, head)


def _lines(text: str, head: dict[str, Any]) -> Html:
    shown = "\n".join(text[:_MOST_TEXT].split("\n")[:_MOST_LINES])
    left = "" if len(shown) == len(text) and _is_whole(head) else f"the beginning of {size_text(head['size'])}"
    return joined((pre(escaped(shown, _MOST_TEXT)), note(left) if left else Html("")))


def _csv(text: str, delimiter: str, *, whole: bool) -> Html:
    if not whole:
        text = text[: text.rfind("\n") + 1] or text
    first = text[: text.find("\n")] if "\n" in text else text
    delimiter = delimiter or max(",;\t|", key=first.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names = next(rows, [])
    if not names:
        return note("it is empty")
    shown = list(islice(rows, _ROWS))
    columns = [[row[at] if at < len(row) else "" for row in shown] for at in range(min(len(names), _COLUMNS))]
    total = len(shown) + sum(1 for _ in rows) if whole else None
    return value_table(names, columns, total, len(names))


def _json_lines(text: str, *, whole: bool) -> Html:
    lines = [line for line in text.split("\n") if line.strip()]
    if not whole and lines:
        lines.pop()
    total = note(f"{len(lines):,} lines") if whole else note("the first lines")
    return joined((tree([formats.load("json", line.encode("utf-8", "replace"), {}) for line in lines[:100]]), total))


def _bytes(name: str, head: dict[str, Any]) -> Html:
    data = bytes(head["data"])
    for magic, kind in _IMAGES:
        if data.startswith(magic):
            return _image(kind, head)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _image("image/webp", head)
    if data[:4] == b"PAR1":
        return parquet(head) if _is_whole(head) else note("a Parquet file, too large for a preview")
    if data and formats.guess(name, data[:_MOST_TEXT]) in ("text", "json"):
        return _text(name, head)
    lines = []
    for start in range(0, min(len(data), _MOST_BYTES), 16):
        part = data[start : start + 16]
        seen = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{start:06x}  {part.hex(' '):47}  {seen}")
    left = f"the beginning of {size_text(head['size'])}" if head["size"] > _MOST_BYTES else ""
    return joined((pre(escaped("\n".join(lines), 10_000)), note(left) if left else Html("")))


def _image(kind: str, head: dict[str, Any]) -> Html:
    if head["size"] > _LARGEST_IMAGE or not _is_whole(head):
        return note(f"{kind}, too large for a preview; IPython.display.Image(artifacts.load(...)) shows it")
    return image(kind, bytes(head["data"]))


def _json(name: str, head: dict[str, Any]) -> Html:
    if not _is_whole(head):
        return _lines(bytes(head["data"]).decode("utf-8", "replace"), head)
    return _value(formats.load("json", head["data"], head["details"]))


def _whole_value(name: str, head: dict[str, Any]) -> Html:
    if not _is_whole(head):
        return note("too large for a preview; artifacts.load(...) gives the value")
    return _value(formats.load("codec", head["data"], head["details"]))


def _value(value: Any) -> Html:
    if isinstance(value, dict | list | tuple | set | frozenset):
        return tree(value)
    if hasattr(type(value), "iloc") and hasattr(value, "columns"):
        return frame(value)
    return pre(Html(escaped(clean(short_repr(value, _MOST_TEXT)), 2 * _MOST_TEXT)))
