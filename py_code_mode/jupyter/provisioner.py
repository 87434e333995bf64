"""What JupyterLab, jupyter console and nbclient start a workspace's kernel by: the entry point of our kernelspecs.

    "metadata": {"kernel_provisioner": {"provisioner_name": "py-code-mode-provisioner", "config": {"base": "..."}}}

The kernel, its tools and its link live on the engine's thread, so that they go on while the front end's own loop
stands still. ``interrupt_mode`` of the kernelspec is best "message"; its ``argv`` is not used here.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase
from traitlets import Bool, Unicode

from py_code_mode.errors import KernelStartError, ProcessError, StorageError
from py_code_mode.executors.home import KernelHome
from py_code_mode.executors.kernel import SubprocessConfig
from py_code_mode.kernel.engine import Engine
from py_code_mode.kernel.pool import Pool
from py_code_mode.kernel.provisioner import CodeModeProvisioner, how_ended
from py_code_mode.storage.bases import shown, storage_at
from py_code_mode.storage.file import FileStorage
from py_code_mode.storage.redis import RedisStorage
from py_code_mode.workspace import Workspace


class WorkspaceProvisioner(CodeModeProvisioner):
    """Opens the workspace with the first start, and closes it with the last of its kernel.

    Its methods are called by a KernelManager, on any loop.
    """

    base = Unicode(help="The workspace: a directory, or the URL of a Redis.")
    tools = Unicode(help="A directory of tool definitions; empty: the workspace's own.")
    debug = Bool(False, help="Whether the kernel has JupyterLab's debugger; it starts slowly then.")

    _home: KernelHome
    _workspace: Workspace | None = None
    _asked: dict[str, Any]

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Open the workspace and prepare a kernel. ``env`` and ``cwd`` are the front end's."""
        self._asked = _asked(await KernelProvisionerBase.pre_launch(self, **kwargs))
        try:
            if self._workspace is None:
                await self._open()
            return await self._engine.call(self._prepare())
        except BaseException:
            await asyncio.shield(self.cleanup())
            raise

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel; raises KernelStartError when it does not come up."""
        try:
            return await self._engine.call(self._launch_or_repair(cmd, kwargs))
        except BaseException:
            await asyncio.shield(self.cleanup())
            raise

    async def wait(self) -> int | None:
        """See CodeModeProvisioner, here and below."""
        return await self._engine.call(super().wait())

    async def send_signal(self, signum: int) -> None:
        await self._engine.call(super().send_signal(signum))

    async def kill(self, restart: bool = False) -> None:
        await self._engine.call(super().kill(restart))

    async def terminate(self, restart: bool = False) -> None:
        await self._engine.call(super().terminate(restart))

    async def cleanup(self, restart: bool = False) -> None:
        """Close the link; without ``restart``, everything."""
        workspace = self._workspace
        if workspace is None:
            return
        if restart:
            await self._engine.call(super().cleanup(restart))
            return
        self._workspace = None
        try:
            await self._engine.call(self._close(workspace))
        finally:
            await self._engine.release()

    # -- on the engine ----------------------------------------------------------------------------------

    async def _open(self) -> None:
        storage = _storage(self.base)
        if isinstance(storage, FileStorage) and not storage.base_path.exists():
            # A kernelspec outlives its workspace. An empty one in its place would hide that it is gone.
            raise StorageError(
                f"the workspace {storage.base_path} is not there any more.\n"
                "Bring it back, or remove this kernelspec: `py-code-mode jupyter list` names it."
            )
        tools = Path(self.tools) if self.tools else None
        self._home = KernelHome(SubprocessConfig(tools_path=tools, debug=self.debug, spares=0))
        engine = self._engine = Engine.lease()
        try:
            self._workspace = await engine.call(
                Workspace.open(engine, storage, self._home, secrets.token_hex(8), self.log.info)
            )
        except BaseException:
            await asyncio.shield(engine.release())
            raise

    async def _prepare(self) -> dict[str, Any]:
        launch = self._launch = replace(await self._home.launch(), **self._asked)
        self._handlers = self._home.handlers
        self._server = await Pool.of(self._engine).server(launch, self.log.info)
        return await super().pre_launch()

    async def _launch_or_repair(self, cmd: list[str], arguments: dict[str, Any]) -> KernelConnectionInfo:
        try:
            return await self._launch_until_hello(cmd, arguments)
        except KernelStartError:
            # The venv may have been broken by hand in a way that a cheap look does not show.
            await super().cleanup(restart=True)
            await self._home.renew(repair=True)
            arguments = await self._prepare()
            return await self._launch_until_hello(arguments.pop("cmd"), arguments)

    async def _launch_until_hello(self, cmd: list[str], arguments: dict[str, Any]) -> KernelConnectionInfo:
        try:
            info = await super().launch_kernel(cmd, **arguments)
        except ProcessError:
            if self._server is None:
                raise
            self._server = None  # it is gone, and the kernel starts without
            info = await super().launch_kernel(cmd, **arguments)
        end = asyncio.ensure_future(super().wait())
        either: set[asyncio.Future[Any]] = {self.hello, end}
        try:
            timeout = self._home.config.start_timeout
            done, _ = await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if self.hello not in done:
                how = how_ended(end.result()) if end in done else f"it was not ready after {timeout:g} s"
                raise self.start_error(how)
        except BaseException:
            await asyncio.shield(super().kill())
            raise
        finally:
            end.cancel()
        return info

    async def _close(self, workspace: Workspace) -> None:
        try:
            await super().kill()
            await super().cleanup()
        finally:
            self._process = None
            await workspace.close()


def _storage(base: str) -> FileStorage | RedisStorage:
    try:
        return storage_at(base)
    except (ValueError, ImportError) as error:  # whose texts show no password; front ends show the message
        raise StorageError(f"the workspace {shown(base)} cannot be opened: {error}") from None


def _asked(arguments: dict[str, Any]) -> dict[str, Any]:
    """What the front end asks for: a directory, and variables beside those of this process."""
    asked: dict[str, Any] = {
        "env": {name: value for name, value in arguments["env"].items() if os.environ.get(name) != value}
    }
    if arguments.get("cwd"):
        asked["cwd"] = Path(arguments["cwd"]).resolve()
    return asked
