"""Runs code in a Jupyter kernel of its own, inside the workspace's virtualenv. The default executor."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from py_code_mode.errors import KernelStartError, SessionClosedError
from py_code_mode.kernel.others import wait_for_others
from py_code_mode.results import ExecutionResult, Listener, OutputCollector

from .base import Capability, Host, check_config

if TYPE_CHECKING:
    from py_code_mode.kernel.execution import Execution
    from py_code_mode.kernel.running import RunningKernel

    from .home import KernelHome


_LOOK_WAIT = 5.0
"""A kernel whose threads do not come to run shows nothing; so long one is waited for, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubprocessConfig:
    """How ``SubprocessExecutor`` works.

    tools_path          directory of tool definitions; None: those of the storage
    timeout             seconds that a run may take, None = no limit
    extra_deps          requirements beyond the configured ones
    allow_runtime_deps  whether the code and the session may add and remove packages
    python_version      such as "3.12"; None: that of the running interpreter
    cache_venv          keep the virtualenv for the next session; False: a temporary one, removed at close
    max_output_bytes    of stdout, stderr and the rich outputs each; what is beyond is cut out of the middle. None = all
    max_value_bytes     of the value; a larger one is cut and marked. None = all
    interrupt_grace     seconds in which interrupted code has to end, before its kernel is killed
    start_timeout       seconds in which a kernel has to come up
    fork_server         start kernels by forking a process that has imported what they need (Linux)
    spares              kernels that are kept ready for the next session or reset, while a session is open. 0 = none
    preload             modules that the fork server imports, such as "numpy": their import is free in each kernel
    debug               have JupyterLab's debugger in the kernel, which then starts slowly and is not forked
    env                 variables for the kernel, beside those of this process
    cwd                 where the code starts; None: the base directory of the storage, else the current one
    """

    tools_path: Path | None = None
    timeout: float | None = 60.0
    extra_deps: tuple[str, ...] = ()
    allow_runtime_deps: bool = True
    python_version: str | None = None
    cache_venv: bool = True
    max_output_bytes: int | None = 10 * 1024 * 1024
    max_value_bytes: int | None = 100 * 1000 * 1000
    interrupt_grace: float = 2.0
    start_timeout: float = 60.0
    fork_server: bool = True
    spares: int = 1
    preload: tuple[str, ...] = ()
    debug: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None

    def __post_init__(self) -> None:
        check_config(self.timeout, self.extra_deps)
        preload: object = self.preload
        if isinstance(preload, str):
            raise TypeError(f"preload must be a tuple of module names, such as ({self.preload!r},)")
        if self.spares < 0:
            raise ValueError(f"spares must be 0 or more, not {self.spares}")


class SubprocessExecutor:
    """One kernel at a time; a new one after a reset, a death or a kill."""

    capabilities = frozenset(
        {Capability.TIMEOUT, Capability.PROCESS_ISOLATION, Capability.RESET, Capability.DEPS_INSTALL}
    )

    def __init__(self, config: SubprocessConfig | None = None) -> None:
        self.config = config or SubprocessConfig()
        self._home: KernelHome | None = None
        self._host: Host | None = None
        self._kernel: asyncio.Task[RunningKernel] | None = None
        self._turn = asyncio.Lock()
        self._execution: Execution | None = None
        self._interrupt: asyncio.Future[None] | None = None
        self._lost_kernel = False

    async def start(self, host: Host) -> None:
        """Build or find the virtualenv, and start the first kernel."""
        self._host = host
        try:
            # First of all: it starts in a process of its own, while this one imports.
            supervisor = host.engine.supervisor()
            await asyncio.to_thread(import_module, "py_code_mode.executors.home")
            from .home import KernelHome

            self._home = KernelHome(self.config)
            await self._home.start(host)
            await asyncio.shield(supervisor)
            await asyncio.to_thread(import_module, "py_code_mode.kernel.execution")
            await self._running()
        except BaseException:
            await self.close()
            raise

    async def execute(self, code: str, timeout: float | None, listener: Listener | None) -> ExecutionResult:
        """Run ``code`` on the kernel, or on a new one where the last has died."""
        async with self._turn:
            self._interrupt = asyncio.get_running_loop().create_future()
            try:
                return await self._execute(code, timeout, listener, self._interrupt)
            finally:
                self._interrupt = None

    async def _execute(
        self, code: str, timeout: float | None, listener: Listener | None, interrupted: asyncio.Future[None]
    ) -> ExecutionResult:
        begin_by: float | None = None
        while True:
            kernel = await self._kernel_or_interrupt()
            if kernel is None:
                return _interrupted_before_start()
            if begin_by is None:
                begin_by = math.inf if timeout is None else asyncio.get_running_loop().time() + timeout
            if kernel.client.others.busy:
                if (refused := await wait_for_others(kernel, interrupted, timeout, begin_by)) is not None:
                    return refused
                continue  # the kernel may have ended meanwhile
            result = await self._execute_on(kernel, code, timeout, begin_by, listener)
            if result is not None:
                return result

    async def _execute_on(
        self, kernel: RunningKernel, code: str, timeout: float | None, begin_by: float, listener: Listener | None
    ) -> ExecutionResult | None:
        """The result; None when the code was not run, since another client's just before it failed."""
        from py_code_mode.kernel.execution import Execution

        config = self.config
        fresh, self._lost_kernel = self._lost_kernel, False
        execution = self._execution = Execution(
            kernel,
            code,
            OutputCollector(config.max_output_bytes, listener),
            timeout=timeout,
            begin_by=begin_by,
            grace=config.interrupt_grace,
            max_value_bytes=config.max_value_bytes,
            max_output_bytes=config.max_output_bytes,
            after_restart=fresh,
        )
        try:
            result = await execution.run()
            return None if execution.aborted else result
        finally:
            self._execution = None
            if kernel.ended:
                await self._replace(kernel)

    async def _kernel_or_interrupt(self) -> RunningKernel | None:
        """The kernel, started if need be; None when the run was interrupted while it waited."""
        assert self._interrupt is not None
        kernel = self._ready_kernel()
        if kernel is not None:
            if not await kernel.is_gone():
                return None if self._interrupt.done() else kernel
            await self._replace(kernel)
        start = asyncio.ensure_future(self._running())
        either: set[asyncio.Future[Any]] = {start, self._interrupt}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._interrupt.done() and not start.done():
            start.cancel()  # cancels the waiting only; the kernel goes on starting for the next run
            return None
        return await start

    async def _replace(self, kernel: RunningKernel) -> None:
        """Close a kernel that has ended. The next one starts, so that the next run need not wait for it."""
        if self._ready_kernel() is kernel:  # else somebody else has seen it too
            self._lost_kernel = True
            if self._host is not None:
                self._begin_start()
        await kernel.close()

    def _begin_start(self) -> asyncio.Task[RunningKernel]:
        if self._host is None:
            raise SessionClosedError("the session is closed")
        self._kernel = asyncio.get_running_loop().create_task(self._start_kernel())
        self._kernel.add_done_callback(_seen)
        return self._kernel

    async def _start_kernel(self) -> RunningKernel:
        home = self._home
        assert home is not None
        try:
            return await home.kernel()
        except KernelStartError:
            # The venv may have been broken by hand in a way that a cheap look does not show.
            await home.renew(repair=True)
            return await home.kernel()

    async def _running(self) -> RunningKernel:
        task = self._kernel
        if task is None or (task.done() and (task.cancelled() or task.exception() or task.result().ended)):
            task = self._begin_start()
        return await asyncio.shield(task)

    def interrupt(self) -> None:
        """Interrupt the run that is under way, also while it waits for a kernel."""
        if self._execution is not None:
            self._execution.interrupt()
        if self._interrupt is not None and not self._interrupt.done():
            self._interrupt.set_result(None)

    @property
    def connection_file(self) -> Path | None:
        """See ``Watchable``; None while a kernel starts."""
        kernel = self._ready_kernel()
        return None if kernel is None else kernel.connection_file

    async def look(self, name: str | None, limit: int) -> Any:
        """See ``Watchable``. Raises KernelError when the kernel does not answer within ``_LOOK_WAIT`` seconds."""
        kernel = self._ready_kernel()
        if kernel is not None and await kernel.is_gone():
            await self._replace(kernel)
        return await (await self._running()).look(name, limit, _LOOK_WAIT)

    async def stack(self) -> str:
        """See ``Watchable``; of a cell of another client as well."""
        kernel = self._ready_kernel()
        return "" if kernel is None else await kernel.stack()

    def _ready_kernel(self) -> RunningKernel | None:
        task = self._kernel
        if task is None or not task.done() or task.cancelled() or task.exception() is not None:
            return None
        return task.result()

    async def reset(self) -> None:
        """Restart the kernel, after what is queued."""
        async with self._turn:
            old, self._kernel = self._kernel, None
            end = asyncio.ensure_future(_end(old))
            try:
                self._lost_kernel = False
                await self._running()
            finally:
                await asyncio.shield(end)  # the next code must not meet what the last has left

    async def close(self) -> None:
        """End the kernel, what its code has left behind, and a temporary virtualenv."""
        self._host = None
        kernel, self._kernel = self._kernel, None
        await _end(kernel)
        if self._home is not None:
            await self._home.close()


async def _end(kernel: asyncio.Task[RunningKernel] | None) -> None:
    """End a kernel, also one that has not started yet."""
    if kernel is None:
        return
    if not kernel.done():
        kernel.cancel()
    await asyncio.wait({kernel})
    if not kernel.cancelled() and kernel.exception() is None:
        await kernel.result().end()


def _interrupted_before_start() -> ExecutionResult:
    text = "KeyboardInterrupt: the run was interrupted before it began"
    return ExecutionResult(error=text, error_name="KeyboardInterrupt", traceback=text)


def _seen(task: asyncio.Task[Any]) -> None:
    # A start in the background that fails is reported by the run that needs it.
    if not task.cancelled():
        task.exception()
