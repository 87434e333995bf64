"""Rich outputs without IPython: ``display``, ``clear_output`` and the value of a run as MIME bundles."""

from __future__ import annotations

import base64
import itertools
import uuid
from collections.abc import Mapping
from typing import Any

from kernel_bootstrap import tracebacks
from py_code_mode.results import ClearEvent, DisplayEvent

from .cell import current

_METHODS = {
    "text/html": "_repr_html_",
    "text/markdown": "_repr_markdown_",
    "image/svg+xml": "_repr_svg_",
    "image/png": "_repr_png_",
    "image/jpeg": "_repr_jpeg_",
    "application/pdf": "_repr_pdf_",
    "text/latex": "_repr_latex_",
    "application/json": "_repr_json_",
    "application/javascript": "_repr_javascript_",
}
_MOST_TEXT = 100_000
_MOST_ITEMS = 1_000


class DisplayHandle:
    """What ``display(..., display_id=...)`` gives: ``update`` puts something else in its place."""

    def __init__(self, display_id: str) -> None:
        self.display_id = display_id

    def display(self, value: Any, **options: Any) -> None:
        """Show ``value`` under this id."""
        display(value, display_id=self.display_id, **options)

    def update(self, value: Any, **options: Any) -> None:
        """Replace what is shown under this id."""
        display(value, display_id=self.display_id, update=True, **options)

    def __repr__(self) -> str:
        return f"<DisplayHandle display_id={self.display_id}>"


def display(
    *values: Any,
    metadata: Mapping[str, Any] | None = None,
    display_id: str | bool | None = None,
    raw: bool = False,
    clear: bool = False,
    update: bool = False,
) -> DisplayHandle | None:
    """Show each of ``values`` in the richest way it knows.

    ``raw`` says that they are MIME bundles already. ``display_id`` (True: a new one) names the output, so
    that it can be replaced: by the handle that is returned, or with ``update=True``. ``clear`` removes
    earlier outputs first.
    """
    if clear:
        clear_output(wait=True)
    if update and display_id in (None, False, True):
        raise TypeError("display(update=True) needs the display_id of what is to be replaced")
    name = uuid.uuid4().hex if display_id is True else display_id or None
    kind = "update_display_data" if update else "display_data"
    for value in values:
        data, notes = (dict(value), {}) if raw else bundle(value)
        _emit(DisplayEvent(kind, data, {**notes, **(metadata or {})}, name))
    return None if name is None or update else DisplayHandle(name)


def clear_output(wait: bool = False) -> None:
    """Remove what was shown; ``wait``: only when the next output comes."""
    _emit(ClearEvent(bool(wait)))


def show_value(value: Any) -> None:
    """Show the value of a run."""
    data, notes = bundle(value)
    _emit(DisplayEvent("execute_result", data, notes))


def bundle(value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """``value`` by MIME type, and the metadata. A representation that fails is left out."""
    data: dict[str, Any] = {"text/plain": plain(value)}
    notes: dict[str, Any] = {}
    if isinstance(value, type):
        return data, notes
    own = _call(value, "_repr_mimebundle_", include=None, exclude=None)
    if isinstance(own, tuple) and len(own) == 2:
        own, its_notes = own
        notes.update(its_notes or {})
    if isinstance(own, Mapping):
        data.update(own)
    for kind, method in _METHODS.items():
        if kind in data:
            continue
        found = _call(value, method)
        if isinstance(found, tuple) and len(found) == 2:
            found, notes[kind] = found
        if found is not None:
            data[kind] = found
    return {kind: _content(item) for kind, item in data.items()}, notes


def plain(value: Any) -> str:
    """The repr, of bounded length; of a long container only the first items are looked at."""
    try:
        if type(value) in (str, bytes, bytearray) and len(value) > _MOST_TEXT:
            return f"{value[:_MOST_TEXT]!r}… [{len(value)} in all]"
        if type(value) in (list, tuple, set, frozenset, dict) and len(value) > _MOST_ITEMS:
            first = itertools.islice(value.items() if type(value) is dict else value, _MOST_ITEMS)
            made = repr(dict(first)) if type(value) is dict else repr(type(value)(first))
            text = f"{made}… [{len(value)} in all]"
        else:
            text = repr(value)
    except Exception as error:  # noqa: BLE001 - a __repr__ can raise anything
        if type(value) is int:  # more digits than sys.get_int_max_str_digits()
            return f"<int of {value.bit_length()} bits>"
        reason = f"{type(error).__name__}: {tracebacks.message(error)}"
        return f"<{type(value).__name__}, whose repr failed: {reason}>"
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}… [{len(text)} characters]"


def _call(value: Any, method: str, **options: Any) -> Any:
    try:
        # On the class: an object that makes up attributes (a mock, a proxy) has none of these.
        found = getattr(value, method) if hasattr(type(value), method) else None
        return found(**options) if callable(found) else None
    except Exception:  # noqa: BLE001 - the other representations still do
        return None


def _content(item: Any) -> Any:
    return base64.b64encode(item).decode("ascii") if isinstance(item, bytes | bytearray) else item


def _emit(event: DisplayEvent | ClearEvent) -> None:
    cell = current.get()
    if cell is not None:
        cell.emit(event)
