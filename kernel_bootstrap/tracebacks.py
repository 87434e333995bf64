"""Tracebacks as plain text: the frames of the user's code, without the kernel's own."""

from __future__ import annotations

import asyncio
import threading
import traceback
from itertools import dropwhile
from types import FrameType, TracebackType
from typing import Any

_HIDDEN = (
    "/IPython/",
    "/ipykernel/",
    "/kernel_bootstrap/",
    "/py_code_mode/inprocess/",
    "/py_code_mode/host/",
    "/tornado/",
    "/asyncio/base_events.py",
    "/asyncio/events.py",
    "/selectors.py",
    "<frozen runpy>",
    "<interrupt>",
)
_MOST_TEXT = 200_000


def plain(error: BaseException, tb: TracebackType | None) -> str:
    """The traceback of ``error`` as ``python`` would print it; bounded, and it never raises."""
    try:
        made = traceback.TracebackException(type(error), error, tb, compact=True)
        seen: set[int] = set()
        _hide(made, seen)
        text = "".join(made.format()).rstrip("\n")
    except Exception as failure:  # noqa: BLE001 - a broken exception must not break its report
        text = f"{type(error).__name__}: (its traceback cannot be shown: {type(failure).__name__})"
    if len(text) > _MOST_TEXT:
        half = _MOST_TEXT // 2
        text = f"{text[:half]}\n… [{len(text) - _MOST_TEXT} characters left out] …\n{text[-half:]}"
    return text


def of_user(tb: TracebackType | None) -> TracebackType | None:
    """``tb`` without the frames that ``plain`` leaves out; ``tb`` where there are no others."""
    entries = []
    entry = tb
    while entry is not None:
        entries.append(entry)
        entry = entry.tb_next
    made: TracebackType | None = None
    for entry in reversed(entries):
        if not _is_hidden(entry.tb_frame.f_code.co_filename):
            made = TracebackType(made, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return made or tb


def message(error: BaseException) -> str:
    """``str(error)``, whatever that does."""
    try:
        text = str(error)
    except Exception as failure:  # noqa: BLE001 - a broken exception must not break its report
        return f"(str() of the {type(error).__name__} failed: {type(failure).__name__})"
    return text if len(text) <= _MOST_TEXT else text[:_MOST_TEXT] + "…"


def stack(frame: FrameType | None, task: asyncio.Task[Any] | None) -> str:
    """Where running code stands, outermost call first: the user's frames of a thread, and of a task it waits for.

    ``task`` is what the kernel's own loop waits for, None when it runs code that cannot wait there.
    """
    # Every thread but the main one begins in threading.py.
    parts = dropwhile(lambda part: part.filename == threading.__file__, traceback.extract_stack(frame))
    found = [part for part in parts if not _is_hidden(part.filename)]
    waiting = _waits_for(frame)
    if waiting is None and not found:
        waiting = task
    if waiting is not None:
        found += [part for part in _suspended(waiting.get_coro()) if not _is_hidden(part.filename)]
    return "".join(traceback.format_list(found)).rstrip("\n")


def _waits_for(frame: FrameType | None) -> asyncio.Task[Any] | None:
    """The task of the innermost event loop, when that loop is all that the thread is in."""
    while frame is not None and _is_hidden(frame.f_code.co_filename):
        if frame.f_code.co_name == "run_until_complete":
            future = frame.f_locals.get("future")
            return future if isinstance(future, asyncio.Task) else None
        frame = frame.f_back
    return None


def _suspended(coroutine: Any) -> list[traceback.FrameSummary]:
    """The frames of a coroutine that waits, outermost first."""
    found: list[traceback.FrameSummary] = []
    while coroutine is not None:
        if frame := getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None):
            found += traceback.extract_stack(frame, limit=1)
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return found


def _is_hidden(filename: str) -> bool:
    return any(part in filename for part in _HIDDEN)


def _hide(made: traceback.TracebackException, seen: set[int]) -> None:
    if id(made) in seen:
        return
    seen.add(id(made))
    made.stack[:] = [frame for frame in made.stack if not _is_hidden(frame.filename)]
    for other in (made.__cause__, made.__context__, *(getattr(made, "exceptions", None) or ())):
        if other is not None:
            _hide(other, seen)
