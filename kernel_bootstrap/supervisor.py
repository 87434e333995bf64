"""Owns every process of one host, and ends them with it.

    python -I -S -X utf8 -c <COMMAND> <folder of this package> FD HOST_PID

FD is one end of a socket pair whose other end only the host holds. When the host is gone, by whatever
signal, every process that was spawned here is killed with all its descendants, and the files and directories
that the host registered are removed. On Linux this process is a child subreaper, so that daemons stay its own.

Frames, both ways: a length of 4 bytes, big-endian, then that many bytes of JSON. A request is
``{"op", "id", ...}``, answered by ``{"id", "ok": true, ...}`` or ``{"id", "error": {"errno", "message",
"stage"}}``; without an id nothing is answered. ``{"exit": pid, "status": wait status}`` comes for every
spawned process that ended, always after the answer that told its pid.

    spawn      argv, env, cwd, owner, subreaper   + 3 fds with the first byte: stdin, stdout, stderr → pid
    adopt      pid, owner                         for a process that another one here has made: it is from now on as
                                                  if it had been spawned, as a subreaper; for one of ours: a new owner
    signal     pid, signal, group                 → gone: it had ended
    end        pid, grace (seconds)               → left: [pids] that survived SIGKILL
    sweep      owner                              → left
    own_path, disown_path   path
    shutdown                                      → left

It runs isolated and starts in the time of a bare interpreter or two: standard library only, and little of it.
"""

from __future__ import annotations

import errno
import json
import os
import selectors
import signal
import socket
import sys
import time

from .launcher import LaunchError, become_subreaper, launch
from .proctree import KILL_ROUNDS, LINUX, Child, Ending, belongs_to, kill, list_processes

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing alone would be a tenth of the start-up time
    from collections.abc import Callable
    from typing import Any, ClassVar

COMMAND = "import sys; sys.path.append(sys.argv.pop(1)); from kernel_bootstrap.supervisor import main; main()"
"""The folder goes to the end of the path, where it cannot hide a module of the standard library."""

MAX_FRAME = 64 << 20
STDIO = 3
TICK = 0.05
"""Seconds between two looks at processes that are being ended; the end of a child wakes at once."""
STRANGERS = 256
"""Ends of processes that are remembered in case they are adopted after all."""
HOST_POLL = 0.25
"""Seconds between two looks at the host where there is no pidfd."""


class Supervisor:
    """The loop: requests in, processes out, everything ended with the host."""

    def __init__(self, control: socket.socket, host: int) -> None:
        self._control = control
        self._host = host
        self._host_fd = -1
        self._children: dict[int, Child] = {}
        self._strangers: dict[int, int] = {}
        self._endings: list[Ending] = []
        self._tick = 0.0
        self._paths: dict[str, None] = {}
        self._fds: list[int] = []
        self._received = bytearray()
        self._sending = bytearray()
        self._deaf = False
        self._terminated = False
        self._leaving = False
        self._left = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ, self._on_control)

    # --- the loop ---

    def run(self) -> None:
        """Serves until the host is gone, or asks for the end."""
        self._watch_signals()
        self._watch_host()
        self._send({"ready": os.getpid()})
        while not self._left:
            for key, events in self._selector.select(self._patience()):
                key.data(events)
            if self._terminated or (self._host_fd < 0 and os.getppid() != self._host):
                self._leave()
            if self._endings and time.monotonic() >= self._tick:
                self._strike()

    def _patience(self) -> float | None:
        if self._endings:
            return max(0.0, self._tick - time.monotonic())
        return HOST_POLL if self._host_fd < 0 else None

    def _watch_signals(self) -> None:
        woken, wakes = socket.socketpair()
        woken.setblocking(False)
        wakes.setblocking(False)
        self._selector.register(woken, selectors.EVENT_READ, lambda _: self._reap(woken))
        signal.set_wakeup_fd(wakes.detach(), warn_on_full_buffer=False)
        for signum in signal.valid_signals():
            if signal.getsignal(signum) is signal.SIG_IGN:
                signal.signal(signum, signal.SIG_DFL)
        # Handlers, not SIG_IGN: exec puts a handler back to the default, so a child needs no step for it.
        for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(ignored, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_terminate)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _watch_host(self) -> None:
        # The host's own end has to be seen as well: a forked child of it may hold the socket open.
        if LINUX:
            try:
                self._host_fd = os.pidfd_open(self._host)
                self._selector.register(self._host_fd, selectors.EVENT_READ, self._on_host_gone)
            except OSError:  # an old Linux: the parent is looked at from time to time
                pass
        if os.getppid() != self._host:
            self._leave()

    def _on_terminate(self, _signum: int, _frame: Any) -> None:
        self._terminated = True

    def _on_host_gone(self, _events: int) -> None:
        self._selector.unregister(self._host_fd)
        while self._receive():  # the last directories that it registered
            pass
        self._leave()

    def _leave(self, request: Any = None) -> None:
        """Ends everything, removes what the host owns, then ends the loop."""
        if self._leaving:
            return
        self._leaving = True
        self._endings.clear()  # whatever they were after goes as well, and nobody waits for them now

        def ended(left: list[int]) -> None:
            if self._paths:
                import shutil  # 8 ms that the start does not pay

                for path in self._paths:
                    try:
                        os.unlink(path)  # noqa: PTH108 - pathlib would be a third of the start-up time
                    except OSError:
                        shutil.rmtree(path, ignore_errors=True)
            self._answer(request, left=left)
            self._left = True

        self._begin(Ending(self._children, ended, orphans=lambda _: True))

    # --- frames ---

    def _on_control(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush()
        if events & selectors.EVENT_READ:
            self._receive()

    def _receive(self) -> bool:
        """Serves what has come; False when nothing more is there."""
        try:
            data, ancillary, flags, _ = self._control.recvmsg(1 << 16, socket.CMSG_SPACE(16 * 4))
        except BlockingIOError:
            return False
        except OSError:
            data, ancillary, flags = b"", [], 0
        for level, kind, packed in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds = memoryview(packed[: len(packed) // 4 * 4]).cast("i")
                for fd in fds:
                    os.set_inheritable(fd, False)
                self._fds.extend(fds)
        self._received += data
        try:
            self._take_frames()
        except (ValueError, TypeError, LookupError):
            data = b""  # not our host, or one gone mad: the same as none
        if data and not flags & socket.MSG_CTRUNC:
            return True
        if not self._deaf:
            self._deaf = True
            self._selector.unregister(self._control)  # open until the end, which its host may wait for
        self._leave()
        return False

    def _take_frames(self) -> None:
        while len(self._received) >= 4:
            end = 4 + int.from_bytes(self._received[:4], "big")
            if end > MAX_FRAME:
                raise ValueError("a frame that is too large")
            if len(self._received) < end:
                return
            request = json.loads(bytes(self._received[4:end]))
            del self._received[:end]
            self._OPS[request["op"]](self, request)

    def _send(self, frame: dict[str, Any]) -> None:
        packed = json.dumps(frame, separators=(",", ":")).encode("ascii")
        self._sending += len(packed).to_bytes(4, "big") + packed
        self._flush()

    def _flush(self) -> None:
        try:
            del self._sending[: self._control.send(self._sending)]
        except BlockingIOError:
            pass
        except OSError:  # the host is gone, as reading will tell
            self._sending.clear()
        if self._deaf:
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._sending else 0)
        if self._selector.get_key(self._control).events != wanted:
            self._selector.modify(self._control, wanted, self._on_control)

    def _answer(self, request: Any, **fields: Any) -> None:
        if request is not None:
            self._send({"id": request, "ok": True, **fields})

    def _refuse(self, request: Any, error: LaunchError) -> None:
        why = {"errno": error.code, "message": os.strerror(error.code), "stage": error.stage}
        self._send({"id": request, "error": why})

    # --- requests ---

    def _spawn(self, request: dict[str, Any]) -> None:
        stdio = self._fds[:STDIO]
        del self._fds[:STDIO]
        if len(stdio) < STDIO:
            raise ValueError("spawn comes with three fds")
        try:
            if self._leaving:
                raise LaunchError("command", errno.ESHUTDOWN)
            pid = launch(request, stdio)
        except LaunchError as error:
            self._refuse(request["id"], error)
        else:
            self._children[pid] = Child(request["owner"], request["subreaper"])
            self._answer(request["id"], pid=pid)
        finally:
            for fd in stdio:
                os.close(fd)

    def _adopt(self, request: dict[str, Any]) -> None:
        pid, owner, number = request["pid"], request["owner"], request.get("id")
        if pid in self._children:
            self._children[pid].owner = owner
            self._answer(number, pid=pid)
            return
        status = self._strangers.pop(pid, None)
        try:
            if status is None:
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            self._refuse(number, LaunchError("process", errno.ESRCH))
            return
        if status is None:
            self._children[pid] = Child(owner, True)
        self._answer(number, pid=pid)
        if status is not None:  # it has ended before it was ours
            self._send({"exit": pid, "status": status})

    def _signal(self, request: dict[str, Any]) -> None:
        pid = request["pid"]
        # Only a child that is not reaped: its pid cannot have become another's.
        sent = pid in self._children and kill(pid, request["signal"], group=request["group"])
        self._answer(request.get("id"), gone=not sent)

    def _end(self, request: dict[str, Any]) -> None:
        pid = request["pid"]
        child = self._children.get(pid)
        adopts = belongs_to(child.owner) if child and child.subreaper else None
        answer = self._tell_left(request)
        self._begin(Ending({pid} & self._children.keys(), answer, orphans=adopts, grace=request["grace"]))

    def _sweep(self, request: dict[str, Any]) -> None:
        owner = request["owner"]
        roots = [pid for pid, child in self._children.items() if child.owner == owner]
        self._begin(Ending(roots, self._tell_left(request), orphans=belongs_to(owner)))

    def _tell_left(self, request: dict[str, Any]) -> Callable[[list[int]], None]:
        return lambda left: self._answer(request.get("id"), left=left)

    def _own_path(self, request: dict[str, Any]) -> None:
        self._paths[request["path"]] = None

    def _disown_path(self, request: dict[str, Any]) -> None:
        self._paths.pop(request["path"], None)

    def _shutdown(self, request: dict[str, Any]) -> None:
        self._leave(request.get("id"))

    _OPS: ClassVar[dict[str, Callable[[Supervisor, dict[str, Any]], None]]] = {
        "spawn": _spawn,
        "adopt": _adopt,
        "signal": _signal,
        "end": _end,
        "sweep": _sweep,
        "own_path": _own_path,
        "disown_path": _disown_path,
        "shutdown": _shutdown,
    }

    # --- ends ---

    def _reap(self, woken: socket.socket) -> None:
        woken.recv(4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not pid:
                break
            if child := self._children.pop(pid, None):
                self._send({"exit": pid, "status": status})
                if child.subreaper:  # what it had adopted fell to us
                    self._begin(Ending((), lambda _: None, orphans=belongs_to(child.owner)))
            else:
                self._strangers[pid] = status
                while len(self._strangers) > STRANGERS:
                    del self._strangers[next(iter(self._strangers))]
        self._tick = 0.0

    def _begin(self, ending: Ending) -> None:
        self._endings.append(ending)
        self._tick = 0.0

    def _strike(self) -> None:
        """Signals what has to end. One look at all processes serves every ending, however many there are."""
        now = time.monotonic()
        killing = [ending for ending in self._endings if now >= ending.kill_at]
        stopped: dict[int, None] = {}
        for _ in range(KILL_ROUNDS if killing else 1):
            listing = list_processes()
            below: dict[int, list[int]] = {}
            for pid, seen in listing.items():
                below.setdefault(seen.parent, []).append(pid)
            left = {ending: ending.members(listing, below, self._children) for ending in self._endings}
            # A parent that is stopped forks no more and is still there, so its last child is found, too.
            fresh = [pid for ending in killing for pid in left[ending] if pid not in stopped]
            if not fresh:
                break
            for pid in fresh:
                kill(pid, signal.SIGSTOP)
            stopped.update(dict.fromkeys(fresh))
        for pid in stopped:
            kill(pid, signal.SIGKILL)
        for ending, members in left.items():
            if not ending.asked and ending not in killing:
                ending.asked = True
                for pid in members:
                    kill(pid, signal.SIGTERM)
            if not members or now >= ending.give_up_at:
                self._endings.remove(ending)
                ending.done(members)
        self._tick = time.monotonic() + TICK


def main() -> None:
    """Runs the supervisor of the host that is named by the arguments."""
    become_subreaper()
    os.chdir("/")
    control = socket.socket(fileno=int(sys.argv[1]))
    control.setblocking(False)
    control.set_inheritable(False)
    Supervisor(control, int(sys.argv[2])).run()
