"""The host's end of the link: answers what the code in one kernel asks for.

Nothing that comes in is trusted: a frame that is no message, or lacks the kernel's key, is dropped; methods
come from a fixed table; what a handler raises goes back as an error.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import closing
from typing import Any, TypeAlias

import zmq

from kernel_bootstrap import codec
from kernel_bootstrap.errors import CodeModeError
from kernel_bootstrap.wire import Message, WireError, pack, pack_error, unpack
from py_code_mode.kernel.sockets import SocketReader, send

from .transfer import Incoming, Outgoing, Wanted, parts_from

Handler: TypeAlias = Callable[..., Any]
"""Gives the answer where that takes no waiting, for a lock or a disk that is far away; else a coroutine, for a task."""

Handlers: TypeAlias = Mapping[str, Handler]

log = logging.getLogger(__name__)


async def answer(handler: Handler, params: Mapping[str, Any]) -> Any:
    """What ``handler`` answers, at once or not."""
    value = handler(**params)
    return await value if asyncio.iscoroutine(value) else value


class LinkServer:
    """A ROUTER bound at ``endpoint`` that serves ``handlers`` to the kernel that has ``key``."""

    def __init__(self, context: zmq.Context[Any], endpoint: str, key: str, handlers: Handlers) -> None:
        self._handlers = handlers
        self._key = key.encode()
        self._tasks: dict[tuple[bytes, str], asyncio.Task[None]] = {}
        self._cells: dict[tuple[bytes, str], str] = {}
        self._incoming: dict[tuple[bytes, str], Incoming] = {}
        self._wanted: dict[tuple[bytes, str], Wanted] = {}
        self._cancelled: set[str] = set()
        self._beginnings: dict[str, Callable[[], None]] = {}
        self.on_other: Callable[[str], None] | None = None
        """Hears of each cell of another client that begins."""
        self._socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.sndhwm = self._socket.rcvhwm = 0
        self._socket.bind(endpoint)
        self._reader = SocketReader(asyncio.get_running_loop(), self._socket, self._on_message)

    def serve(self, handlers: Handlers) -> None:
        """Answer by these handlers from now on."""
        self._handlers = handlers

    def on_begun(self, cell: str, listener: Callable[[], None]) -> None:
        """Call ``listener`` when the kernel says that it begins this cell; until ``forget_cell``."""
        self._beginnings[cell] = listener

    def cancel_cell(self, cell: str) -> None:
        """Cancel the requests that serve this cell, their tools included, and refuse new ones from it."""
        self._cancelled.add(cell)
        for request, served in list(self._cells.items()):
            if served == cell:
                self._tasks[request].cancel()

    def forget_cell(self, cell: str) -> None:
        """The cell is over: threads that it left may ask again."""
        self._cancelled.discard(cell)
        self._beginnings.pop(cell, None)

    async def close(self) -> None:
        """Cancel what is under way, wait for its clean-up, and close the socket."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._reader.close()

    def _on_message(self, frames: list[bytes]) -> None:
        identity = frames[0]
        try:
            message = unpack(frames[1:])
        except WireError as error:
            log.warning("dropped a frame on the link: %s", error)
            return
        if not hmac.compare_digest(message.key.encode("utf-8", "surrogatepass"), self._key):
            log.warning("dropped a request without the kernel's key")
            return
        request = (identity, message.id)
        if message.kind in ("request", "upload"):
            self._begin(request, message)
        elif message.kind == "part":
            if incoming := self._incoming.get(request):
                incoming.put(message.buffers)
        elif message.kind == "want":
            if wanted := self._wanted.get(request):
                wanted.add(message.body)
        elif message.kind == "begun":
            if listener := self._beginnings.get(message.cell):
                listener()
            elif message.body is True and self.on_other is not None:
                self.on_other(message.cell)
        elif message.kind == "cancel":
            # Its own socket, so only the id tells which request is meant; ids are unique in a kernel.
            for known, task in list(self._tasks.items()):
                if known[1] == message.id:
                    task.cancel()

    def _begin(self, request: tuple[bytes, str], message: Message) -> None:
        if request in self._tasks:
            log.warning("dropped a request with the id of one that is under way")
            return
        try:
            value = self._call(request, message)
        except Exception as error:  # noqa: BLE001 - the code that asked has to hear of it
            self._incoming.pop(request, None)
            self._refuse(request, message, error)
            return
        if not asyncio.iscoroutine(value):
            self._reply(request, value)
            return
        self._cells[request] = message.cell
        task = asyncio.get_running_loop().create_task(self._serve(request, message, value))
        self._tasks[request] = task
        task.add_done_callback(lambda task: self._done(request, task, value))

    def _done(self, request: tuple[bytes, str], task: asyncio.Task[None], value: Coroutine[Any, Any, Any]) -> None:
        value.close()  # where the task was cancelled before its first step
        self._tasks.pop(request, None)
        self._cells.pop(request, None)
        self._incoming.pop(request, None)
        self._wanted.pop(request, None)
        if task.cancelled():
            # Here and not in the task: one that is cancelled before its first step runs no line of its own.
            error = CodeModeError("the request was cancelled, since its cell was interrupted")
            self._send(request[0], Message("error", request[1], pack_error(error)))

    async def _serve(self, request: tuple[bytes, str], message: Message, answer: Coroutine[Any, Any, Any]) -> None:
        try:
            value = await answer
            if isinstance(value, Outgoing):
                await self._send_parts(request, value)
            else:
                self._reply(request, value)
        except Exception as error:  # noqa: BLE001 - the code that asked has to hear of it
            self._refuse(request, message, error)

    def _reply(self, request: tuple[bytes, str], value: Any) -> None:
        encoded = codec.encode(value)
        self._send(request[0], Message("reply", request[1], encoded.tree, encoded.buffers))

    def _refuse(self, request: tuple[bytes, str], message: Message, error: Exception) -> None:
        if not isinstance(error, CodeModeError):
            log.error("the handler of %r failed", message.method, exc_info=error)
        self._send(request[0], Message("error", request[1], pack_error(error)))

    def _call(self, request: tuple[bytes, str], message: Message) -> Any:
        """What the handler gives: the answer, or a coroutine that waits for it."""
        if message.cell in self._cancelled:
            raise CodeModeError("the cell of this request was interrupted")
        handler = self._handlers.get(message.method)
        if handler is None:
            raise CodeModeError(f"the host has no method {message.method!r}")
        try:
            params = codec.decode(message.body, message.buffers)
        except codec.CodecError as error:
            raise CodeModeError(f"the parameters of {message.method!r} cannot be read: {error}") from None
        if not isinstance(params, dict):
            raise CodeModeError(f"the parameters of {message.method!r} are not a dict")
        if message.kind == "upload":
            identity, message_id = request
            params["data"] = self._incoming[request] = Incoming(
                params.pop("size", None), lambda count: self._send(identity, Message("want", message_id, count))
            )
        return handler(**params)

    async def _send_parts(self, request: tuple[bytes, str], outgoing: Outgoing) -> None:
        identity, message_id = request
        wanted = self._wanted[request] = Wanted()
        with closing(outgoing):
            encoded = codec.encode(outgoing.head)
            self._send(identity, Message("head", message_id, encoded.tree, encoded.buffers))
            async for part in parts_from(outgoing, wanted):
                self._send(identity, Message("part", message_id, buffers=[part]))

    def _send(self, identity: bytes, reply: Message) -> None:
        if not self._socket.closed:
            send(self._socket, [identity, *pack(reply)], copy=not reply.buffers)
            self._reader.check()
