"""One cell on one kernel: from the execute_request until its idle, with a deadline and an end in every case."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from kernel_bootstrap import codec
from py_code_mode.results import ExecutionResult, OutputCollector

from .messages import as_count, output_event
from .others import not_run
from .running import RunningKernel

_REPLY_GRACE = 1.0
"""An idle without a reply (an interrupt can swallow it) ends the cell after this, seconds."""

_INTERRUPT_EVERY = 0.25
"""An interrupt is repeated until the cell ends: the code may catch the first ones. Seconds."""

_PROBE_EVERY = 1.0
"""How often a kernel is asked whether it works on the cell that it was given, seconds."""

_IDLE_PROBES = 2
"""A kernel that says so often, in a row, that it has nothing to do has lost the cell."""

_SILENT_PROBES = 12
"""A kernel that so often, in a row, neither begins the cell nor is idle (code of an earlier one blocks it) is lost."""

_WITHDRAW_WAIT = 1.0
"""A kernel that does not say in this time whether a cell has begun works on another one. Seconds."""

_DRAIN_LIMIT = 1.0
"""What a dead kernel had sent is read within this, seconds."""


class Execution:
    """Runs ``code`` on ``kernel``; ``run`` gives the result, and leaves the kernel idle or ended.

    ``timeout`` counts from the cell's own busy, seconds, None = no limit; behind cells of other clients it has to
    begin until the loop's time is ``begin_by``. ``grace`` is how long an interrupted cell
    may take to end before its kernel is killed, seconds. ``after_restart`` tells that the kernel is a new one.
    """

    def __init__(
        self,
        kernel: RunningKernel,
        code: str,
        collector: OutputCollector,
        *,
        timeout: float | None,
        begin_by: float,
        grace: float,
        max_value_bytes: int | None,
        max_output_bytes: int | None,
        after_restart: bool = False,
    ) -> None:
        self._kernel = kernel
        self._loop = asyncio.get_running_loop()
        self._code = code
        self._collector = collector
        self._others = kernel.client.others
        self._timeout = timeout
        self._begin_by = begin_by
        self._grace = grace
        self._after_restart = after_restart
        self._value_buffers: Sequence[Any] = ()
        self._reply: dict[str, Any] | None = None
        self._begun: float | None = None
        self._idle: float | None = None
        self._stopping: float | None = None
        self._next_interrupt = 0.0
        self._stack = ""
        self._idle_probes = 0
        self._silent_probes = 0
        self._wake: asyncio.Future[None] | None = None
        self.timed_out = False
        self.interrupted = False
        self.lost = False
        self.mute = False
        self.withdrawn = False
        self.aborted = False
        self._told = False
        self._overtaken = False
        self._sent = self._loop.time()
        self._next_probe = self._loop.time() + _PROBE_EVERY
        asked = {"limit": max_value_bytes, "output_limit": max_output_bytes, "accepts": sorted(codec.accepted())}
        self.msg_id = kernel.client.execute(code, self, {"py_code_mode": asked})
        kernel.link.on_begun(self.msg_id, self._on_code)
        kernel.on_end(self._rouse)
        self._others.on_busy = self._rouse

    # -- what comes in ----------------------------------------------------------------------------------

    def on_iopub(self, kind: str, content: dict[str, Any], buffers: Sequence[Any]) -> None:
        """Take an iopub message of this cell."""
        self._idle_probes = 0  # of what it has sent, more may be under way
        if event := output_event(kind, content):
            self._collector.add(event)
        elif kind == "py_code_mode_value":
            self._value_buffers = buffers
        elif kind == "execute_input":
            self._on_code()
        elif kind == "status":
            self._on_status(content.get("execution_state"))

    def _on_status(self, state: Any) -> None:
        if state == "busy":
            self._others.forget()  # one thing at a time: they have ended before
            self._on_begun()
        elif state == "idle":
            self._idle = self._loop.time()
            self._rouse()

    def on_reply(self, content: dict[str, Any]) -> None:
        """Take the execute_reply."""
        self._reply = content
        # A cell of another client that failed has taken this one with it, unread.
        self.aborted = content.get("status") == "aborted"
        self._rouse()

    def interrupt(self) -> None:
        """End the cell: at once where it runs, when it begins where it does not yet."""
        self.interrupted = True
        self._stop()
        self._rouse()

    # -- the run ----------------------------------------------------------------------------------------

    async def run(self) -> ExecutionResult:
        """Wait for the end. A cancelled run interrupts its cell first, then the cancellation goes on."""
        try:
            try:
                await self._until_over()
            except asyncio.CancelledError:
                self.interrupt()
                await self._until_over()
                raise
            return await self._result()
        finally:
            self._others.on_busy = None
            self._kernel.forget_end(self._rouse)
            self._kernel.client.forget(self.msg_id)
            self._kernel.link.forget_cell(self.msg_id)

    async def _until_over(self) -> None:
        while not self._kernel.ended:
            now = self._loop.time()
            if self._idle is not None:
                if self._reply is not None:
                    return
                if now >= self._idle + _REPLY_GRACE:
                    if self._stopping is not None:
                        return  # an interrupt can swallow the reply
                    self.mute = True
                    break
                await self._sleep(self._idle + _REPLY_GRACE)
                continue
            if self._stopping is None and now >= self._deadline():
                if self._waits_for_others():
                    if not await self._withdraw():
                        continue  # it has begun, and has its time from now on
                    self.timed_out = True
                    return
                self.timed_out = True
                self._stop()
            if self._stopping is not None and self._waits_for_others() and await self._withdraw():
                return
            if self._stopping is not None:
                if now >= self._stopping + self._grace:
                    break
                await self._sleep(self._interrupt_again(now))
            else:
                if now >= self._next_probe:
                    self._probe(now)
                if self.lost:
                    break
                await self._sleep(min(self._deadline(), self._next_probe))
        if not self._kernel.ended:
            await self._kernel.kill()
        await self._kernel.client.drain(_DRAIN_LIMIT)

    def _deadline(self) -> float:
        if self._timeout is None:
            return math.inf
        if self._begun is not None:
            return self._begun + self._timeout
        return self._begin_by if self._waits_for_others() else math.inf

    def _waits_for_others(self) -> bool:
        """Whether another client's cells, which are not ours to end, have come in between."""
        self._overtaken = self._overtaken or self._others.busy
        return self._begun is None and self._overtaken

    async def _withdraw(self) -> bool:
        """See to it that the cell will not run; False if it has begun all the same."""
        begun = await self._kernel.client.withdraw(self.msg_id, _WITHDRAW_WAIT)
        if begun is None:
            begun = self._begun is not None
        if not begun:
            self.withdrawn = True
            return True
        self._on_begun()
        return False

    def _stop(self) -> None:
        if self._stopping is None:
            self._stopping = self._next_interrupt = self._loop.time()
            self._kernel.link.cancel_cell(self.msg_id)

    def _interrupt_again(self, now: float) -> float:
        """Interrupt when it is time to; returns when to look again."""
        assert self._stopping is not None
        if now >= self._next_interrupt:
            self._next_interrupt = now + _INTERRUPT_EVERY
            self._kernel.client.interrupt(self.msg_id, self._on_interrupt_reply)
        last = self._stopping + self._grace
        if not self._stack and now >= last - self._grace / 2:
            # No word from its Python side: a C call holds the GIL. faulthandler does not need it.
            self._kernel.request_stack()
        return min(self._next_interrupt, last)

    def _on_interrupt_reply(self, content: dict[str, Any]) -> None:
        self._stack = self._stack or str(content.get("stack") or "")

    def _probe(self, now: float) -> None:
        """Ask whether the kernel works on this cell; ``lost`` when it does not, or not even begins."""
        self._next_probe = now + _PROBE_EVERY
        if self._begun is None and not self._others.busy:
            self._silent_probes += 1
        self.lost = self._idle_probes >= _IDLE_PROBES or self._silent_probes > _SILENT_PROBES
        if not self.lost:
            take = self._others.on_probe()
            self._kernel.client.probe(lambda content: self._on_probe_reply(content, take))

    def _on_probe_reply(self, content: dict[str, Any], take: Callable[[dict[str, Any]], None]) -> None:
        take(content)
        running = content.get("running")
        if running is None and content.get("idle"):
            self._idle_probes += 1
            return
        self._idle_probes = 0
        if running == self.msg_id:
            self._on_begun()  # its busy may have been lost
        elif running is not None:
            self._overtaken = True
            self._silent_probes = 0  # it works
            self._rouse()

    def _on_begun(self) -> None:
        if self._begun is None:
            self._begun = self._loop.time()
            self._rouse()

    def _on_code(self) -> None:
        """The kernel has come to the code itself; it may be busy with refusing it."""
        self._on_begun()
        if not self._told:
            self._told = True
            self._collector.begin(self._code)

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _sleep(self, until: float) -> None:
        """Until something happens, or the loop's time is ``until``."""
        self._wake = self._loop.create_future()
        timer = self._loop.call_at(until, self._rouse) if until < math.inf else None
        try:
            await self._wake
        finally:
            self._wake = None
            if timer is not None:
                timer.cancel()

    # -- the result -------------------------------------------------------------------------------------

    async def _result(self) -> ExecutionResult:
        if self.withdrawn:
            return not_run(self._timeout if self.timed_out else None)
        fields = self._collector.finish()
        reply = self._reply or {}
        extra = self._extra(reply)
        fields["execution_time_ms"] = self._elapsed(extra)
        fields["execution_count"] = as_count(reply.get("execution_count"))
        self._stack = self._stack or str(extra.get("stack") or "")
        if isinstance(extra.get("value"), dict):
            await self._take_value(extra["value"], fields)
        fields["truncated"] |= bool(extra.get("output_truncated"))
        error = extra.get("error")
        if isinstance(error, dict):
            name, message = str(error.get("name")), str(error.get("message"))
            fields["error_name"] = name
            fields["error"] = f"{name}: {message}" if message else name
            fields["traceback"] = str(error.get("traceback") or fields["error"])
        fields |= self._how_it_ended(reply)
        return ExecutionResult(**fields)

    def _extra(self, reply: dict[str, Any]) -> dict[str, Any]:
        try:
            extra = json.loads(reply.get("py_code_mode", "{}"))
        except (TypeError, ValueError, RecursionError):
            return {}
        return extra if isinstance(extra, dict) else {}

    def _elapsed(self, extra: dict[str, Any]) -> float:
        seconds = extra.get("seconds")
        if isinstance(seconds, float) and 0 <= seconds <= self._loop.time() - self._sent:
            return seconds * 1000  # code can have changed the kernel's clock
        return (self._loop.time() - self._begun) * 1000 if self._begun is not None else 0.0

    async def _take_value(self, sent: dict[str, Any], fields: dict[str, Any]) -> None:
        try:
            if sent.get("buffers"):
                value = await asyncio.to_thread(codec.decode, sent.get("tree"), self._value_buffers)
            else:
                value = codec.decode(sent.get("tree"), ())
        except codec.CodecError as error:
            fields |= {"error_name": "CodecError", "error": f"CodecError: the value cannot be read: {error}"}
            return
        fields["value"] = value
        fields["value_is_repr"] = bool(sent.get("is_repr"))
        fields["truncated"] |= bool(sent.get("truncated"))

    def _how_it_ended(self, reply: dict[str, Any]) -> dict[str, Any]:
        """The fields that say so where the end was not the code's own."""
        died = self._kernel.ended
        fields: dict[str, Any] = {"kernel_restarted": died or self._after_restart, "timed_out": self.timed_out}
        if self.timed_out:
            name, text = "TimeoutError", f"the code ran longer than {self._timeout:g} s and was interrupted"
            text += "; it did not react, so its kernel was restarted" if died else ""
        elif self.interrupted and (died or reply.get("status") != "ok"):
            name, text = "KeyboardInterrupt", "the run was interrupted"
            text += "; the code did not react, so its kernel was restarted" if died else ""
        elif self.lost:
            name, text = "KernelDiedError", "the kernel stopped answering and was restarted; "
            text += "the code may have damaged it" if self._begun is not None else "the code was not run"
            fields["kernel_died"] = True
        elif self.mute:
            name, text = "KernelDiedError", "the kernel ended the code without an answer and was restarted; "
            text += "the code may have damaged it"
            fields["kernel_died"] = True
        elif died:
            how = self._kernel.describe_end()
            told = (
                f"the code ended its kernel: {how}",
                f"the kernel ended before the code began ({how}); it was not run",
            )
            name, text = "KernelDiedError", told[self._begun is None]
            fields["kernel_died"] = True
        elif not reply:
            name, text = "KernelError", "the kernel ended the cell without a reply"
        else:
            return fields
        fields |= {"error_name": name, "error": f"{name}: {text}"}
        stack = self._stack or (self._kernel.last_stack() if died else "")
        fields["traceback"] = f"{name}: {text}" + (f"\nIt stood at (most recent call last):\n{stack}" if stack else "")
        return fields
