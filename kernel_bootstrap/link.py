"""The channel on which code in the kernel asks its host: tools, workflows, artifacts, dependencies.

A request is sent on a DEALER socket to the ROUTER of the host and waits for the reply with its id (frames
in ``wire``). Every thread has a socket of its own, and so has every event loop for ``request_async``:
zmq sockets cannot be shared. A request that is left by an exception (KeyboardInterrupt may come at any
byte) takes its socket with it, since half a message would spoil the next, and is cancelled on the host.
What is too large for one message goes in parts: see ``wire``.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import zmq

from . import codec
from .errors import LinkError
from .wire import WINDOW, Buffer, Message, Source, WireError, pack, parts_of, sizes, unpack, unpack_error

T = TypeVar("T")

_POLL_MS = 1000
"""How often a waiting request looks whether the link was closed, milliseconds."""

_RELEASE_WAIT = 1.0
"""How long an upload waits for zmq to let go of the memory that it has sent, seconds; it takes microseconds."""


class Link(Protocol):
    """What the namespaces need of their host. ``params`` are values of ``codec``, and so is the answer."""

    def request(self, method: str, **params: Any) -> Any:
        """The answer to ``method``; called by code at cell top level, in threads and in coroutines."""

    async def request_async(self, method: str, **params: Any) -> Any:
        """The same without blocking the running loop; for ``call_async``."""

    def upload(self, method: str, data: Sequence[Buffer], **params: Any) -> Any:
        """``request`` with bytes of any size, which the handler gets as its ``data``; they are not copied."""

    def download(self, method: str, take: Callable[[Any, Source | None], T], **params: Any) -> T:
        """What ``take`` makes of the answer and, where bytes of any size belong to it, of a source to read them from.

        ``take`` reads once from front to end, in the calling thread, before ``download`` returns.
        """

    def release(self, loop: asyncio.AbstractEventLoop) -> None:
        """Free what ``loop`` used; called when a loop of a workflow ends."""


class _Holder:
    """Owns one socket, and closes it at once when its thread or loop goes away."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket

    def close(self) -> None:
        self.socket.close(linger=0)

    __del__ = close


class ZmqLink:
    """The Link over ipc or tcp.

    ``endpoint`` is the address of the host's ROUTER, ``key`` the kernel's secret, ``cell`` tells the msg_id of
    the execute_request that the calling code belongs to ("" for none).
    """

    def __init__(self, endpoint: str, key: str, cell: Callable[[], str]) -> None:
        self._endpoint = endpoint
        self._key = key
        self._cell = cell
        self._ids = itertools.count(1)
        self._closed = False
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        # In a forked child the parent's context and sockets are dead weight: closing them could hang.
        self._pid = os.getpid()
        self._context: zmq.Context[Any] = zmq.Context()
        self._local = threading.local()
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopChannel]
        self._loops = weakref.WeakKeyDictionary()

    def request(self, method: str, **params: Any) -> Any:
        return self._exchange("request", method, params, self._reply)

    def begin(self, cell: str, *, other: bool) -> None:
        """Tell the host that ``cell`` begins now; it is on its way even if the code never lets go of the GIL.

        ``other`` tells that another client has sent it.
        """
        _send(self._own().socket, pack(Message("begun", "", other, cell=cell, key=self._key)))

    def upload(self, method: str, data: Sequence[Buffer], **params: Any) -> Any:
        parts = parts_of(data)

        def serve(socket: zmq.Socket[bytes], message_id: str) -> Any:
            sent = None
            while (answer := self._receive(socket, message_id)).kind == "want":
                for part in itertools.islice(parts, answer.body):
                    message = Message("part", message_id, buffers=[part], key=self._key)
                    sent = socket.send_multipart(pack(message), copy=False, track=True) or sent
            if sent is not None:  # a bytearray cannot grow while somebody looks at its memory
                with contextlib.suppress(zmq.NotDone):
                    sent.wait(_RELEASE_WAIT)
            return self._unwrap(answer)

        return self._exchange("upload", method, {**params, "size": sizes(data)}, serve)

    def download(self, method: str, take: Callable[[Any, Source | None], T], **params: Any) -> T:
        def read(socket: zmq.Socket[bytes], message_id: str) -> T:
            answer = self._receive(socket, message_id)
            value = self._unwrap(answer)
            if answer.kind != "head":
                return take(value, None)
            want = pack(Message("want", message_id, 1, key=self._key))

            def next_part() -> Buffer:
                answer = self._receive(socket, message_id)
                if answer.kind == "error":
                    raise unpack_error(answer.body)
                _send(socket, want)
                return answer.buffers[0]

            for _ in range(WINDOW):
                _send(socket, want)
            return take(value, _Parts(value["size"], next_part))

        return self._exchange("request", method, params, read)

    def _exchange(
        self, kind: str, method: str, params: dict[str, Any], talk: Callable[[zmq.Socket[bytes], str], T]
    ) -> T:
        """What ``talk`` makes of the socket and the id of the request that was sent on it."""
        message_id, frames = self._pack(kind, method, params)
        holder: _Holder | None = None
        try:
            # Inside the try: an interrupt between making and using it must not leave it half known.
            holder = self._own()
            _send(holder.socket, frames)
            return talk(holder.socket, message_id)
        except _Answered as answer:
            raise answer.error from None
        except BaseException:
            self._local.holder = None
            if holder is not None:
                holder.close()
            self._cancel(message_id)
            raise

    def _own(self) -> _Holder:
        """The socket of the calling thread."""
        holder: _Holder | None = getattr(self._local, "holder", None)
        if holder is None:
            holder = self._local.holder = _Holder(self._connect())
        return holder

    async def request_async(self, method: str, **params: Any) -> Any:
        message_id, frames = self._pack("request", method, params)
        loop = asyncio.get_running_loop()
        channel = self._loops.get(loop)
        if channel is None:
            for old in [old for old in self._loops if old.is_closed()]:
                self._loops.pop(old).close()
            channel = self._loops[loop] = _LoopChannel(self._connect(), loop)
        try:
            return self._unwrap(await channel.ask(message_id, frames))
        except _Answered as answer:
            raise answer.error from None
        except BaseException:
            self._cancel(message_id)
            raise

    def release(self, loop: asyncio.AbstractEventLoop) -> None:
        if channel := self._loops.pop(loop, None):
            channel.close()

    def close(self) -> None:
        """End the link: requests that wait fail with LinkError within a second."""
        self._closed = True

    def _pack(self, kind: str, method: str, params: dict[str, Any]) -> tuple[str, list[Buffer]]:
        if self._closed:
            raise LinkError("the link to the host is closed")
        encoded = codec.encode(params)
        message_id = f"{os.getpid()}-{next(self._ids)}"
        message = Message(kind, message_id, encoded.tree, encoded.buffers, method, self._cell(), self._key)
        return message_id, pack(message)

    def _connect(self) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        socket.linger = 0
        socket.sndhwm = socket.rcvhwm = 0
        socket.rcvtimeo = _POLL_MS
        socket.connect(self._endpoint)
        return socket

    def _reply(self, socket: zmq.Socket[bytes], message_id: str) -> Any:
        return self._unwrap(self._receive(socket, message_id))

    def _receive(self, socket: zmq.Socket[bytes], message_id: str) -> Message:
        while True:
            try:
                answer = _read(socket)
            except zmq.Again:  # nothing for rcvtimeo
                if self._closed:
                    raise LinkError("the link to the host is closed") from None
                continue
            if answer.id == message_id:
                return answer

    def _unwrap(self, answer: Message) -> Any:
        if answer.kind == "error":
            raise _Answered(unpack_error(answer.body))
        return codec.decode(answer.body, answer.buffers)

    def _cancel(self, message_id: str) -> None:
        socket = self._connect()
        _send(socket, pack(Message("cancel", message_id, key=self._key)))
        socket.close(linger=1000)


class _Answered(Exception):  # noqa: N818 - it never leaves this module
    """Carries an error reply past the handlers for errors of the channel itself."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Parts(io.RawIOBase):
    """``size`` bytes that come in parts, as a file."""

    def __init__(self, size: int, next_part: Callable[[], Buffer]) -> None:
        self._left = size
        self._next_part = next_part
        self._part = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        into = memoryview(buffer).cast("B")
        if not self._part and self._left and into:
            self._part = memoryview(self._next_part())
        count = min(len(into), len(self._part))
        into[:count] = self._part[:count]
        self._part = self._part[count:]
        self._left -= count
        return count


class _LoopChannel:
    """One DEALER on one event loop, with any number of requests under way."""

    def __init__(self, socket: zmq.Socket[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._holder = _Holder(socket)
        self._waiting: dict[str, asyncio.Future[Message]] = {}
        self._loop = weakref.ref(loop)
        self._fd = int(socket.get(zmq.FD))
        loop.add_reader(self._fd, self._on_readable)

    async def ask(self, message_id: str, frames: Sequence[Buffer]) -> Message:
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[message_id] = answer
        try:
            _send(self._holder.socket, frames)
            # zmq's descriptor is edge-triggered: sending may have consumed the edge of an answer.
            asyncio.get_running_loop().call_soon(self._on_readable)
            return await answer
        finally:
            del self._waiting[message_id]

    def _on_readable(self) -> None:
        socket = self._holder.socket
        while not socket.closed and int(socket.get(zmq.EVENTS)) & zmq.POLLIN:
            message = _read(socket)
            answer = self._waiting.get(message.id)
            if answer is not None and not answer.done():
                answer.set_result(message)

    def close(self) -> None:
        loop = self._loop()
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._fd)
        self._holder.close()


def _send(socket: zmq.Socket[bytes], frames: Sequence[Buffer]) -> None:
    if len(frames) == 1:
        socket.send(frames[0])
    else:
        socket.send_multipart(frames, copy=False)


def _read(socket: zmq.Socket[bytes]) -> Message:
    frame = socket.recv(copy=False)
    frames = [frame.buffer]
    while frame.more:  # the frame knows; recv_multipart asks the socket after each
        frame = socket.recv(copy=False)
        frames.append(frame.buffer)
    try:
        return unpack(frames)
    except WireError as error:
        raise LinkError(f"the host sent something else than an answer: {error}") from None
