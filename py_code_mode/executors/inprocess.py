"""Runs code in this very process: fastest, and with no isolation at all."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_bootstrap.look import LookError
from py_code_mode.deps.uvtool import find_uv
from py_code_mode.errors import KernelError, SessionClosedError, VenvError
from py_code_mode.host.server import Handlers
from py_code_mode.inprocess.installer import BesideInstaller, SearchPath, packages_directory
from py_code_mode.inprocess.run import Run
from py_code_mode.inprocess.worker import Worker
from py_code_mode.results import ExecutionResult, Listener, OutputCollector

from .base import Capability, Host, check_config

_LOOK_WAIT = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InProcessConfig:
    """How ``InProcessExecutor`` works.

    tools_path          directory of tool definitions; None: those of the storage
    timeout             seconds that a run may take, None = no limit
    extra_deps          requirements beyond the configured ones
    allow_runtime_deps  whether the code and the session may add and remove packages
    max_output_bytes    of stdout, stderr and the rich outputs each; what is beyond is cut out of the
                        middle. None = all
    cwd                 where tools start; None: the base directory of the storage, else the current one.
                        The code itself runs in the current directory of this process
    interrupt_grace     seconds in which interrupted code has to end, before its thread is given up
    """

    tools_path: Path | None = None
    timeout: float | None = 30.0
    extra_deps: tuple[str, ...] = ()
    allow_runtime_deps: bool = True
    max_output_bytes: int | None = 10 * 1024 * 1024
    cwd: Path | None = None
    interrupt_grace: float = 2.0

    def __post_init__(self) -> None:
        check_config(self.timeout, self.extra_deps)


class InProcessExecutor:
    """Code runs on a thread of its own with its own event loop and variables, which it keeps between runs.

    Background tasks of the code go on between runs. What it imports, and what it changes in modules, in
    ``os.environ`` or in the current directory, it changes for the whole process. Values are not copied:
    ``result.value`` is the object itself. IPython's syntax does not work.

    A run that is out of time is stopped wherever it awaits, calls a tool or executes Python. A C call that
    blocks (``time.sleep``, a socket, ``thread.join()``) cannot be stopped, nor can code that catches every
    KeyboardInterrupt: the session goes on with a new thread and no variables, and the old thread ends when
    the call returns. So this executor does not have the capability ``timeout``. ``os._exit``, a segmentation
    fault or a lack of memory end the whole process. What child processes write goes where this process
    writes, and threads of the code that are not daemons keep this process from ending.

    Packages are installed into a directory of the workspace in the cache, which is the last on ``sys.path``
    while a session is open. The environment of this process is never changed, and what it has comes first.
    """

    def __init__(self, config: InProcessConfig | None = None) -> None:
        self.config = config or InProcessConfig()
        self._host: Host | None = None
        self._handlers: Handlers = {}
        self._packages: Path | None = None
        self._worker: Worker | None = None
        self._turn = asyncio.Lock()
        self._run: Run | None = None
        self._fresh = False

    @property
    def capabilities(self) -> frozenset[Capability]:
        """``reset``, and ``deps_install`` where uv is there."""
        try:
            find_uv()
        except VenvError:
            return frozenset({Capability.RESET})
        return frozenset({Capability.RESET, Capability.DEPS_INSTALL})

    async def start(self, host: Host) -> None:
        """Make the thread."""
        packages = packages_directory(host.identity)
        self._handlers = await host.handlers(BesideInstaller(packages))
        self._worker = Worker(self._handlers)
        SearchPath.add(packages)
        self._packages = packages
        self._host = host

    async def execute(self, code: str, timeout: float | None, listener: Listener | None) -> ExecutionResult:
        """Run ``code`` on the thread, or on a new one where the last is stuck."""
        async with self._turn:
            if self._host is None:
                raise SessionClosedError("the session is closed")
            worker = self._worker
            if worker is None or worker.gone.done():
                self._fresh = True
                worker = self._worker = Worker(self._handlers)
            fresh, self._fresh = self._fresh, False
            collector = OutputCollector(self.config.max_output_bytes, listener)
            collector.begin(code)
            self._run = Run(
                worker,
                code,
                collector,
                timeout=timeout,
                grace=self.config.interrupt_grace,
                after_restart=fresh,
            )
            try:
                return await self._run.run()
            finally:
                if self._run.lost:
                    self._worker = None
                    await worker.abandon()
                self._run = None

    def interrupt(self) -> None:
        """Interrupt the run that is under way."""
        if self._run is not None:
            self._run.interrupt()

    connection_file = None

    async def look(self, name: str | None, limit: int) -> Any:
        """See ``Watchable``. Raises KernelError when a repr does not come back."""
        if self._worker is None:
            return []
        interpreter = self._worker.interpreter
        try:
            async with asyncio.timeout(_LOOK_WAIT):
                return await asyncio.to_thread(interpreter.look, name, limit)
        except LookError as error:
            raise KernelError(str(error)) from None
        except TimeoutError:
            raise KernelError(f"there was no answer within {_LOOK_WAIT:g} s: a repr may block") from None

    async def stack(self) -> str:
        """See ``Watchable``."""
        return self._worker.stack() if self._worker is not None and self._run is not None else ""

    async def reset(self) -> None:
        """Go on with a new thread and no variables, after what is queued."""
        async with self._turn:
            await self._end_worker()
            self._fresh = False
            if self._host is not None:
                self._worker = Worker(self._handlers)

    async def close(self) -> None:
        """Interrupt what runs, end the thread, and put back the streams and ``sys.path``."""
        if self._host is None:
            return
        self._host = None
        self.interrupt()
        async with self._turn:
            await self._end_worker()
        if self._packages is not None:
            SearchPath.remove(self._packages)

    async def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.close(self.config.interrupt_grace)
