"""What a session did, as a Jupyter notebook (nbformat 4.5)."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from py_code_mode.errors import StorageError
from py_code_mode.results import DisplayEvent, ExecutionResult, StreamEvent
from py_code_mode.storage.disk import replace_file, storage_errors

from .journal import Cell, Journal, merged

_PACE = 20
"""A record is written again after this many times what the last writing took: so it costs a twentieth at most."""


_JSON_KIND = re.compile(r"application/(.*\+)?json")


def spec_name(workspace: str) -> str:
    """The usual name of a kernelspec for a workspace, made from the name of its directory."""
    return re.sub(r"[^a-z0-9._-]+", "-", Path(workspace).name.lower()).strip("._-") or "workspace"


def spec_title(workspace: str) -> str:
    """What people see of it in front ends."""
    return f"{Path(workspace).name or workspace} (py-code-mode)"


def notebook(cells: list[Cell], dropped: int, identity: str, session: str) -> dict[str, Any]:
    """The notebook of ``cells``, the last of a session that had ``dropped`` more, on the workspace ``identity``."""
    workspace = identity.removeprefix("file:")
    made = [_cell(cell) for cell in cells]
    if dropped:
        note = f"*{dropped} earlier cells are not in this notebook: the session keeps the latest only.*"
        made.insert(0, {"cell_type": "markdown", "id": "dropped", "metadata": {}, "source": note})
    return {
        "cells": made,
        "metadata": {
            "kernelspec": {"name": spec_name(workspace), "display_name": spec_title(workspace), "language": "python"},
            "language_info": {"name": "python"},
            "py_code_mode": {"session": session, "workspace": workspace},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def write(path: Path, content: dict[str, Any]) -> Path:
    """Put the notebook at ``path`` in one step; returns the whole path. Raises StorageError."""
    target = path.expanduser().resolve()
    text = _text(content) + "\n"
    with storage_errors("write the notebook", target):
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, text.encode("utf-8", "backslashreplace"))
    return target


def _text(content: Any) -> str:
    try:
        return json.dumps(content, ensure_ascii=False, indent=1, default=str, allow_nan=False)
    except ValueError:  # Python reads NaN in JSON, front ends do not
        return json.dumps(_finite(content), ensure_ascii=False, indent=1, default=str, allow_nan=False)


def _finite(value: Any) -> Any:
    """``value`` with a text in place of each nan and inf."""
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


class Recorder:
    """Keeps a notebook up to date with a journal. Lives on the engine's loop; writes in a thread, never two at once."""

    def __init__(self, path: Path, journal: Journal, make: Callable[[], dict[str, Any]]) -> None:
        self._path = path
        self._make = make
        self._writing: asyncio.Task[None] | None = None
        self._changed = False
        self._pause = 0.0
        self._closing = asyncio.Event()
        self._failed = ""
        journal.on_end = self._on_end

    def _on_end(self, cell: Cell) -> None:
        self._changed = True
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._keep_up())

    async def _keep_up(self) -> None:
        while self._changed:
            try:
                await asyncio.wait_for(self._closing.wait(), self._pause)
            except TimeoutError:
                pass
            self._changed = False
            started = time.monotonic()
            try:
                await asyncio.to_thread(lambda: write(self._path, self._make()))
                self._failed = ""
            except StorageError as error:
                self._failed = str(error)
            except Exception as error:  # noqa: BLE001 - an output that cannot be written must not keep a session open
                self._failed = f"{type(error).__name__}: {error}"
            self._pause = _PACE * (time.monotonic() - started)

    async def close(self) -> str:
        """Write what is not written yet; returns why that failed, "" where it did not."""
        self._closing.set()
        if self._writing is not None:
            await self._writing
        return self._failed


def _cell(cell: Cell) -> dict[str, Any]:
    result = cell.result
    assert result is not None
    outputs = [_output(output, result) for output in merged(cell.outputs)]
    if result.error is not None:
        outputs.append(_error(result))
    about: dict[str, Any] = {"by": cell.by, "execution_time_ms": round(result.execution_time_ms, 3)}
    for flag in ("timed_out", "kernel_restarted", "truncated"):
        if getattr(result, flag):
            about[flag] = True
    metadata: dict[str, Any] = {"py_code_mode": about}
    if cell.began is not None:
        # What JupyterLab itself notes when it is told to record timings.
        metadata["execution"] = {
            "iopub.execute_input": _stamp(cell.began),
            "shell.execute_reply": _stamp(cell.began + timedelta(milliseconds=result.execution_time_ms)),
        }
    return {
        "cell_type": "code",
        "id": f"cell-{cell.number}",
        "execution_count": result.execution_count,
        "metadata": metadata,
        "outputs": outputs,
        "source": cell.code,
    }


def _output(event: StreamEvent | DisplayEvent, result: ExecutionResult) -> dict[str, Any]:
    if isinstance(event, StreamEvent):
        return {"output_type": "stream", "name": event.name, "text": event.text}
    kind = "execute_result" if event.kind == "execute_result" else "display_data"
    data = {name: _item(name, item) for name, item in event.data.items()}
    made: dict[str, Any] = {"output_type": kind, "data": data, "metadata": dict(event.metadata)}
    if kind == "execute_result":
        made["execution_count"] = result.execution_count
    return made


def _item(kind: str, item: Any) -> Any:
    """What stands for ``item``: only JSON's own kinds may be anything but text, or a list of lines."""
    is_text = isinstance(item, str) or (isinstance(item, list) and all(isinstance(line, str) for line in item))
    return item if is_text or _JSON_KIND.fullmatch(kind) else _text(item)


def _error(result: ExecutionResult) -> dict[str, Any]:
    name = result.error_name or "Error"
    message = (result.error or "").removeprefix(f"{name}: ")
    return {
        "output_type": "error",
        "ename": name,
        "evalue": message,
        "traceback": (result.traceback or result.error or "").splitlines(),
    }


def _stamp(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
