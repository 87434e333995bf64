"""One command, run to its end: input in, output out, within limits."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from py_code_mode.errors import ProcessError

from .processes import Process, Processes

CHUNK = 1 << 16
"""Bytes read or written at once: what a pipe holds by default."""


class OutputLimit(Exception):  # noqa: N818 - says what was reached, as TimeoutError's callers expect of it
    """A command wrote more than ``limit`` bytes to stdout, or to stderr."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes of output")
        self.limit = limit


@dataclass(frozen=True, slots=True)
class Completed:
    """What came of a command; ``exit_code`` is negative for a signal."""

    exit_code: int
    stdout: bytes
    stderr: bytes


async def run(
    processes: Processes,
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | os.PathLike[str],
    owner: str,
    stdin: bytes | None,
    timeout: float | None,
    max_output: int,
) -> Completed:
    """Runs ``argv`` until it ends; a daemon that it leaves behind is not waited for.

    ``timeout`` is in seconds, ``max_output`` in bytes for each of stdout and stderr. Whatever ends this
    early, the command and its descendants are ended first.

    Raises TimeoutError, OutputLimit, and what ``Processes.spawn`` raises.
    """
    exchange = _Exchange(stdin, max_output)
    try:
        async with asyncio.timeout(timeout):
            stdin_end, stdout_end, stderr_end = exchange.child
            process = await processes.spawn(
                argv, env=env, cwd=cwd, owner=owner, stdin=stdin_end, stdout=stdout_end, stderr=stderr_end
            )
            try:
                exit_code = await exchange.until_exit(process)
            except BaseException:
                await process.end()
                raise
    finally:
        exchange.close()
    if processes.lost:
        raise ProcessError(f"the supervisor of processes is gone, and {argv[0]!r} with it")
    return Completed(exit_code, exchange.stdout.read(), exchange.stderr.read())


class _Output:
    """What a command writes to one pipe."""

    def __init__(self, fd: int, limit: int) -> None:
        self.fd = fd
        self._limit = limit
        self._size = 0
        self._chunks: list[bytes] = []
        os.set_blocking(fd, False)

    def take(self) -> bytes | None:
        """Reads a chunk: empty at the end, None if there is nothing now. Raises OutputLimit."""
        try:
            chunk = os.read(self.fd, CHUNK)
        except BlockingIOError:
            return None
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._size > self._limit:
            raise OutputLimit(self._limit)
        return chunk

    def read(self) -> bytes:
        """All of it."""
        return b"".join(self._chunks)


class _Exchange:
    """The pipes to and from one command. The ends in ``child`` are closed here once it has them."""

    def __init__(self, stdin: bytes | None, limit: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._fds: set[int] = set()
        self._watched: set[int] = set()
        self._input = memoryview(stdin or b"")
        self._ended: asyncio.Future[None] = self._loop.create_future()
        reading: int | None = None
        try:
            if stdin is not None:
                reading, self._stdin = self._pipe()
                os.set_blocking(self._stdin, False)
                self._feed()
            stdout, child_stdout = self._pipe()
            stderr, child_stderr = self._pipe()
        except OSError as error:
            self.close()
            raise ProcessError(f"no pipe for a command: {error.strerror}") from error
        self.child = (reading, child_stdout, child_stderr)
        self.stdout = _Output(stdout, limit)
        self.stderr = _Output(stderr, limit)

    async def until_exit(self, process: Process) -> int:
        """Serves the pipes until ``process`` has ended: its returncode. Raises OutputLimit."""
        for fd in self.child:
            self._close(fd)
        if process.returncode is None:
            process.add_done_callback(self._on_exit)
            for output in (self.stdout, self.stderr):
                self._loop.add_reader(output.fd, self._on_output, output)
                self._watched.add(output.fd)
            if self._input:
                self._loop.add_writer(self._stdin, self._feed)
                self._watched.add(self._stdin)
            await self._ended
        for output in (self.stdout, self.stderr):
            # A daemon may hold the pipe open: what the process itself wrote is there by now.
            while output.take():
                pass
        return await process.wait()

    def close(self) -> None:
        """Closes every fd that is still open."""
        for fd in tuple(self._fds):
            self._close(fd)

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        self._fds.update(ends)
        return ends

    def _close(self, fd: int | None) -> None:
        if fd is None or fd not in self._fds:
            return
        self._unwatch(fd)
        self._fds.remove(fd)
        os.close(fd)

    def _unwatch(self, fd: int) -> None:
        if fd in self._watched:
            self._watched.remove(fd)
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)

    def _feed(self) -> None:
        try:
            while self._input:
                self._input = self._input[os.write(self._stdin, self._input[:CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # the command does not want the rest
            self._input = self._input[:0]
        self._close(self._stdin)

    def _on_output(self, output: _Output) -> None:
        try:
            if output.take() == b"":
                self._unwatch(output.fd)
        except OutputLimit as error:
            self._unwatch(output.fd)
            if not self._ended.done():
                self._ended.set_exception(error)

    def _on_exit(self, _returncode: int) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
