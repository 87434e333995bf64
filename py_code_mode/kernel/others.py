"""What other clients of a kernel do with it: a person in JupyterLab, or in ``jupyter console``."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from py_code_mode.results import BeginEvent, EndEvent, ExecutionResult, Listener, OutputCollector

from .messages import output_event

if TYPE_CHECKING:
    from .running import RunningKernel

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

Observe = Callable[[str], Listener]
"""Gives what hears of a cell, whose code comes as an argument."""


_PROBE_EVERY = 1.0
"""How often a kernel is asked whether it still works on another client's cell, whose end may be lost. Seconds."""


class OtherClients:
    """Follows the cells that other clients of one kernel run, by what the kernel publishes of them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._cells: dict[str, _Cell | None] = {}
        self._free: asyncio.Future[None] | None = None
        self._observe: Observe | None = None
        self._limit: int | None = None

    def observe(self, observe: Observe, limit: int | None) -> None:
        """Tell of each cell from now on; ``limit`` is for its outputs, bytes, None = all."""
        self._observe, self._limit = observe, limit

    @property
    def busy(self) -> bool:
        """Whether the kernel works on a cell of another client."""
        return bool(self._cells)

    def free(self) -> asyncio.Future[None]:
        """Done when ``busy`` is no longer true."""
        if self._free is None or self._free.done():
            self._free = self._loop.create_future()
            self._settle()
        return self._free

    def on_iopub(self, kind: str, parent: dict[str, Any], content: dict[str, Any]) -> None:
        """Take a message whose ``parent`` header is of another client."""
        if parent.get("msg_type") != "execute_request" or parent.get("subshell_id"):
            return  # only a cell keeps the kernel from running the next
        msg_id = str(parent.get("msg_id"))
        if kind == "status" and content.get("execution_state") == "busy":
            self._cells.setdefault(msg_id, None)
        elif msg_id not in self._cells:
            return  # late output of a cell that is over
        elif kind == "status" and content.get("execution_state") == "idle":
            self._end(msg_id)
        elif kind == "execute_input":
            if self._observe is not None and self._cells[msg_id] is None:
                self._cells[msg_id] = _Cell(self._observe, content, self._limit)
        elif cell := self._cells[msg_id]:
            cell.on_iopub(kind, content)

    def on_probe_reply(self, content: dict[str, Any]) -> None:
        """A kernel that has nothing to do has ended what is still open here."""
        if content.get("running") is None and content.get("idle"):
            self.forget()

    def forget(self, error: str | None = None) -> None:
        """What is still open has lost its end, or by ``error`` its kernel."""
        for msg_id in list(self._cells):
            self._end(msg_id, error)

    def _end(self, msg_id: str, error: str | None = None) -> None:
        if cell := self._cells.pop(msg_id):
            cell.end(error)
        self._settle()

    def _settle(self) -> None:
        if self._free is not None and not self._free.done() and not self._cells:
            self._free.set_result(None)


async def wait_for_others(
    kernel: RunningKernel, interrupted: asyncio.Future[None], timeout: float | None
) -> ExecutionResult | None:
    """Wait while the kernel works for other clients; the result of a run that is not to begin, else None."""
    others, loop = kernel.client.others, asyncio.get_running_loop()
    last = None if timeout is None else loop.time() + timeout
    while others.busy and not kernel.ended:
        if interrupted.done():
            return not_run(None)
        left = _PROBE_EVERY if last is None else min(_PROBE_EVERY, last - loop.time())
        if left <= 0:
            return not_run(timeout)
        either: set[asyncio.Future[None]] = {others.free(), interrupted}
        await asyncio.wait(either, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if others.busy:
            kernel.client.probe(others.on_probe_reply)
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


class _Cell:
    """One cell of another client, whose outputs are collected like those of our own."""

    def __init__(self, observe: Observe, content: dict[str, Any], limit: int | None) -> None:
        code = str(content.get("code", ""))
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._listener = observe(code)
        self._collector = OutputCollector(limit, self._listener)
        count = content.get("execution_count")
        self._fields: dict[str, Any] = {"execution_count": count if isinstance(count, int) else None}
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
