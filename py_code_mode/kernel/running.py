"""A kernel that runs: its process, its link and its client, from the launch until nothing of it is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from kernel_bootstrap import faults
from py_code_mode.errors import KernelError
from py_code_mode.host.server import Handlers, LinkServer

from .client import KernelClient
from .engine import Engine
from .forkserver import ForkServer
from .launch import Launch
from .provisioner import CodeModeProvisioner, how_ended

_KILL_WAIT = 5.0
"""How long to wait for the news that a killed process is gone; a stopped supervisor never brings it. Seconds."""

_STACK_WAIT = 1.0
"""A kernel that does not tell in this time where its code stands is in a C call, seconds."""

_DRAIN_LIMIT = 1.0
"""What a dead kernel had sent is read within this, seconds."""

_SHUTDOWN_GRACE = 2.0
"""A kernel that is asked to end has this long (its atexit handlers run); then it is killed. Seconds."""


class RunningKernel:
    """One started kernel. Make it with ``start``; ``end`` or ``kill`` it."""

    def __init__(self, provisioner: CodeModeProvisioner, info: dict[str, Any]) -> None:
        self._provisioner = provisioner
        self._info = info
        self._client: KernelClient | None = None
        self._listeners: list[Callable[[], None]] = []
        self.returncode: int | None = None
        self._pidfd = _open_pidfd(provisioner.pid)
        self._mourning: asyncio.Task[None] | None = None
        self._exit = asyncio.get_running_loop().create_task(self._watch())

    @classmethod
    async def start(
        cls,
        engine: Engine,
        launch: Launch | None,
        handlers: Handlers,
        *,
        timeout: float,
        server: ForkServer | None = None,
    ) -> RunningKernel:
        """Launch a kernel and wait until it runs cells; KernelStartError when that takes over ``timeout`` seconds.

        ``server`` forks it; then ``launch`` may be None, for a spare kernel that waits for ``hand_out``.
        """
        provisioner = CodeModeProvisioner.make(engine, launch, handlers, server)
        kernel: RunningKernel | None = None
        try:
            arguments = await provisioner.pre_launch()
            info = await provisioner.launch_kernel(arguments.pop("cmd"), **arguments)
            kernel = cls(provisioner, dict(info))
            await kernel._until_ready(engine, timeout)
        except BaseException:
            await asyncio.shield(cls._abandon(provisioner, kernel))
            raise
        return kernel

    async def hand_out(self, launch: Launch, handlers: Handlers) -> bool:
        """Make this spare kernel that of ``launch``; False if it has ended in the meantime.

        Raises KernelStartError when it cannot work there: it is ended then.
        """
        give = asyncio.ensure_future(self.client.give_identity(self._provisioner.assign(launch, handlers)))
        try:
            await asyncio.wait({give, self._exit}, return_when=asyncio.FIRST_COMPLETED)
            if give.done():
                give.result()
                return True
        except BaseException:
            await asyncio.shield(self._abandon(self._provisioner, self))
            raise
        finally:
            give.cancel()
        await self.close()
        return False

    @staticmethod
    async def _abandon(provisioner: CodeModeProvisioner, kernel: RunningKernel | None) -> None:
        if kernel is not None:
            await kernel.kill()
            await kernel.close()
        else:
            await provisioner.kill()
            await provisioner.cleanup()

    async def _until_ready(self, engine: Engine, timeout: float) -> None:
        async def ready() -> None:
            await self._provisioner.hello
            # Not earlier: zmq looks for a socket that is not there yet only every 100 ms.
            self._client = KernelClient(engine.context, self._info)
            self.link.on_other = self._client.others.on_begun
            await self._client.ready

        task = asyncio.ensure_future(ready())
        either: set[asyncio.Future[Any]] = {task, self._exit}
        try:
            done, _ = await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            task.cancel()
        if task in done:
            task.result()
            return
        how = self.describe_end() if self.ended else f"it was not ready after {timeout:g} s"
        raise self._provisioner.start_error(how)

    @property
    def client(self) -> KernelClient:
        """The client's end of its channels."""
        assert self._client is not None, "the kernel has not started"
        return self._client

    @property
    def ended(self) -> bool:
        """Whether its process is gone, and it is known how."""
        return self.returncode is not None

    async def is_gone(self) -> bool:
        """Whether its process is gone this very moment, also where the news of it is still on its way."""
        if not self.ended and self._pidfd is not None and select.select([self._pidfd], [], [], 0)[0]:
            await self._exit
        return self.ended

    @property
    def link(self) -> LinkServer:
        """The host's end of its link."""
        return self._provisioner.link

    def on_end(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` when the process ends."""
        self._listeners.append(listener)

    def forget_end(self, listener: Callable[[], None]) -> None:
        """Undo ``on_end``."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    @property
    def connection_file(self) -> Path:
        """What other clients join it by."""
        return self._provisioner.published or self._provisioner.directory / "kernel.json"

    def publish(self, session: str, identity: str, since: datetime) -> None:
        """Let it be found as the kernel of a session: see ``live``."""
        self._provisioner.publish(session, identity, since)

    async def stack(self) -> str:
        """Where the running cell stands, "" when none runs. A C call that holds the GIL is shown by faulthandler."""
        found = await self.client.stack(_STACK_WAIT)
        if found is None and not self.ended:
            before = self.last_stack()
            self.request_stack()
            loop = asyncio.get_running_loop()
            last = loop.time() + _STACK_WAIT
            # A signal handler in C writes it, which can wake nobody.
            while (found := self.last_stack()) == before and loop.time() < last:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return found or ""

    async def look(self, name: str | None, limit: int, timeout: float) -> Any:
        """See ``KernelClient.look``; KernelError also when the kernel ends meanwhile."""
        look = asyncio.ensure_future(self.client.look(name, limit, timeout))
        try:
            await asyncio.wait({look, self._exit}, return_when=asyncio.FIRST_COMPLETED)
            if not look.done():
                raise KernelError(f"the kernel ended before it answered: {self.describe_end()}")
            return look.result()
        finally:
            look.cancel()

    def request_stack(self) -> None:
        """Let faulthandler write where the main thread stands; ``last_stack`` reads it."""
        self._provisioner.signal(faults.STACK_SIGNAL)

    def last_stack(self) -> str:
        """The last stack that faulthandler wrote, "" for none."""
        return faults.last_stack(self._provisioner.directory)

    def describe_end(self) -> str:
        """How the process ended, in words."""
        return how_ended(self.returncode)

    async def end(self) -> None:
        """Shut down politely, then by force; bounded. Closes everything."""
        if not self.ended:
            self.client.shut_down()
            await asyncio.wait({self._exit}, timeout=_SHUTDOWN_GRACE)
        await self.kill()
        await self.close()

    async def kill(self) -> None:
        """End its process and all that it started, now; bounded, also where the supervisor does not answer."""
        kill = asyncio.ensure_future(self._provisioner.kill())
        await asyncio.wait({kill}, timeout=_KILL_WAIT)
        await asyncio.wait({self._exit}, timeout=_KILL_WAIT if kill.done() else 0)
        if not self.ended:
            self._kill_directly()
            self._settle(-signal.SIGKILL)

    def _kill_directly(self) -> None:
        if self._pidfd is not None:  # the pidfd cannot have become another process
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def close(self) -> None:
        """Close its sockets and remove its directory."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        if self._client is not None:
            self._client.close()
        await self._provisioner.cleanup()

    async def _watch(self) -> None:
        code = await self._provisioner.wait()
        self._settle(-signal.SIGKILL if code is None else code)

    def _settle(self, code: int) -> None:
        if self.returncode is not None:
            return
        self.returncode = code
        self._mourning = asyncio.get_running_loop().create_task(self._end_others())
        for listener in list(self._listeners):
            listener()

    async def _end_others(self) -> None:
        if self._client is not None:
            await self._client.drain(_DRAIN_LIMIT)
            self._client.others.forget("KernelDiedError: the kernel has ended")


def _open_pidfd(pid: int | None) -> int | None:
    """A descriptor that is readable when the process has ended (pidfd_open(2)); None where there is no such thing."""
    if pid is None or not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None
