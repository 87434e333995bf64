"""The host's side of a fork server: a process that forks kernels, ready in a tenth of the time of a start."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from py_code_mode.errors import KernelStartError, ProcessError

from .launch import Launch, private_variables
from .processes import CANCEL_WAIT, Process, Processes

if TYPE_CHECKING:
    from .engine import Engine

START_TIMEOUT = 60.0
"""Seconds for the first word of a server: a cold start imports some 600 modules, and what is preloaded."""

_INHERITED = ("PATH", "TMPDIR")
"""All that a server has of the host's environment: /proc shows it to the code in a kernel, secrets included."""

_LONGEST_LINE = 1 << 20


class ForkServer:
    """One server. ``failed`` has the modules that it could not preload, and why."""

    def __init__(self, processes: Processes, owner: str) -> None:
        self._processes = processes
        self._owner = owner
        self._process: Process | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._listener: asyncio.Task[None] | None = None
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._sent = 0
        self._ending: set[asyncio.Future[None]] = set()
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the server
        self.failed: dict[str, str] = {}

    @classmethod
    async def start(
        cls, engine: Engine, python: Path, env: Mapping[str, str], modules: tuple[str, ...] = ()
    ) -> ForkServer:
        """Start a server in the virtualenv of ``python``, with the modules imported.

        Raises KernelStartError when it does not come up, or may not fork with these modules.
        """
        processes = await engine.processes()
        # As long as a session's id: a kernel writes its own owner over this one.
        self = cls(processes, os.urandom(8).hex())
        try:
            await self._spawn(python, env, modules)
            async with asyncio.timeout(START_TIMEOUT):
                line = await self._reader.readline()
            if not line:
                raise KernelStartError(f"the fork server did not start: {self._last_words()}")
            ready = json.loads(line)
            if ready["unsafe"]:
                raise KernelStartError(ready["unsafe"])
            self.failed = ready["failed"]
        except TimeoutError:
            await asyncio.shield(self.close())
            raise KernelStartError(f"the fork server was not ready after {START_TIMEOUT:g} s") from None
        except BaseException:
            await asyncio.shield(self.close())
            raise
        self._listener = asyncio.get_running_loop().create_task(self._listen())
        return self

    async def _spawn(self, python: Path, env: Mapping[str, str], modules: tuple[str, ...]) -> None:
        ours, theirs = socket.socketpair()
        try:
            self._process = await self._processes.spawn(
                [str(python), "-P", "-m", "kernel_bootstrap.forkserver", *modules],
                env={**{name: os.environ[name] for name in _INHERITED if name in os.environ}, **env},
                cwd="/",
                owner=self._owner,
                stdin=theirs.fileno(),
                stdout=self._log.fileno(),
                stderr=self._log.fileno(),
                subreaper=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._reader, self._writer = await asyncio.open_unix_connection(sock=ours, limit=_LONGEST_LINE)

    @property
    def lost(self) -> bool:
        """Whether it has ended."""
        return self._listener is None or self._listener.done()

    async def fork(self, directory: Path, launch: Launch | None) -> Process:
        """A process that becomes the kernel of ``directory``: of ``launch``, or a spare one.

        Raises ProcessError when the server is gone.
        """
        if self.lost:
            raise ProcessError("the fork server is gone")
        fork = asyncio.ensure_future(self._fork(directory, launch))
        try:
            return await asyncio.shield(fork)
        except asyncio.CancelledError:
            # It may be there already: a process of which nobody knows would stay, and write into a directory that
            # its caller removes next.
            end = asyncio.ensure_future(_end_unwanted(fork))
            self._ending.add(end)
            end.add_done_callback(self._ending.discard)
            await asyncio.wait({end}, timeout=CANCEL_WAIT)
            raise

    async def _fork(self, directory: Path, launch: Launch | None) -> Process:
        self._sent += 1
        reply = self._replies[self._sent] = asyncio.get_running_loop().create_future()
        request = {
            "id": self._sent,
            "connection_file": str(directory / "kernel.json"),
            "env": private_variables(directory),
            "identity": launch.identity(directory, self._processes.mark(launch.owner)) if launch else None,
        }
        self._writer.write(json.dumps(request).encode() + b"\n")
        answer = await reply
        if "error" in answer:
            raise ProcessError(f"the fork server cannot fork: {answer['error']}")
        return await self._processes.adopt(answer["pid"], launch.owner if launch else self._owner)

    async def _listen(self) -> None:
        try:
            while line := await self._reader.readline():
                answer = json.loads(line)
                reply = self._replies.pop(answer["id"])
                if not reply.done():
                    reply.set_result(answer)
        except (OSError, ValueError, LookupError):
            pass  # no server of ours speaks like this: it is of no use any more
        finally:
            for reply in self._replies.values():
                if not reply.done():
                    reply.set_exception(ProcessError("the fork server is gone"))
                    reply.exception()  # seen, where nobody waits any more
            self._replies.clear()
            self._writer.close()
            self._log.close()

    def _last_words(self) -> str:
        self._log.seek(0)
        return self._log.read()[-2000:].decode("utf-8", "replace").strip()

    async def close(self) -> None:
        """End the server; its kernels live on."""
        if self._ending:
            await asyncio.wait(self._ending)
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait({self._listener})
        elif self._process is not None:  # it did not come so far
            self._writer.close()
        if self._process is not None:
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
            await self._process.end()
        self._log.close()


async def _end_unwanted(fork: asyncio.Future[Process]) -> None:
    with contextlib.suppress(ProcessError):
        await (await fork).end()
