"""Reading a zmq socket from an asyncio loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from kernel_bootstrap.wire import Buffer

log = logging.getLogger(__name__)

_BATCH = 200
"""Messages read before other work of the loop has its turn."""


_MORE, _NOW = int(zmq.SNDMORE), int(zmq.NOBLOCK)
"""As plain numbers: with flags of pyzmq's own, each part costs a look-up of their names."""


def send(socket: zmq.Socket[bytes], frames: Sequence[Buffer], *, copy: bool = True) -> None:
    """Send one message. Large frames go without a copy where ``copy`` is False."""
    for frame in frames[:-1]:
        socket.send(frame, _MORE, copy)
    socket.send(frames[-1], 0, copy)


class SocketReader:
    """Calls ``on_message`` with the frames of each message that comes in on ``socket``.

    zmq's descriptor is edge-triggered: every message has to be read before the next edge comes, and sending may
    swallow an edge. So call ``check`` after each send; within ``on_message`` that costs nothing.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, socket: zmq.Socket[bytes], on_message: Callable[[list[Any]], None]
    ) -> None:
        self._loop = loop
        self._socket = socket
        self._on_message = on_message
        self._fd = int(socket.FD)
        self._scheduled = False
        self._reading = False
        loop.add_reader(self._fd, self._read)
        self.check()

    def check(self) -> None:
        """Look for messages soon, whatever the descriptor says."""
        if not self._scheduled and not self._reading:
            self._scheduled = True
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        self._scheduled = False
        self._reading = True  # the next look comes anyway, after whatever is sent meanwhile
        try:
            for _ in range(_BATCH):
                if not self._read_one():
                    return
        finally:
            self._reading = False
        self.check()

    def read_all(self) -> None:
        """Read what is there now."""
        while self._read_one():
            pass

    def _read_one(self) -> bool:
        if self._socket.closed:
            return False
        try:
            frame = self._socket.recv(_NOW, copy=False)
        except zmq.Again:
            return False
        frames = [frame.bytes]
        while frame.more:  # the frame knows; recv_multipart asks the socket after each
            frame = self._socket.recv(_NOW, copy=False)
            frames.append(frame.bytes)
        try:
            self._on_message(frames)
        except Exception:  # what a kernel sends must not end the reading of what comes next
            log.exception("a message could not be taken")
        return True

    def close(self) -> None:
        """Stop reading and close the socket."""
        if not self._socket.closed:
            self._loop.remove_reader(self._fd)
            self._socket.close(linger=0)
