"""Where the kernels of a workspace live: its virtualenv, and all that a kernel is launched with there."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from py_code_mode.deps.locks import in_thread
from py_code_mode.errors import SessionClosedError
from py_code_mode.kernel.launch import Launch
from py_code_mode.kernel.pool import Pool
from py_code_mode.kernel.venv import Venv, VenvSpec, ensure_venv, release_venv

from .base import Host

if TYPE_CHECKING:
    from py_code_mode.host.server import Handlers
    from py_code_mode.kernel.running import RunningKernel

    from .kernel import SubprocessConfig


class KernelHome:
    """Holds the virtualenv from ``start`` to ``close``. A Session's executor and a Jupyter front end have one each."""

    def __init__(self, config: SubprocessConfig) -> None:
        self.config = config
        self.handlers: Handlers = {}
        self._host: Host | None = None
        self._venv: Venv | None = None
        self._since = datetime.now(UTC)

    async def start(self, host: Host) -> None:
        """Build or find the virtualenv."""
        self._host = host
        await self.renew()

    async def renew(self, *, repair: bool = False) -> Venv:
        """The virtualenv, made where it is missing; ``repair``: or where it cannot run a kernel."""
        host, config = self._open(), self.config
        before, self._venv = self._venv, None
        if before is not None:
            await release_venv(before)
        spec = VenvSpec(identity=host.identity, python_version=config.python_version, cache=config.cache_venv)
        venv = self._venv = await ensure_venv(spec, progress=host.progress, repair=repair)
        # Its server starts in a process of its own, while this one imports what serves and talks to kernels.
        await Pool.of(host.engine).prepare(self._launch(host, venv, frozenset()))
        await asyncio.to_thread(import_module, "py_code_mode.deps.uv")
        from py_code_mode.deps.uv import UvInstaller

        self.handlers = await host.handlers(UvInstaller(venv.python, venv.site_packages(), venv.base))
        return venv

    async def launch(self) -> Launch:
        """What the next kernel is started with; the virtualenv is made again if somebody has removed it."""
        host, venv = self._open(), self._venv
        if venv is None or not await in_thread(_is_there, venv):
            venv = await self.renew()
        return self._launch(host, venv, await host.hidden())

    async def kernel(self) -> RunningKernel:
        """A kernel that runs cells. Raises KernelStartError when it does not come up."""
        host, launch = self._open(), await self.launch()
        kernel = await Pool.of(host.engine).kernel(
            launch, self.handlers, timeout=self.config.start_timeout, progress=host.progress
        )
        if host.observe is not None:
            kernel.client.others.observe(host.observe, self.config.max_output_bytes)
        kernel.publish(host.owner, host.identity, self._since)
        return kernel

    def _launch(self, host: Host, venv: Venv, hidden: frozenset[str]) -> Launch:
        config = self.config
        return Launch(
            venv=venv,
            cwd=Path(host.cwd),
            owner=host.owner,
            env=config.env,
            hidden=hidden,
            fork=config.fork_server and not config.debug,
            spares=config.spares,
            preload=tuple(config.preload),
            debug=config.debug,
        )

    async def close(self) -> None:
        """End what the code has left behind, and give the virtualenv back; a temporary one is removed."""
        host, self._host = self._host, None
        venv, self._venv = self._venv, None
        if host is not None:
            await Pool.of(host.engine).leave(host.owner)
            await (await host.engine.processes()).sweep(host.owner)
        if venv is not None:
            await release_venv(venv)

    def _open(self) -> Host:
        if self._host is None:
            raise SessionClosedError("the session is closed")
        return self._host


def _is_there(venv: Venv) -> bool:
    return venv.python.exists() and venv.site_packages().is_dir() and venv.base.is_dir()
