"""The kernel of a session: ipykernel's, with the namespaces, whole values and exact interrupts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import time
from typing import Any, ClassVar

import zmq
from ipykernel.ipkernel import IPythonKernel
from IPython.core.error import StdinNotImplementedError
from traitlets import Type

from . import codec, identity, look, namespaces, tracebacks
from .interrupts import Interrupts
from .link import ZmqLink
from .loops import PlainAwait
from .repair import Repair
from .shell import CellCompiler, CellShell
from .streams import attribute_threads, flush_before_exit, has_children
from .wire import PROTOCOL_VERSION

EXTRA = "py_code_mode"
"""The key of our additions: in the metadata of an execute_request, and in the content of its reply."""

VALUE_MESSAGE = "py_code_mode_value"
"""The iopub message that carries a value with binary buffers; sent before the idle of its cell."""

_REPEAT_AFTER, _REPEATS = 0.02, 10
"""An interrupt that the code has not noticed after so many seconds is repeated, and how often. Front ends send one."""

_LONGEST_LINE, _MOST_CODE = 200, 10_000
"""Characters of a running cell's first line that are told, and where that line is looked for."""


class CodeModeKernel(IPythonKernel):
    """One kernel; made and started by ``app.CodeModeApp``."""

    implementation = "py-code-mode"
    shell_class = Type(CellShell)
    compiler_class = Type(CellCompiler)
    msg_types: ClassVar[list[str]] = [*IPythonKernel.msg_types, "identity_request", "look_request"]  # type: ignore[misc]
    awaits_identity = False
    initial_names: frozenset[str] = frozenset()
    # ipykernel waits this long after each cell "to help output synchronisation"; our io thread keeps the order.
    _execute_sleep = 0.0

    def prepare(self, link: dict[str, Any], loop: asyncio.AbstractEventLoop) -> None:
        """Open the link, put the namespaces in, and remember what a sound kernel looks like."""
        self.link = ZmqLink(link["endpoint"], link["key"], self.current_cell)
        names = namespaces.build(self.link)
        self.interrupts = Interrupts(loop, self.shell.user_ns)
        self.shell.interrupts = self.interrupts
        self.shell.ast_transformers.append(PlainAwait())
        self.shell.push(names, interactive=False)
        self.shell.user_ns_hidden.update(names)
        attribute_threads(self._capture_cell, self._enter_cell, self._leave_cell)
        flush_before_exit(self.flush_before_exit)
        self._repair = Repair(loop, self.shell, names)
        self._displays = self.shell.display_pub
        for stream in self._repair.streams:
            stream.in_user_code = self.interrupts.is_open
        self._request: dict[str, Any] = {}
        self._asked: dict[str, Any] | None = None
        self._began = 0.0
        self._stack = ""
        self.stopping = False
        self.interrupts.install()
        self.link.request("hello", protocol=PROTOCOL_VERSION, python=sys.version.split()[0], pid=os.getpid())

    def do_shutdown(self, restart: bool) -> dict[str, Any]:
        self.stopping = True
        return dict(super().do_shutdown(restart))

    async def _progressively_terminate_all_children(self) -> None:
        # ipykernel asks again and again, and a child that has ended counts until somebody reaps it. Whatever is left
        # after this process the supervisor ends, in an instant.
        if has_children():
            self._signal_children(signal.SIGTERM)

    async def identity_request(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        """Make a spare kernel that of a workspace; once, and before it runs any code."""
        content: dict[str, Any] = {"status": "ok"}
        try:
            if not self.awaits_identity:
                raise PermissionError("this kernel has its identity")
            own = {name: value for name, value in os.environ.items() if name not in self.initial_names}
            identity.assume(parent["content"])
            self.shell.init_environment()
            for name, value in own.items():
                os.environ.setdefault(name, value)  # such as MPLBACKEND
            self.awaits_identity = False
        except Exception as error:  # noqa: BLE001 - the host has to hear of it
            content = {"status": "error", "message": f"{type(error).__name__}: {error}"}
        self.session.send(stream, "identity_reply", content, parent, ident=ident)

    async def warm_up(self) -> None:
        """Run an empty cell, which leaves no trace: the first one of a forked process copies the memory it touches."""
        await self.do_execute("None", silent=True, store_history=False)
        codec.encode(0, limit=None, accepts=frozenset())

    # -- cells ------------------------------------------------------------------------------------------

    def current_cell(self) -> str:
        """The msg_id of the request that the calling thread or task works for, or ""."""
        return str(self.get_parent("shell").get("header", {}).get("msg_id", ""))

    def set_parent(self, ident: Any, parent: dict[str, Any], channel: str = "shell") -> None:
        # The first thing that happens to a request: what it needs has to be whole by now.
        if channel == "shell" and threading.get_ident() == self.interrupts.main_thread:
            self._repair.before_cell()
        super().set_parent(ident, parent, channel)

    def _publish_status(self, status: str, channel: str, parent: Any = None) -> None:
        if status == "busy" and channel == "shell" and self._shows_its_input():
            with self.iopub_thread.unhurried():
                super()._publish_status(status, channel, parent)
        else:
            super()._publish_status(status, channel, parent)

    def _shows_its_input(self) -> bool:
        """Whether the next thing that the request publishes is its execute_input, in no time."""
        request = self.get_parent("shell")
        return (
            not self._in_subshell()
            and request["header"]["msg_type"] == "execute_request"
            and not request["content"].get("silent", False)
        )

    def _in_subshell(self) -> bool:
        return threading.get_ident() != self.interrupts.main_thread

    async def look_request(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        """Tell about one variable (``name``), or about the first ``limit``; a client asks in a subshell."""
        asked, shell = parent["content"], self.shell
        content: dict[str, Any] = {"status": "ok"}
        try:
            if asked.get("name") is not None:
                content["found"] = look.inspect_name(shell.user_ns, asked["name"])
            else:
                content["found"] = look.variables(shell.user_ns, shell.user_ns_hidden, asked["limit"])
        except look.LookError as error:
            content = {"status": "error", "message": str(error)}
        self.session.send(stream, "look_reply", content, parent, ident=ident)

    async def execute_request(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        if self._in_subshell():
            await super().execute_request(stream, ident, parent)
            return
        self._request = parent
        asked = parent.get("metadata", {}).get(EXTRA)
        self._asked = asked if isinstance(asked, dict) else None
        limit = (self._asked or {}).get("output_limit")
        for output in self._repair.streams:
            output.begin_cell(parent["header"], limit)
        shown = self._displays
        shown.limit, shown.room, shown.truncated = limit, limit, False
        self._began = time.monotonic()
        self.interrupts.begin(parent["header"]["msg_id"])
        # The busy may never leave: the io thread that sends it needs the GIL, which the code can hold for ever.
        self.link.begin(parent["header"]["msg_id"], other=self._asked is None)
        try:
            await super().execute_request(stream, ident, parent)
        finally:
            self.interrupts.end()

    async def do_execute(self, code: str, silent: bool, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if self._in_subshell():
            return dict(await super().do_execute(code, silent, *args, **kwargs))
        self._stack = ""
        self.shell.plain_errors = self._asked is not None
        self.shell.plain_traceback = ""
        self.shell.error = None
        # ipykernel forgets an error in a repr only where the next cell has no await, and would fail that cell for it.
        self.shell._last_traceback = None
        self.shell._last_traceback_during_displayhook = False
        started = time.perf_counter()
        try:
            reply: dict[str, Any] = await super().do_execute(code, silent, *args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - a request without a reply would hang its client
            reply = self._error_reply(self.shell.error or error)
        elapsed = time.perf_counter() - started
        if self._asked is not None:
            reply[EXTRA] = json.dumps(self._extra(reply, self._asked, elapsed))
        if reply["status"] == "error" and not silent:
            self._abort_what_waits()
        return reply

    def _abort_what_waits(self) -> None:
        """Refuse the requests that are queued behind a failed cell, but none that its client sends upon the reply."""
        parent = self.get_parent("shell")
        if not parent["content"].get("stop_on_error", True):
            return
        subshell, thread, stream = parent["header"].get("subshell_id"), self.shell_channel_thread, self.shell_stream
        if subshell is None:
            self._aborting = True
        else:
            thread.manager.set_subshell_aborting(subshell, True)

        async def stop_behind_them() -> None:
            stream.flush(zmq.POLLIN)  # what has come, though that thread was not able to read it yet
            await asyncio.sleep(0)  # until it has passed that on
            self._post_dummy_stop_aborting_message(subshell)
            done.set()

        done = threading.Event()
        thread.io_loop.add_callback(stop_behind_them)
        done.wait(1.0)  # before the reply and the idle leave

    def _abort_queues(self, subshell_id: str | None = None) -> None:
        """Nothing: here the reply has left already, and what is waiting now may be the answer to it."""

    def _error_reply(self, error: BaseException) -> dict[str, Any]:
        self.shell.error = error
        self.shell.plain_traceback = tracebacks.plain(error, error.__traceback__)
        return {
            "status": "error",
            "ename": type(error).__name__,
            "evalue": tracebacks.message(error),
            "traceback": self.shell.plain_traceback.splitlines(),
            "execution_count": self.shell.execution_count - 1,
            "user_expressions": {},
            "payload": [],
        }

    def _extra(self, reply: dict[str, Any], asked: dict[str, Any], elapsed: float) -> dict[str, Any]:
        """What a Session wants to know beyond the protocol's reply."""
        # The stack again: the reply of the interrupt comes on another channel, and may come later than this one.
        extra: dict[str, Any] = {"seconds": elapsed, "stack": self._stack}
        if reply["status"] == "ok":
            try:
                with self.interrupts.window() as interrupted:
                    if interrupted:
                        raise KeyboardInterrupt
                    extra["value"] = self._encode(asked)
            except BaseException as error:  # noqa: BLE001 - a request without a reply would hang its client
                reply |= self._error_reply(error)
        if reply["status"] == "error":
            raised = self.shell.error
            name = type(raised).__name__ if raised is not None else reply["ename"]
            text = tracebacks.message(raised) if raised is not None else reply["evalue"]
            extra["error"] = {"name": name, "message": text, "traceback": self.shell.plain_traceback}
        cut = [output.end_cell(self._request["header"]) for output in self._repair.streams]
        extra["output_truncated"] = any(cut) or self._displays.truncated
        return extra

    def _encode(self, asked: dict[str, Any]) -> dict[str, Any]:
        executed = self.shell.cell_result
        value = executed.result if executed is not None else None
        limit, accepts = asked.get("limit"), asked.get("accepts", ())
        encoded = codec.encode(value, limit=limit, accepts=frozenset(accepts))
        if encoded.buffers:
            self.session.send(
                self.iopub_socket,
                VALUE_MESSAGE,
                {},
                parent=self._request,
                ident=self._topic(VALUE_MESSAGE),
                buffers=[memoryview(buffer) for buffer in encoded.buffers],
            )
        return {
            "tree": encoded.tree,
            "buffers": len(encoded.buffers),
            "is_repr": encoded.is_repr,
            "truncated": encoded.truncated,
        }

    def raw_input(self, prompt: str = "") -> str:
        if not self._allow_stdin:
            raise StdinNotImplementedError("input() has nobody to ask in a session: put the value into the code")
        return str(super().raw_input(prompt))

    def getpass(self, *args: Any, **kwargs: Any) -> str:
        if not self._allow_stdin:
            raise StdinNotImplementedError("getpass() has nobody to ask in a session: put the value into the code")
        return str(super().getpass(*args, **kwargs))

    # -- interrupts -------------------------------------------------------------------------------------

    def pre_handler_hook(self) -> None:
        self.interrupts.install()

    def post_handler_hook(self) -> None:
        self.interrupts.install()

    @contextlib.contextmanager
    def _cancel_on_sigint(self, future: Any) -> Any:
        yield  # Interrupts does that

    async def interrupt_request(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        """Interrupt the cell that ``content["msg_id"]`` names, or whichever is running; tell where it stood."""
        cell = parent["content"].get("msg_id")
        content: dict[str, Any] = {"status": "ok"}
        if cell is not None and cell == self.interrupts.cell:
            content["stack"] = self._stack = tracebacks.stack(self.interrupts.frame(), self.interrupts.task)
        content["begun"] = self.interrupts.request(cell, withdraw=bool(parent["content"].get("withdraw")))
        self.session.send(stream, "interrupt_reply", content, parent, ident=ident)
        self._repeat_interrupt()

    def _repeat_interrupt(self, left: int = _REPEATS) -> None:
        def again() -> None:
            if self.interrupts.repeat() and left > 1:
                self._repeat_interrupt(left - 1)

        self.control_thread.io_loop.call_later(_REPEAT_AFTER, again)

    async def usage_request(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        if parent["content"].get(EXTRA):
            content = {"status": "ok", "running": self.interrupts.cell, "idle": self.interrupts.is_idle()}
            content |= self._about_cell(self._request, self._asked, self._began)
            if parent["content"].get("stack") and self.interrupts.cell is not None:
                content["stack"] = tracebacks.stack(self.interrupts.frame(), self.interrupts.task)
            self.session.send(stream, "usage_reply", content, parent, ident=ident)
        else:
            await super().usage_request(stream, ident, parent)

    def _about_cell(self, request: dict[str, Any], asked: dict[str, Any] | None, began: float) -> dict[str, Any]:
        """Of the running cell: the first line of its code, since when it runs, and whether a Session has sent it."""
        if not request or request["header"]["msg_id"] != self.interrupts.cell:
            return {}  # it begins or ends at this moment
        first, _, more = request["content"]["code"][:_MOST_CODE].strip().partition("\n")
        line = first[:_LONGEST_LINE] + (" …" if more or len(first) > _LONGEST_LINE else "")
        return {"code": line, "seconds": time.monotonic() - began, "by": "other" if asked is None else "session"}

    # -- whose output -----------------------------------------------------------------------------------

    def _capture_cell(self) -> Any:
        return self.get_parent("shell")

    def _enter_cell(self, parent: Any) -> Any:
        return self._shell_parent.set(parent), self.shell.set_thread_parent(parent)

    def _leave_cell(self, tokens: Any) -> None:
        own, others = tokens
        self.shell.reset_thread_parent(others)
        self._shell_parent.reset(own)

    def flush_before_exit(self) -> None:
        """Wait until everything that was published has left the process."""
        stdout, stderr = self._repair.streams
        stdout.flush()
        stderr.flush()
        # Sent is not delivered. zmq copies a small message into a buffer and is done with it before that is written;
        # a large one it writes from where it is, so that its tracker is done when all before it has left the process.
        socket = self.iopub_thread.socket
        trackers: list[Any] = []
        message = self.session.msg("status", {"execution_state": "terminating"}, parent=self.get_parent("shell"))
        frames = [*self.session.serialize(message, ident=self._topic("status")), bytes(2 * zmq.COPY_THRESHOLD)]
        self.iopub_thread.schedule(lambda: trackers.append(socket.send_multipart(frames, copy=False, track=True)))
        stdout.wait_until_sent()
        if trackers:
            with contextlib.suppress(zmq.NotDone):
                trackers[0].wait(1.0)
