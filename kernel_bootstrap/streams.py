"""stdout and stderr of a kernel: every byte arrives, and with the cell that it belongs to.

Beyond ipykernel's OutStream:

- Text that UTF-8 cannot hold is escaped instead of lost (jupyter_client issue 778).
- What processes write to the file descriptors 1 and 2 is read from a pipe that belongs to one cell: when
  a child is still alive at the next cell, that cell gets pipes of its own. The pipe is read out before
  the cell ends, so nothing of it is late.
- A flush with nothing to flush costs nothing, and no flush waits: the io thread keeps the order.
- Threads print for the cell that started them.
"""

from __future__ import annotations

import _thread
import codecs
import concurrent.futures
import os
import select
import sys
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

from ipykernel.iostream import OutStream

from .headtail import HeadTail

_CHUNK = 1 << 16

_LIMITED_CELLS = 32
"""Cells whose limit is remembered, for the threads that they leave behind."""


class _Pipe:
    """What is written to one file descriptor during one cell."""

    def __init__(self, stream: CellStream, parent: dict[str, Any]) -> None:
        self.parent = parent
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._lock = threading.RLock()  # a signal handler of the code may print in the middle
        self.fd, write_fd = os.pipe()
        os.set_blocking(self.fd, False)
        os.dup2(write_fd, stream.target_fd)
        os.close(write_fd)
        status = os.fstat(self.fd)
        self.inode = (status.st_dev, status.st_ino)

    def drain(self) -> bool:
        """Pass on what can be read now; False when nobody can write any more."""
        with self._lock:
            while self.fd >= 0:
                try:
                    data = os.read(self.fd, _CHUNK)
                except BlockingIOError:
                    return True
                except OSError:
                    data = b""
                if text := self._decoder.decode(data, final=not data):
                    self._stream.emit(text, self.parent)
                if not data:
                    return False
        return False

    def close(self) -> None:
        with self._lock:
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1


class _Watcher(threading.Thread):
    """Reads the pipes of all cells as something comes in."""

    def __init__(self) -> None:
        super().__init__(name="fd output", daemon=True)
        self._poll = select.epoll() if hasattr(select, "epoll") else select.poll()
        self._pipes: dict[int, _Pipe] = {}
        self.start()

    def add(self, pipe: _Pipe) -> None:
        self._pipes[pipe.fd] = pipe
        self._poll.register(pipe.fd, select.POLLIN)

    def run(self) -> None:
        # poll() does not see what is registered while it waits, epoll does.
        timeout = None if hasattr(select, "epoll") else 100
        while True:
            for fd, _ in self._poll.poll(timeout):
                pipe = self._pipes.get(fd)
                if pipe is not None and not pipe.drain():
                    del self._pipes[fd]
                    self._poll.unregister(fd)
                    pipe.close()


class CellStream(OutStream):
    """sys.stdout or sys.stderr of a kernel."""

    # Text waits this long for more, seconds; a kernel that dies loses no more than this.
    flush_interval = 0.01
    errors = "backslashreplace"

    _watcher: _Watcher | None = None
    _ended = False

    def _setup_stream_redirects(self, name: str) -> None:
        self._flush_lock = threading.RLock()
        self._child_text = (0, "")
        self._limits: dict[str, HeadTail] = {}
        self.target_fd = 1 if name == "stdout" else 2
        self._original_stdstream_fd = self.target_fd
        self._original_stdstream_copy = os.dup(self.target_fd)
        if CellStream._watcher is None:
            CellStream._watcher = _Watcher()
        self._renew_pipe({})

    def _renew_pipe(self, parent: dict[str, Any]) -> None:
        assert self._watcher is not None
        self._pipe = _Pipe(self, parent)
        self._watcher.add(self._pipe)

    def begin_cell(self, parent: dict[str, Any], limit: int | None) -> None:
        """What children write from now on belongs to the cell with this header; ``limit`` is for its text, bytes."""
        if limit is not None:
            self._limits[parent["msg_id"]] = HeadTail(limit)
            while len(self._limits) > _LIMITED_CELLS:
                del self._limits[next(iter(self._limits))]
        self._pipe.drain()
        self._ended = False
        self._pipe_for(parent)

    def _pipe_for(self, parent: dict[str, Any]) -> None:
        if has_children() or not self._owns_fd():
            try:
                self._renew_pipe(parent)
                return
            except OSError:
                pass  # no descriptors left: a cell has to run all the same, to free some
        self._pipe.parent = parent

    def end_cell(self, parent: dict[str, Any]) -> bool:
        """The cell is over: send the end of its text if that was held back. True when something was left out."""
        self._pipe.drain()
        self._ended = True
        text = self._limits.get(parent["msg_id"])
        if text is None:
            return False
        if rest := text.rest():
            self._limits[parent["msg_id"]] = HeadTail(0)  # the limit is reached: nothing more comes through
            self._publish(rest, parent)
        return text.truncated

    def _owns_fd(self) -> bool:
        try:
            status = os.fstat(self.target_fd)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._pipe.inode

    def fileno(self) -> int:
        """The descriptor that children inherit, and whose output is captured."""
        return self.target_fd

    def emit(self, text: str, parent: dict[str, Any]) -> None:
        """Publish ``text`` for the cell with this header, as far as its limit goes."""
        limited = self._limits.get(parent.get("msg_id", ""))
        if limited is None:
            self._publish(text, parent)
        else:
            with self._buffer_lock:
                text = limited.add(text)
            if text:
                self._publish(text, parent)

    def _publish(self, text: str, parent: dict[str, Any]) -> None:
        with self._buffer_lock:
            self._buffers[frozenset(parent.items())].write(text)
        self._schedule_flush()

    def write(self, string: str) -> int:
        if not isinstance(string, str):
            raise TypeError(f"write() argument must be str, not {type(string).__name__}")
        if self.pub_thread is None:
            raise ValueError("I/O operation on closed file")
        text = string
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                text = text.encode("utf-8", "backslashreplace").decode()
        if self._is_master_process():
            self.emit(text, self.parent_header)
        else:
            self._write_in_child(text)
        return len(string)

    def _write_in_child(self, text: str) -> None:
        # A forked child has no io thread: it writes to the cell's pipe as any other child does, whole lines at a
        # time, so that lines of several children stay whole.
        pid, held = self._child_text
        lines, newline, rest = ((held if pid == os.getpid() else "") + text).rpartition("\n")
        self._child_text = (os.getpid(), rest)
        if newline:
            _write_all(self.target_fd, (lines + newline).encode())

    def _flush_in_child(self) -> None:
        pid, held = self._child_text
        self._child_text = (os.getpid(), "")
        if held and pid == os.getpid():
            _write_all(self.target_fd, held.encode())

    def flush(self) -> None:
        """Hand over what is buffered; the io thread sends it before anything that comes later.

        For a cell that asks for it, wait until it is sent: code that then holds the GIL, or ends the process, would
        keep the io thread from it.
        """
        if not self._is_master_process():
            self._flush_in_child()
        elif self.pub_thread is not None:
            in_user_code = self.in_user_code()
            if in_user_code or not self._ended:
                self._pipe.drain()
            if self._flush() and in_user_code:
                self.wait_until_sent()

    def in_user_code(self) -> bool:
        """Whether a cell's own code is running; the kernel puts its answer here."""
        return False

    def _flush(self) -> bool:
        # Under one lock from looking into the buffer until the message is queued: else an idle could overtake
        # the text that the io thread has taken out of the buffer.
        with self._flush_lock:
            found = bool(self._buffers)
            if found:
                super()._flush()
            self._flush_pending = False
            return found

    def close(self) -> None:
        """Nothing but a flush: a cell cannot close the streams of the cells after it."""
        self.flush()

    def wait_until_sent(self, timeout: float = 1.0) -> None:
        """Wait until the io thread has sent all that was handed to it (at most ``timeout`` seconds)."""
        if self.pub_thread.thread.ident != threading.get_ident():
            sent = threading.Event()
            self.pub_thread.schedule(sent.set)
            sent.wait(timeout)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def has_children() -> bool:
    """Whether any child of this process exists, dead and unreaped ones included."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def attribute_threads(capture: Callable[[], Any], enter: Callable[[Any], Any], leave: Callable[[Any], None]) -> None:
    """Make threads, and work handed to thread pools, print for the cell that started them.

    ``capture`` gives the cell of the calling code; in the thread, ``enter`` takes it and ``leave`` undoes that.
    """

    def bound(function: Callable[..., Any]) -> Callable[..., Any]:
        cell = capture()

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            token = enter(cell)
            try:
                return function(*args, **kwargs)
            finally:
                leave(token)

        return run

    start_thread = threading.Thread.start
    submit = concurrent.futures.ThreadPoolExecutor.submit
    start_raw = _thread.start_new_thread

    @wraps(start_thread)
    def thread_start(self: threading.Thread) -> None:
        self.run = bound(self.run)  # type: ignore[method-assign]
        start_thread(self)

    @wraps(submit)  # type: ignore[arg-type]
    def pool_submit(self: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return submit(self, bound(fn), *args, **kwargs)

    @wraps(start_raw)
    def raw_start(function: Callable[..., Any], args: Any, kwargs: Any = None) -> int:
        return start_raw(bound(function), args, kwargs or {})

    threading.Thread.start = thread_start  # type: ignore[method-assign]
    concurrent.futures.ThreadPoolExecutor.submit = pool_submit  # type: ignore[method-assign]
    _thread.start_new_thread = raw_start


def flush_before_exit(finish: Callable[[], None]) -> None:
    """Let ``finish`` run before this process ends itself in a way that skips all clean-up."""
    own_pid = os.getpid()
    exit_now, abort, kill = os._exit, os.abort, os.kill

    def leaving() -> None:
        try:
            if os.getpid() == own_pid:
                finish()
            elif isinstance(sys.stdout, CellStream):
                sys.stdout.flush()
        except BaseException:  # noqa: BLE001 - nothing may keep a process from ending itself
            pass

    @wraps(exit_now)
    def _exit(status: int) -> None:
        leaving()
        exit_now(status)

    @wraps(abort)
    def _abort() -> None:
        leaving()
        abort()

    @wraps(kill)
    def _kill(pid: int, sig: int) -> None:
        if pid == own_pid and sig:
            leaving()
        kill(pid, sig)

    os._exit, os.abort, os.kill = _exit, _abort, _kill  # type: ignore[assignment]
