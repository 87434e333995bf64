"""Jupyter's messages about output, as events. What a kernel sends need not be what it should be."""

from __future__ import annotations

from typing import Any

from py_code_mode.results import ClearEvent, DisplayEvent, StreamEvent


def output_event(kind: str, content: dict[str, Any]) -> StreamEvent | DisplayEvent | ClearEvent | None:
    """The event of an iopub message of type ``kind``; None for what is no output."""
    if kind == "stream":
        return StreamEvent("stderr" if content.get("name") == "stderr" else "stdout", str(content.get("text", "")))
    if kind in ("display_data", "execute_result", "update_display_data"):
        display_id = as_dict(content.get("transient")).get("display_id")
        data, metadata = as_dict(content.get("data")), as_dict(content.get("metadata"))
        return DisplayEvent(kind, data, metadata, None if display_id is None else str(display_id))
    if kind == "clear_output":
        return ClearEvent(bool(content.get("wait")))
    return None


def as_dict(value: Any) -> dict[str, Any]:
    """``value`` where it is a dict, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_count(value: Any) -> int | None:
    """``value`` where it can be the number of a cell, else None."""
    return value if type(value) is int and value >= 0 else None
