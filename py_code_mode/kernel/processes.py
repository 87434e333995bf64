"""The processes of this host: spawned, watched and ended through its supervisor.

One supervisor (``kernel_bootstrap.supervisor``, a process of its own) serves one event loop. It is the parent
of everything that is spawned here, so that nothing of it outlives this process. Every method is called on
the loop that ``Processes.start`` ran on.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kernel_bootstrap import proctree
from py_code_mode.errors import ProcessError

from .channel import Channel

START_TIMEOUT = 20.0
"""Seconds for the supervisor's first word; it takes 0.03 on an idle machine."""
REPLY_TIMEOUT = 30.0
"""Seconds for an answer, beyond the time that was asked for; only a stopped supervisor comes near it."""
CANCEL_WAIT = 5.0
"""Seconds that a cancelled spawn waits for the end of what it may have started."""
CLOSE_TIMEOUT = 10.0
"""Seconds for ending every process and removing the owned paths, before the supervisor is killed."""
SPAWNS_AT_ONCE = 64
"""Each holds four fds on its way; more at once would only wait for the same processors."""

_log = logging.getLogger(__name__)


class Process:
    """One spawned process; ``owner`` is whose it is."""

    def __init__(self, processes: Processes, pid: int, owner: str) -> None:
        self.pid = pid
        self.owner = owner
        self._processes = processes
        self._exited: asyncio.Future[int] = processes._loop.create_future()

    def __repr__(self) -> str:
        return f"<Process {self.pid} returncode={self.returncode}>"

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative for the signal that ended it; -9 if the supervisor died."""
        return self._exited.result() if self._exited.done() else None

    def signal(self, signum: int, *, group: bool = False) -> None:
        """Sends a signal to the process, or to its process group. One that is gone is no error."""
        if self.returncode is None:
            self._processes._tell("signal", pid=self.pid, signal=int(signum), group=group)

    def give(self, owner: str) -> str:
        """From now on it belongs to ``owner``; returns what its environment has to say so (``Processes.mark``)."""
        self.owner = owner
        mark = self._processes.mark(owner)
        self._processes._tell("adopt", pid=self.pid, owner=mark)
        return mark

    async def wait(self) -> int:
        """The returncode, once the process has ended."""
        return await asyncio.shield(self._exited)

    async def end(self, *, grace: float = 0.0) -> None:
        """Ends the process and its descendants; returns when they are gone.

        SIGTERM first, then SIGKILL after ``grace`` seconds; SIGKILL at once when it is 0. A survivor (in
        uninterruptible sleep) is logged. A process that has ended by itself is left alone with what it
        started: ``Processes.sweep`` ends that.
        """
        if self.returncode is None:
            with contextlib.suppress(ProcessError):  # without a supervisor, it has ended
                reply = await self._processes._ask("end", REPLY_TIMEOUT + grace, pid=self.pid, grace=grace)
                _warn_of(reply["left"])

    def add_done_callback(self, callback: Callable[[int], None]) -> None:
        """Calls ``callback(returncode)`` on the loop as soon as the process has ended."""
        self._exited.add_done_callback(lambda exited: callback(exited.result()))

    def _finish(self, returncode: int) -> None:
        if not self._exited.done():
            self._exited.set_result(returncode)


class Processes:
    """The processes of this host, owned by its supervisor.

    ``on_lost`` is called on the loop if the supervisor dies by itself; every process counts as ended then.
    """

    def __init__(self) -> None:
        self.on_lost: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._mark = f"{os.urandom(8).hex()}:"  # before each owner: no other host has the same
        self._ids = itertools.count(1)
        self._replies: dict[int, tuple[asyncio.Future[Any], Callable[[Any], Any]]] = {}
        self._live: dict[int, Process] = {}
        self._discarding: set[asyncio.Task[None]] = set()
        self._spawning = asyncio.Semaphore(SPAWNS_AT_ONCE)
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._closing = False
        self._shut_down = False
        self._channel = Channel(self._on_frame, self._on_gone)
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    @classmethod
    async def start(cls) -> Processes:
        """Starts the supervisor. Raises ProcessError when it does not come up."""
        return await cls().until_ready()

    async def until_ready(self) -> Processes:
        """Itself, when the supervisor that it has launched is there. Called once, first; raises as ``start``."""
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await self._ready
        except TimeoutError:
            raise ProcessError(
                f"the supervisor of processes did not start within {START_TIMEOUT:g} s: "
                f"check that {sys.executable} is a Python interpreter"
            ) from None
        finally:
            if self._ready.cancelled():
                self._closing = True
                self._channel.close()
        return self

    @property
    def lost(self) -> bool:
        """Whether the supervisor is gone: after ``close``, or because it died."""
        return self._gone.done()

    async def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str | os.PathLike[str],
        owner: str,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        subreaper: bool = False,
    ) -> Process:
        """Starts ``argv`` in a session of its own, with exactly ``env``, and returns once it is executed.

        ``stdin``, ``stdout`` and ``stderr`` are fds, which stay the caller's; None is /dev/null. ``owner``
        is what ``sweep`` asks for. A ``subreaper`` becomes the parent of its own daemons (Linux), and what
        it leaves behind is ended with it.

        Raises FileNotFoundError or PermissionError for the command, ProcessError for anything else.
        """
        if not argv:
            raise ProcessError("an empty command cannot be started")
        request = {
            "argv": [_text(part) for part in argv],
            "env": {_text(name): _text(value) for name, value in env.items()},
            "cwd": _absolute(cwd),
            "owner": self.mark(owner),
            "subreaper": subreaper,
        }
        async with self._spawning:
            fds = [self._null if fd is None else fd for fd in (stdin, stdout, stderr)]
            reply = self._request("spawn", request, fds, lambda answer: self._adopt(answer["pid"], owner))
            try:
                async with asyncio.timeout(REPLY_TIMEOUT):
                    process: Process = await asyncio.shield(reply)
            except _Refused as refused:
                raise _spawn_error(refused, argv[0], cwd) from None
            except TimeoutError:
                self._discard(reply)
                self._channel.close()  # kills it: the next that asks gets a new one
                raise ProcessError("the supervisor of processes does not answer") from None
            except asyncio.CancelledError:
                await asyncio.wait([self._discard(reply)], timeout=CANCEL_WAIT)
                raise
        return process

    async def adopt(self, pid: int, owner: str) -> Process:
        """Take over a process whose parent is the supervisor. Raises ProcessError when there is no such process."""
        request = {"pid": pid, "owner": self.mark(owner)}
        reply = self._request("adopt", request, [], lambda answer: self._adopt(answer["pid"], owner))
        try:
            async with asyncio.timeout(REPLY_TIMEOUT):
                process: Process = await asyncio.shield(reply)
        except _Refused:
            raise ProcessError(f"there is no process {pid} to take over") from None
        except TimeoutError:
            self._channel.close()
            raise ProcessError("the supervisor of processes does not answer") from None
        except asyncio.CancelledError:
            self._discard(reply)
            raise
        return process

    def mark(self, owner: str) -> str:
        """``owner`` as it stands in the environment of a process (``proctree.OWNER``)."""
        return self._mark + _text(owner)

    async def sweep(self, owner: str) -> None:
        """Ends every process of ``owner``, daemons included. Raises ProcessError without a supervisor."""
        _warn_of((await self._ask("sweep", owner=self.mark(owner)))["left"])

    def own_path(self, path: str | os.PathLike[str]) -> None:
        """Has a file or directory removed when this process is gone, whatever way it goes."""
        self._tell("own_path", path=_absolute(path))

    def disown_path(self, path: str | os.PathLike[str]) -> None:
        """Forgets a file or directory, which is not removed then."""
        self._tell("disown_path", path=_absolute(path))

    async def close(self) -> None:
        """Ends every process and the supervisor, and removes the owned paths. Never raises."""
        if not self._closing:
            if not self._gone.done():
                self._request("shutdown", {}, [], self._on_shut_down)
            self._closing = True
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await asyncio.shield(self._gone)
        except TimeoutError:
            _log.warning("the supervisor of processes did not end in time and was killed")
        finally:
            self._channel.close()

    # --- requests ---

    def _request(
        self, op: str, fields: dict[str, Any], fds: list[int], convert: Callable[[Any], Any]
    ) -> asyncio.Future[Any]:
        if self._closing or self._gone.done():
            raise ProcessError("the supervisor of processes is gone: no process can be started or ended")
        reply: asyncio.Future[Any] = self._loop.create_future()
        number = next(self._ids)
        self._replies[number] = reply, convert
        try:
            self._channel.send({"op": op, "id": number, **fields}, fds)
        except OSError as error:
            del self._replies[number]
            raise ProcessError(f"stdin, stdout or stderr cannot be passed on: {error.strerror}") from error
        return reply

    async def _ask(self, op: str, timeout: float = REPLY_TIMEOUT, **fields: Any) -> Any:
        reply = self._request(op, fields, [], lambda answer: answer)
        try:
            async with asyncio.timeout(timeout):
                return await reply
        except TimeoutError:
            self._channel.close()
            raise ProcessError("the supervisor of processes does not answer") from None

    def _tell(self, op: str, **fields: Any) -> None:
        """A request without an answer; nothing happens when the supervisor is gone."""
        if not (self._closing or self._gone.done()):
            self._channel.send({"op": op, **fields}, [])

    def _discard(self, reply: asyncio.Future[Process]) -> asyncio.Task[None]:
        """Ends a process whose spawn was given up before its pid was known."""
        task = self._loop.create_task(_end_unwanted(reply))
        self._discarding.add(task)
        task.add_done_callback(self._discarding.discard)
        return task

    # --- what comes back ---

    def _on_frame(self, frame: dict[str, Any]) -> None:
        if "exit" in frame:
            process = self._live.pop(frame["exit"])
            process._finish(os.waitstatus_to_exitcode(frame["status"]))
        elif "ready" in frame:
            if not self._ready.done():
                self._ready.set_result(None)
        elif "id" in frame:
            reply, convert = self._replies.pop(frame["id"])
            if error := frame.get("error"):
                _fail(reply, _Refused(error["errno"], error["message"], error["stage"]))
            else:
                value = convert(frame)  # also if nobody waits any more: a process is there then
                if not reply.done():
                    reply.set_result(value)

    def _adopt(self, pid: int, owner: str) -> Process:
        process = self._live[pid] = Process(self, pid, owner)
        return process

    def _on_shut_down(self, answer: dict[str, Any]) -> None:
        self._shut_down = True
        _warn_of(answer["left"])

    def _on_gone(self) -> None:
        self._gone.set_result(None)
        os.close(self._null)
        live, self._live = self._live, {}
        if not self._shut_down:  # it ended nothing, and not all children die with it
            for pid in live:
                proctree.kill(pid, signal.SIGKILL, group=True)
            proctree.kill_marked(self._mark)
        for process in live.values():
            process._finish(-signal.SIGKILL)
        replies, self._replies = self._replies, {}
        for waiting in (self._ready, *(reply for reply, _ in replies.values())):
            _fail(waiting, ProcessError("the supervisor of processes is gone"))
        if self.on_lost and not self._closing:
            self.on_lost()


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """The supervisor's answer to a request that failed."""

    def __init__(self, code: int, message: str, stage: str) -> None:
        super().__init__(code, message, stage)
        self.code = code
        self.message = message
        self.stage = stage


def _spawn_error(refused: _Refused, command: str, cwd: str | os.PathLike[str]) -> Exception:
    if refused.stage == "cwd":
        return ProcessError(f"the working directory {os.fspath(cwd)!r} cannot be used: {refused.message}")
    if refused.stage == "interpreter":
        return FileNotFoundError(refused.code, "The interpreter that its first line names is missing", command)
    if refused.stage == "command" and refused.code in (errno.ENOENT, errno.EACCES, errno.EPERM):
        return OSError(refused.code, refused.message, command)  # FileNotFoundError or PermissionError
    return ProcessError(f"cannot run {command!r}: {refused.message}")


async def _end_unwanted(reply: asyncio.Future[Process]) -> None:
    with contextlib.suppress(ProcessError, _Refused):
        await (await reply).end()


def _text(part: str | os.PathLike[str]) -> str:
    """``part`` as its bytes in UTF-8, which is what the supervisor takes it for."""
    text = os.fsencode(part).decode("utf-8", "surrogateescape")
    if "\0" in text:
        raise ProcessError(f"a command, its environment and its directory cannot hold a NUL: {part!r}")
    return text


def _absolute(path: str | os.PathLike[str]) -> str:
    return _text(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def _fail(reply: asyncio.Future[Any], error: Exception) -> None:
    if not reply.done():
        reply.set_exception(error)
        reply.exception()  # nobody may be waiting any more


def _warn_of(left: list[int]) -> None:
    if left:
        _log.warning("processes that SIGKILL did not end: %s", ", ".join(map(str, left)))
