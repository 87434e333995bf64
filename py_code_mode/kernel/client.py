"""The client's end of one kernel: shell, control and iopub, on the engine's loop.

Unlike ``jupyter_client``'s client it never polls and never has two readers on a channel: each socket has
one callback that reads until it is empty and hands every message to the request it belongs to. Messages
are made and signed by ``jupyter_client.session.Session``.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jupyter_client.session
import zmq
from jupyter_client.jsonutil import json_default

from py_code_mode.errors import KernelError, KernelStartError

from .others import OtherClients
from .sockets import SocketReader, send

_DELIMITER = b"<IDS|MSG>"


class Request(Protocol):
    """Who waits for the messages of one request; called on the engine's loop."""

    def on_iopub(self, kind: str, content: dict[str, Any], buffers: Sequence[Any]) -> None:
        """An iopub message whose parent is this request."""

    def on_reply(self, content: dict[str, Any]) -> None:
        """The reply on the shell channel."""


class KernelClient:
    """Sends requests to one kernel and hands out what comes back.

    ``info`` is the kernel's connection information. ``ready`` is done with the ``iopub_welcome`` message: from
    then on nothing that the kernel publishes can be missed.
    """

    def __init__(self, context: zmq.Context[Any], info: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self._session = jupyter_client.session.Session(
            key=info["key"], signature_scheme=info["signature_scheme"], digest_history_size=0
        )
        self._session.pack = _pack
        self.others = OtherClients()
        self._subshell: str | None = None
        self._making = asyncio.Lock()
        self._requests: dict[str, Request] = {}
        self._answers: dict[str, Callable[[dict[str, Any]], Any]] = {}
        self._replies: dict[str, Callable[[dict[str, Any]], Any]] = {}
        # No high-water marks: libzmq drops silently beyond them, and a lost idle is a hang. The budget for output
        # is kept where the messages are collected.
        self._shell = _connect(context, zmq.DEALER, info, "shell")
        self._control = _connect(context, zmq.DEALER, info, "control")
        self._iopub = _connect(context, zmq.SUB, info, "iopub")
        self._monitor = self._iopub.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._drained: asyncio.Future[None] = loop.create_future()
        self._readers = [
            SocketReader(loop, self._shell, self._on_shell),
            SocketReader(loop, self._control, self._on_control),
            SocketReader(loop, self._iopub, self._on_iopub),
            SocketReader(loop, self._monitor, self._on_disconnected),
        ]

    def execute(self, code: str, request: Request, metadata: dict[str, Any]) -> str:
        """Send an execute_request; ``request`` hears of it until ``forget``. Returns its msg_id."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        message = self._session.msg("execute_request", content, metadata=metadata)
        msg_id: str = message["header"]["msg_id"]
        self._requests[msg_id] = request
        self._send(0, self._shell, message)
        return msg_id

    async def give_identity(self, identity: dict[str, Any]) -> None:
        """Make a spare kernel that of a workspace. Raises KernelStartError when it cannot be."""
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        message = self._session.msg("identity_request", identity)
        self._answers[message["header"]["msg_id"]] = lambda content: _settle(answer, content)
        self._send(0, self._shell, message)
        content = await answer
        if content.get("status") != "ok":
            raise KernelStartError(f"the kernel cannot work for this workspace: {content.get('message')}")

    async def look(self, name: str | None, limit: int, timeout: float) -> Any:
        """What ``kernel_bootstrap.look`` says, asked in a subshell: also while a cell runs.

        Raises KernelError: ``timeout`` seconds are over (a C call, or a repr of the user's, blocks), or no such name.
        """
        subshell = None
        try:
            async with asyncio.timeout(timeout):
                while True:
                    subshell = await self._looking_glass()
                    answer = await self._answer("look_request", {"name": name, "limit": limit}, subshell)
                    if answer.get("status") == "ok":
                        return answer.get("found")
                    if "message" in answer:
                        raise KernelError(str(answer["message"]))
                    self._give_up(subshell)  # another client has deleted it
        except TimeoutError:
            self._give_up(subshell)  # it may be stuck for ever in what it shows
            text = f"the kernel did not answer within {timeout:g} s: a C call or a repr of its code blocks it"
            raise KernelError(text) from None

    async def _looking_glass(self) -> str:
        """The subshell for looking in: one for all who look."""
        async with self._making:
            if self._subshell is None:
                made = await self._answer("create_subshell_request", {})
                self._subshell = str(made.get("subshell_id"))
            return self._subshell

    def _give_up(self, subshell: str | None) -> None:
        if self._subshell == subshell:
            self._subshell = None

    async def _answer(self, kind: str, content: dict[str, Any], subshell: str | None = None) -> dict[str, Any]:
        """The reply to a request: in a ``subshell``, or on the control channel."""
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        message = self._session.msg(kind, content)
        msg_id = message["header"]["msg_id"]
        replies = self._replies if subshell is None else self._answers
        replies[msg_id] = lambda content: _settle(answer, content)
        try:
            if subshell is None:
                self._send(1, self._control, message)
            else:
                message["header"]["subshell_id"] = subshell
                self._send(0, self._shell, message)
            return await answer
        finally:
            replies.pop(msg_id, None)

    def forget(self, msg_id: str) -> None:
        """What still comes for this request is late output; it belongs to nobody."""
        self._requests.pop(msg_id, None)

    def interrupt(self, msg_id: str, on_reply: Callable[[dict[str, Any]], None]) -> None:
        """Interrupt that cell, now or as soon as it begins; nothing else.

        The reply's ``stack`` tells where the cell stood. A kernel that is stuck in a C call sends none.
        """
        self._ask("interrupt_request", {"msg_id": msg_id}, on_reply)

    async def withdraw(self, msg_id: str, timeout: float) -> bool | None:
        """Have that cell refused when it begins. Returns whether it has begun; None when the kernel does not answer.

        A kernel in a C call hears of it before it begins the next cell.
        """
        try:
            async with asyncio.timeout(timeout):
                asked = {"msg_id": msg_id, "withdraw": True}
                return bool((await self._answer("interrupt_request", asked)).get("begun"))
        except TimeoutError:
            return None

    def probe(self, on_reply: Callable[[dict[str, Any]], None]) -> None:
        """Ask the control thread which cell is running: the reply's ``running`` is its msg_id, or None."""
        self._ask("usage_request", {"py_code_mode": True}, on_reply)

    async def stack(self, timeout: float) -> str | None:
        """Where the running cell stands, "" when none runs, None when nothing came within ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                content = await self._answer("usage_request", {"py_code_mode": True, "stack": True})
        except TimeoutError:
            return None
        return str(content.get("stack") or "")

    def shut_down(self) -> None:
        """Ask the kernel to end itself, and whatever it runs first."""
        self._ask("interrupt_request", {}, lambda content: None)
        self._ask("shutdown_request", {"restart": False}, lambda content: None)

    def _ask(self, kind: str, content: dict[str, Any], on_reply: Callable[[dict[str, Any]], None]) -> None:
        message = self._session.msg(kind, content)
        self._replies[message["header"]["msg_id"]] = on_reply
        self._send(1, self._control, message)

    async def drain(self, timeout: float) -> None:
        """After the kernel has ended: wait until all that it sent is read (its iopub connection is closed)."""
        try:
            await asyncio.wait_for(asyncio.shield(self._drained), timeout)
        except TimeoutError:
            pass
        self._readers[2].read_all()

    def close(self) -> None:
        """Close the sockets; requests that wait are the caller's to end."""
        if self._iopub.closed:
            return
        self._iopub.disable_monitor()
        for reader in self._readers:
            reader.close()
        if not self.ready.done():
            self.ready.cancel()
        self.others.forget("KernelDiedError: the kernel has ended")

    def _send(self, reader: int, socket: zmq.Socket[bytes], message: dict[str, Any]) -> None:
        send(socket, self._session.serialize(message))
        self._readers[reader].check()

    def _on_shell(self, frames: list[bytes]) -> None:
        if message := self._unpack(frames):
            if request := self._requests.get(message[1]["msg_id"]):
                request.on_reply(message[2])
            elif answer := self._answers.pop(message[1]["msg_id"], None):
                answer(message[2])

    def _on_control(self, frames: list[bytes]) -> None:
        if (message := self._unpack(frames)) and (on_reply := self._replies.pop(message[1]["msg_id"], None)):
            on_reply(message[2])

    def _on_iopub(self, frames: list[bytes]) -> None:
        message = self._unpack(frames)
        if message is None:
            return
        kind, parent, content, buffers = message
        if request := self._requests.get(parent["msg_id"]):
            request.on_iopub(kind, content, buffers)
        elif kind == "iopub_welcome":
            if not self.ready.done():
                self.ready.set_result(None)
        elif parent["msg_id"] and parent.get("session") != self._session.session:
            self.others.on_iopub(kind, parent, content)

    def _on_disconnected(self, frames: list[bytes]) -> None:
        if not self._drained.done():
            self._drained.set_result(None)

    def _unpack(self, frames: list[bytes]) -> tuple[str, dict[str, Any], dict[str, Any], list[bytes]] | None:
        """(msg_type, parent's header with its msg_id, content, buffers), or None for what is not a signed message."""
        try:
            start = frames.index(_DELIMITER) + 1
            signature, *parts = frames[start : start + 5]
            if len(parts) != 4 or not hmac.compare_digest(signature, self._session.sign(parts)):
                return None
            header, parent, content = json.loads(parts[0]), json.loads(parts[1]), json.loads(parts[3])
            parent["msg_id"] = str(parent.get("msg_id", ""))
            return str(header["msg_type"]), parent, dict(content), frames[start + 5 :]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None


def _connect(context: zmq.Context[Any], kind: int, info: dict[str, Any], channel: str) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = context.socket(kind)
    socket.linger = 0
    socket.sndhwm = socket.rcvhwm = 0
    if kind == zmq.SUB:
        socket.subscribe(b"")
    port = info[f"{channel}_port"]
    separator = "-" if info["transport"] == "ipc" else ":"
    socket.connect(f"{info['transport']}://{info['ip']}{separator}{port}")
    return socket


def _settle(answer: asyncio.Future[dict[str, Any]], content: dict[str, Any]) -> None:
    if not answer.done():
        answer.set_result(content)


def _pack(content: Any) -> bytes:
    # In ASCII, so that code with a lone surrogate reaches the kernel, which says what is wrong with it.
    return json.dumps(content, default=json_default).encode("ascii")
