"""The application around a kernel: its sockets and threads, from the connection file to the end of the process."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from os import _exit as exit_now  # before it is wrapped by what flushes the streams, which are closed by then
from pathlib import Path
from typing import Any, NoReturn

import zmq
from ipykernel.iostream import IOPubThread
from ipykernel.kernelapp import IPKernelApp
from jupyter_client.jsonutil import json_default
from jupyter_client.session import json_packer
from tornado.ioloop import IOLoop
from traitlets import Type

from .interrupts import UNDIVIDED
from .kernel import CodeModeKernel

_SWITCH_INTERVAL = 0.001
"""How long a thread waits for code that holds the interpreter, seconds. An interrupt, or a line of output, has several
such waits on its way: with Python's own 5 ms they make tens of them. Code that computes does not notice."""


class WelcomingThread(IOPubThread):
    """Sends what the kernel publishes, and loses no subscription: each is answered with ``iopub_welcome``.

    zmq's descriptor is edge-triggered, and a send swallows the edge of a subscription that has just come in; the
    stream that reads those would not hear of it, and the client would wait for its welcome in vain.
    """

    _woken = False
    _unhurried = 0

    @contextlib.contextmanager
    def unhurried(self) -> Iterator[None]:
        """What this thread publishes meanwhile may wait for what it publishes next: one hand-over less."""
        self._unhurried = threading.get_ident()
        try:
            yield
        finally:
            self._unhurried = 0

    def schedule(self, f: Callable[[], Any]) -> None:
        """Have ``f`` called on the io thread, after what was scheduled before; it is woken once for all that waits."""
        if not self.thread.is_alive():
            f()
            return
        self._events.append(f)
        if not self._woken and self._unhurried != threading.get_ident():
            self._woken = True
            self.io_loop.add_callback(self._run_events)

    def _run_events(self) -> None:
        self._woken = False  # before the count: what is scheduled from now on wakes again
        for _ in range(len(self._events)):
            event = self._events.popleft()
            try:
                event()
            except Exception:  # noqa: BLE001 - one that fails must not keep the next from being sent
                traceback.print_exc(file=sys.__stderr__)

    def _really_send(self, *args: Any, **kwargs: Any) -> None:
        super()._really_send(*args, **kwargs)
        if not self.closed and int(self.socket.get(zmq.EVENTS)) & zmq.POLLIN:
            self._xpub_stream.flush(zmq.POLLIN)


# An interrupt between the two steps would leave the io thread asleep for ever.
UNDIVIDED.add(WelcomingThread.schedule.__code__)


class CodeModeApp(IPKernelApp):
    """Starts a kernel from its connection file; ``link.json`` lies beside it."""

    kernel_class = Type(CodeModeKernel)
    outstream_class = "kernel_bootstrap.streams.CellStream"

    def initialize(self, argv: Any = None) -> None:
        super().initialize(argv)
        sys.setswitchinterval(_SWITCH_INTERVAL)
        self.log.setLevel(self.log_level)  # else every message makes records of debugging that no handler wants
        self.session.pack = robust_packer(self.session.pack)
        link_file = Path(self.abs_connection_file).with_name("link.json")
        self.kernel.prepare(
            json.loads(link_file.read_text(encoding="utf-8")), asyncio.get_event_loop_policy().get_event_loop()
        )

    def parse_command_line(self, argv: Any = None) -> None:
        """Nothing: ``start`` configures it. A parser for all options that IPython has takes 10 ms."""

    def init_iopub(self, context: zmq.Context[Any]) -> None:
        # No high-water mark: libzmq would drop messages silently, a cell's idle among them. No pipe for forked
        # children either: they write to the pipe of their cell.
        context.setsockopt(zmq.SNDHWM, 0)
        self.iopub_socket = context.socket(zmq.XPUB)
        self.iopub_socket.linger = 1000
        self.iopub_port = self._bind_socket(self.iopub_socket, self.iopub_port)
        self.configure_tornado_logger()
        self.iopub_thread = WelcomingThread(self.iopub_socket, pipe=False, session=self.session)
        self.iopub_thread.start()
        self.iopub_socket = self.iopub_thread.background_socket

    def init_signal(self) -> None:
        """Interrupts installs the handler."""

    def log_connection_info(self) -> None:
        """Nothing: whoever needs it has made the connection file."""

    def start(self) -> None:
        """Serve until a shutdown is asked for; a cell that stops the loop, or lets an interrupt or SystemExit
        escape from a task, does not end it."""
        self.kernel.start()
        self.io_loop = IOLoop.current()
        if self.kernel.awaits_identity:
            self.io_loop.add_callback(self.kernel.warm_up)
        while not self.kernel.stopping:
            with contextlib.suppress(KeyboardInterrupt, SystemExit):
                self.io_loop.start()

    def leave(self) -> NoReturn:
        """End the process, after what the code has left to be done at its exit.

        Sockets and threads are not closed one by one, nor is memory freed: that takes tens of milliseconds, and
        ipykernel ends the io thread before the control thread, which then may wait for it for ever.
        """
        threading._shutdown()
        for end in (self.close, self.iopub_thread.stop):
            atexit.unregister(end)
        atexit._run_exitfuncs()
        self.kernel.flush_before_exit()
        exit_now(0)


def robust_packer(pack: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """``pack``, and JSON in ASCII for what it refuses: a lone surrogate in a message must not lose the message.

    jupyter_client's own makes an encoder for each of the five parts of a message; this one has it made.
    """
    encode = json.JSONEncoder(default=json_default, ensure_ascii=False, allow_nan=False).encode

    def packed(content: Any) -> bytes:
        try:
            if pack is json_packer:
                with contextlib.suppress(TypeError, ValueError):  # it cleans the content, and tries again
                    return encode(content).encode()
            return pack(content)
        except ValueError:
            return json.dumps(content, default=str).encode("ascii")

    return packed
