"""Kernels in milliseconds: fork servers, and the spare kernels that they keep ready.

One pool serves all sessions of a process. Sessions whose kernels are made of the same things (virtualenv below,
start-up variables, preloaded modules) share a server and its spares; the last of them to leave ends both.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from py_code_mode.deps.base import LOCK_NAME
from py_code_mode.deps.locks import held
from py_code_mode.deps.uvtool import UV_TIMEOUT
from py_code_mode.errors import KernelStartError, ProcessError

from .forkserver import ForkServer
from .launch import Launch
from .venv import Venv
from .venv_layout import MARKER, site_packages

if TYPE_CHECKING:
    from py_code_mode.host.server import Handlers

    from .engine import Engine
    from .running import RunningKernel

REFILL_AFTER = 0.1
"""A session that was just given a kernel runs its first cells before another spare is made, seconds."""

Progress = Callable[[str], None]


@dataclass(eq=False)
class _Group:
    """The sessions that share a server, with it and its spares."""

    python: Path
    env: dict[str, str]
    modules: tuple[str, ...]
    users: dict[str, int] = field(default_factory=dict)
    server: asyncio.Task[ForkServer] | None = None
    spares: list[asyncio.Task[RunningKernel]] = field(default_factory=list)
    filling: asyncio.Task[None] | None = None
    starting: int = 0

    @property
    def wanted(self) -> int:
        """How many spares there should be."""
        return max(self.users.values(), default=0)


_pools: WeakKeyDictionary[Engine, Pool] = WeakKeyDictionary()


class Pool:
    """Starts kernels, by fork where that is possible. Lives on the engine's loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._groups: dict[Hashable, _Group] = {}
        self._joined: dict[str, Hashable] = {}
        self._told: set[str] = set()

    @classmethod
    def of(cls, engine: Engine) -> Pool:
        """The pool of ``engine``; called on its loop."""
        pool = _pools.get(engine)
        if pool is None:
            pool = _pools[engine] = cls(engine)
            engine.at_close(pool.close)
        return pool

    async def prepare(self, launch: Launch) -> None:
        """Let the server for ``launch`` start, in the background."""
        if (group := await self._join(launch)) is not None:
            self._server(group)

    async def server(self, launch: Launch, progress: Progress) -> ForkServer | None:
        """What forks kernels for ``launch``; None where they have to start from scratch."""
        group = await self._join(launch)
        return None if group is None else await self._ready_server(group, progress)

    async def kernel(self, launch: Launch, handlers: Handlers, *, timeout: float, progress: Progress) -> RunningKernel:
        """A kernel that runs cells. Raises KernelStartError when it does not come up within ``timeout`` seconds."""
        from .running import RunningKernel

        group = await self._join(launch)
        if group is None:
            return await RunningKernel.start(self._engine, launch, handlers, timeout=timeout)
        group.starting += 1
        try:
            return await self._from(group, launch, handlers, timeout, progress)
        finally:
            group.starting -= 1
            self._fill_soon(group)

    async def leave(self, owner: str) -> None:
        """The session ``owner`` needs no more kernels."""
        key = self._joined.pop(owner, None)
        group = self._groups.get(key)
        if group is not None and group.users.pop(owner, None) is not None and not group.users:
            del self._groups[key]
            await self._end(group)

    async def filled(self) -> None:
        """Wait until there are as many spares as there should be."""
        await asyncio.gather(*(asyncio.wait({group.filling}) for group in self._groups.values() if group.filling))

    async def close(self) -> None:
        """End all servers and spares."""
        groups = list(self._groups.values())
        self._groups.clear()
        self._joined.clear()
        await asyncio.gather(*map(self._end, groups))

    # -- groups -----------------------------------------------------------------------------------------

    async def _join(self, launch: Launch) -> _Group | None:
        """The group of ``launch``; None when its kernels cannot be forked."""
        if not launch.fork or why_no_fork():
            return None
        try:
            python, stamp = await asyncio.to_thread(_server_python, launch)
        except OSError as error:
            raise KernelStartError(f"the virtualenv {launch.venv.path} is damaged: {error}") from error
        env = launch.at_start()
        key = (python, stamp, tuple(sorted(env.items())), launch.preload)
        before = self._joined.get(launch.owner)
        if key != before:
            await self.leave(launch.owner)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(python, env, launch.preload)
        group.users[launch.owner] = launch.spares
        self._joined[launch.owner] = key
        return group

    def _server(self, group: _Group) -> asyncio.Task[ForkServer]:
        task = group.server
        if task is None or (task.done() and (task.cancelled() or task.exception() or task.result().lost)):
            task = group.server = self._loop.create_task(self._start_server(group))
            task.add_done_callback(_seen)
        return task

    async def _start_server(self, group: _Group) -> ForkServer:
        start = ForkServer.start(self._engine, group.python, group.env, group.modules)
        if not group.modules:
            return await start
        try:
            # What it imports from the workspace must not be half-installed.
            async with held(group.python.parent.parent / LOCK_NAME, timeout=UV_TIMEOUT):
                return await start
        except OSError as error:
            start.close()
            raise KernelStartError(f"the packages to preload cannot be locked: {error}") from error

    async def _end(self, group: _Group) -> None:
        if group.filling is not None:
            group.filling.cancel()
        spares, group.spares = group.spares, []
        await asyncio.gather(*map(_end_spare, spares))
        if group.server is not None:
            group.server.cancel()
            await asyncio.wait({group.server})
            if not group.server.cancelled() and group.server.exception() is None:
                await group.server.result().close()

    # -- kernels ----------------------------------------------------------------------------------------

    async def _from(
        self, group: _Group, launch: Launch, handlers: Handlers, timeout: float, progress: Progress
    ) -> RunningKernel:
        from .running import RunningKernel

        while group.spares:
            spare = group.spares.pop(0)
            try:
                kernel = await asyncio.shield(spare)
            except asyncio.CancelledError:
                group.spares.insert(0, spare)
                raise
            except (KernelStartError, ProcessError):
                continue
            if await kernel.hand_out(launch, handlers):
                return kernel
        for _ in range(2):  # a server that was killed gets a successor
            if (server := await self._ready_server(group, progress)) is None:
                break
            try:
                return await RunningKernel.start(self._engine, launch, handlers, timeout=timeout, server=server)
            except ProcessError:
                continue
        return await RunningKernel.start(self._engine, launch, handlers, timeout=timeout)

    async def _ready_server(self, group: _Group, progress: Progress) -> ForkServer | None:
        try:
            server = await asyncio.shield(self._server(group))
        except KernelStartError as error:
            self._tell(f"kernels start slowly: {error}", progress)
            return None
        except ProcessError:
            return None
        for name, why in server.failed.items():
            self._tell(f"{name} cannot be preloaded: {why}", progress)
        return server

    def _tell(self, line: str, progress: Progress) -> None:
        if line not in self._told:
            self._told.add(line)
            progress(line)

    def _fill_soon(self, group: _Group) -> None:
        if group.filling is not None:
            group.filling.cancel()  # the spares that it has begun go on
        group.filling = self._loop.create_task(self._fill(group))

    async def _fill(self, group: _Group) -> None:
        await asyncio.sleep(REFILL_AFTER)
        if group.starting or not group.users:
            return  # whoever starts now comes back here
        group.spares = [spare for spare in group.spares if not _useless(spare)]
        while len(group.spares) < group.wanted:
            spare = self._loop.create_task(self._make_spare(group))
            spare.add_done_callback(_seen)
            group.spares.append(spare)
        if group.spares:
            await asyncio.wait(group.spares)

    async def _make_spare(self, group: _Group) -> RunningKernel:
        from .running import RunningKernel

        server = await asyncio.shield(self._server(group))
        return await RunningKernel.start(self._engine, None, {}, timeout=60.0, server=server)


def why_no_fork() -> str:
    """Why kernels are not forked on this system; "" where they are."""
    if sys.platform != "linux":
        return "it needs Linux: a kernel that outlives its fork server would be an orphan elsewhere"
    return ""


def _server_python(launch: Launch) -> tuple[Path, Hashable]:
    """The Python whose server forks kernels for ``launch``, and what it must not have changed since.

    The base's, which every workspace can use, unless this one preloads packages of its own, or has another version
    of one that the base has imported.
    """
    venv = launch.venv
    own = venv.site_packages()
    stamp = own.stat().st_mtime_ns
    # A base that was made again in its place is another one: its marker is written last.
    base = (venv.base / MARKER).stat().st_ino
    if not launch.preload and not (any(own.glob("*.dist-info")) and _differs(venv, own, stamp)):
        return venv.base / "bin" / "python", base
    return venv.python, (base, stamp)


_agreeing: dict[Path, tuple[int, bool]] = {}


def _differs(venv: Venv, own: Path, stamp: int) -> bool:
    """Whether a package of ``venv`` is there in another version than in its base."""
    known = _agreeing.get(own)
    if known is None or known[0] != stamp:
        from py_code_mode.deps.distributions import installed_versions

        below = installed_versions(site_packages(venv.base, venv.python_version))
        differs = any(below.get(name, version) != version for name, version in installed_versions(own).items())
        known = _agreeing[own] = stamp, differs
    return known[1]


async def _end_spare(spare: asyncio.Task[RunningKernel]) -> None:
    spare.cancel()
    await asyncio.wait({spare})
    if not spare.cancelled() and spare.exception() is None:
        kernel = spare.result()
        await kernel.kill()
        await kernel.close()


def _useless(spare: asyncio.Task[RunningKernel]) -> bool:
    return spare.done() and (spare.cancelled() or spare.exception() is not None or spare.result().ended)


def _seen(task: asyncio.Task[object]) -> None:
    # What fails in the background is tried again by the start that needs it.
    if not task.cancelled():
        task.exception()
