"""The socket to the supervisor of processes: frames of JSON both ways, fds one way.

The frames are described in ``kernel_bootstrap.supervisor``. Everything here runs on one event loop and never
blocks it; what the socket does not take at once is queued.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import subprocess
import sys
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kernel_bootstrap import supervisor
from py_code_mode.errors import ProcessError

_open_channels: weakref.WeakSet[Channel] = weakref.WeakSet()


_INHERITED = ("PATH", "LD_LIBRARY_PATH", "LC_ALL", "LANG", "TMPDIR")


class Channel:
    """A supervisor that was just started, and the host's end of its socket.

    ``on_frame`` is called with each frame that arrives, and ``on_gone`` once, when the supervisor has ended.
    Raises ProcessError when it cannot be started.
    """

    def __init__(self, on_frame: Callable[[dict[str, Any]], None], on_gone: Callable[[], None]) -> None:
        self._on_frame = on_frame
        self._on_gone = on_gone
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._queue: deque[tuple[memoryview, list[int]]] = deque()
        self._socket, self._child = _launch()
        self._loop.add_reader(self._socket.fileno(), self._on_readable)
        _open_channels.add(self)

    def send(self, frame: dict[str, Any], fds: list[int]) -> None:
        """Sends a frame; ``fds`` stay the caller's, who may close them. Raises OSError for a bad one."""
        packed = json.dumps(frame, separators=(",", ":")).encode("ascii")
        data = memoryview(len(packed).to_bytes(4, "big") + packed)
        if not self._queue:
            sent = self._send_some(data, fds)
            if sent == len(data):
                return
            self._loop.add_writer(self._socket.fileno(), self._on_writable)
            if sent:
                data, fds = data[sent:], []
        self._queue.append((data, [os.dup(fd) for fd in fds]))

    def close(self) -> None:
        """Lets go of the supervisor, which is gone or will be: no fd and no zombie is left."""
        if self._socket.fileno() < 0:
            return
        _open_channels.discard(self)
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        for _, fds in self._queue:
            _close_all(fds)
        self._queue.clear()
        self._child.kill()
        self._child.wait()
        self._on_gone()

    def _send_some(self, data: memoryview, fds: list[int]) -> int:
        try:
            return socket.send_fds(self._socket, [data], fds) if fds else self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno == errno.ETOOMANYREFS:  # a limit on fds under way; they arrive soon
                return 0
            if error.errno == errno.EBADF:  # one of the caller's
                raise
            self._loop.call_soon(self.close)
            return len(data)

    def _on_writable(self) -> None:
        while self._queue:
            data, fds = self._queue.popleft()
            sent = self._send_some(data, fds)
            if sent:
                _close_all(fds)
                fds = []
            if sent < len(data):
                self._queue.appendleft((data[sent:], fds))
                return
        self._loop.remove_writer(self._socket.fileno())

    def _on_readable(self) -> None:
        try:
            data = self._socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._received += data
        while len(self._received) >= 4:
            end = 4 + int.from_bytes(self._received[:4], "big")
            if len(self._received) < end:
                break
            frame = json.loads(bytes(self._received[4:end]))
            del self._received[:end]
            self._on_frame(frame)
        if not data:
            self.close()

    def _forget(self) -> None:
        self._socket.close()


def _launch() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    if not sys.executable:
        raise ProcessError("no supervisor of processes: this program has no Python interpreter of its own")
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    folder = str(Path(supervisor.__file__).resolve().parent.parent)
    # UTF-8 mode: names cross as the same bytes, whatever encoding the host's file system has.
    python = [sys.executable, "-I", "-S", "-X", "utf8", "-c", supervisor.COMMAND, folder]
    try:
        child = subprocess.Popen(
            [*python, str(theirs.fileno()), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            # Not ours: /proc shows it to the code in a kernel, secrets of tools included. What it launches gets
            # an environment with each request.
            env={name: os.environ[name] for name in _INHERITED if name in os.environ},
        )
    except OSError as error:
        ours.close()
        raise ProcessError(f"the supervisor of processes cannot be started: {error}") from error
    finally:
        theirs.close()
    return ours, child


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _forget_in_child() -> None:
    """The supervisor takes whoever holds the socket for its host: a forked child is not."""
    for channel in list(_open_channels):
        channel._forget()


os.register_at_fork(after_in_child=_forget_in_child)
