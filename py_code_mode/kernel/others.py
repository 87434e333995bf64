"""What other clients of a kernel do with it: a person in JupyterLab, or in ``jupyter console``."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from py_code_mode.results import BeginEvent, EndEvent, ExecutionResult, Listener, OutputCollector

from .messages import as_count, output_event

if TYPE_CHECKING:
    from .running import RunningKernel

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

Observe = Callable[[str], Listener]
"""Gives what hears of a cell, whose code comes as an argument."""


_PROBE_EVERY = 1.0
"""How often a kernel is asked whether it still works on another client's cell, whose end may be lost. Seconds."""

_IDLE_PROBES = 2
"""A kernel that says so often, in a row, that it has nothing to do has ended what it was asked."""

_REMEMBERED = 1000
"""Of what is over: the news of its beginning may come after that of its end."""

_CELL = "execute_request"
_KINDS = (_CELL, "comm_open", "comm_msg", "comm_close", "complete_request", "inspect_request")
"""What runs code of users, and so can keep the kernel for long from running the next cell."""


class OtherClients:
    """Follows what other clients have one kernel do, by what the kernel publishes of it.

    A kernel does one thing at a time, so that what is open here stays a few entries, whatever code publishes.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._open: dict[str, _Asked] = {}
        self._ended: deque[str] = deque(maxlen=_REMEMBERED)
        self.on_busy: Callable[[], None] | None = None
        """Called when the kernel begins to work for another client."""
        self._free: asyncio.Future[None] | None = None
        self._observe: Observe | None = None
        self._limit: int | None = None

    def observe(self, observe: Observe, limit: int | None) -> None:
        """Tell of each cell from now on; ``limit`` is for its outputs, bytes, None = all."""
        self._observe, self._limit = observe, limit

    @property
    def busy(self) -> bool:
        """Whether the kernel works for another client."""
        return bool(self._open)

    def free(self) -> asyncio.Future[None]:
        """Done when ``busy`` is no longer true."""
        if self._free is None or self._free.done():
            self._free = self._loop.create_future()
            self._settle()
        return self._free

    def on_iopub(self, kind: str, parent: dict[str, Any], content: dict[str, Any]) -> None:
        """Take a message whose ``parent`` header is of another client."""
        asked = parent.get("msg_type")
        if asked not in _KINDS or parent.get("subshell_id"):
            return
        msg_id = str(parent.get("msg_id"))
        if kind == "status" and content.get("execution_state") == "busy":
            self._begin(msg_id, is_cell=asked == _CELL)
            return
        found = self._open.get(msg_id)
        if found is None:
            return  # late output of a cell that is over
        found.idle_probes = 0  # of what the kernel has sent, more may be under way
        if kind == "status" and content.get("execution_state") == "idle":
            self._end(msg_id)
        elif found.is_cell and kind == "execute_input":
            if self._observe is not None and found.cell is None:
                found.cell = _Cell(self._observe, content, self._limit)
        elif found.cell is not None:
            found.cell.on_iopub(kind, content)

    def on_begun(self, msg_id: str) -> None:
        """The kernel has begun a cell, by a way on which its end may have been overtaken."""
        if msg_id not in self._ended:
            self._begin(msg_id, is_cell=True)

    def on_probe(self) -> Callable[[dict[str, Any]], None]:
        """What takes the answer to a probe that is sent now: a kernel that is idle then has ended what is open now."""
        asked = tuple(self._open)

        def take(content: dict[str, Any]) -> None:
            is_idle = content.get("running") is None and content.get("idle")
            for msg_id in asked:
                if (found := self._open.get(msg_id)) is not None:
                    found.idle_probes = found.idle_probes + 1 if is_idle else 0
                    if found.idle_probes >= _IDLE_PROBES:
                        self._end(msg_id)

        return take

    def forget(self, error: str | None = None) -> None:
        """What is still open has lost its end, or by ``error`` its kernel."""
        for msg_id in list(self._open):
            self._end(msg_id, error)

    def _begin(self, msg_id: str, is_cell: bool) -> None:
        for other, found in list(self._open.items()):
            # A message to a widget may be handled beside a cell, in a subshell; two cells never run at once.
            if other != msg_id and (is_cell or not found.is_cell):
                self._end(other)
        self._open.setdefault(msg_id, _Asked(is_cell))
        if self.on_busy is not None:
            self.on_busy()

    def _end(self, msg_id: str, error: str | None = None) -> None:
        self._ended.append(msg_id)
        if cell := self._open.pop(msg_id).cell:
            cell.end(error)
        self._settle()

    def _settle(self) -> None:
        if self._free is not None and not self._free.done() and not self._open:
            self._free.set_result(None)


async def wait_for_others(
    kernel: RunningKernel, interrupted: asyncio.Future[None], timeout: float | None, begin_by: float
) -> ExecutionResult | None:
    """Wait while the kernel works for other clients, until the loop's time is ``begin_by`` at the latest.

    Returns the result of a run that is not to begin, else None. ``timeout`` is what its text says, seconds.
    """
    others, loop = kernel.client.others, asyncio.get_running_loop()
    while others.busy and not kernel.ended:
        if interrupted.done():
            return not_run(None)
        left = min(_PROBE_EVERY, begin_by - loop.time())
        if left <= 0:
            return not_run(timeout)
        either: set[asyncio.Future[None]] = {others.free(), interrupted}
        await asyncio.wait(either, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if others.busy:
            kernel.client.probe(others.on_probe())
    return None


def not_run(timeout: float | None) -> ExecutionResult:
    """The result of code that waited for another client's for ``timeout`` seconds; None = until it was interrupted."""
    if timeout is None:
        name, text = "KeyboardInterrupt", "the run was interrupted before it began: it waited for another client's code"
    else:
        name = "TimeoutError"
        text = f"another client's code has kept the kernel busy for {timeout:g} s; this code was not run"
    error = f"{name}: {text}"
    return ExecutionResult(error=error, error_name=name, traceback=error, timed_out=timeout is not None)


@dataclass(slots=True)
class _Asked:
    """Something that another client has asked for, and that is not over."""

    is_cell: bool
    cell: _Cell | None = None
    """Of a cell that somebody wants to hear of."""
    idle_probes: int = 0


class _Cell:
    """One cell of another client, whose outputs are collected like those of our own."""

    def __init__(self, observe: Observe, content: dict[str, Any], limit: int | None) -> None:
        code = str(content.get("code", ""))
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._listener = observe(code)
        self._collector = OutputCollector(limit, self._listener)
        self._fields: dict[str, Any] = {"execution_count": as_count(content.get("execution_count"))}
        self._listener(BeginEvent(code))

    def on_iopub(self, kind: str, content: dict[str, Any]) -> None:
        if kind == "error":
            name, message = str(content.get("ename")), str(content.get("evalue"))
            lines = content.get("traceback")
            text = "\n".join(map(str, lines)) if isinstance(lines, list) else ""
            self._fields["error_name"] = name
            self._fields["error"] = f"{name}: {message}" if message else name
            self._fields["traceback"] = _COLOURS.sub("", text) or self._fields["error"]
        elif event := output_event(kind, content):
            self._collector.add(event)

    def end(self, error: str | None) -> None:
        if error is not None:
            self._fields |= {"error": error, "error_name": error.partition(":")[0], "traceback": error}
        elapsed = (self._loop.time() - self._began) * 1000
        fields = self._collector.finish() | self._fields
        self._listener(EndEvent(ExecutionResult(execution_time_ms=elapsed, **fields)))
