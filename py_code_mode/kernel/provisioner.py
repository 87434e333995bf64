"""Launches kernels: the one way that a Session and every Jupyter front end share.

A jupyter_client KernelProvisioner: it makes the kernel's private directory, serves its link, and launches the
process through the supervisor. A front end drives it through ``py_code_mode.jupyter.provisioner``.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase

from kernel_bootstrap.wire import PROTOCOL_VERSION
from py_code_mode import live
from py_code_mode.errors import KernelStartError, LinkError
from py_code_mode.host.server import Handlers, LinkServer

from .engine import Engine
from .forkserver import ForkServer
from .launch import Launch
from .processes import Process, Processes

_LONGEST_BASE = 60
"""A socket path has 107 bytes in all (unix(7)); a longer temporary directory gives way to /tmp."""


class CodeModeProvisioner(KernelProvisionerBase):
    """Launches and owns one kernel of a workspace. Its methods run on the engine's loop."""

    directory: Path
    link: LinkServer
    hello: asyncio.Future[None]
    """Done with the kernel's first word on the link: it runs, and it is of this version."""

    given: KernelConnectionInfo | None = None
    """The connection that a front end has chosen; without one the sockets lie in ``directory``."""

    _engine: Engine
    _launch: Launch | None = None
    _server: ForkServer | None = None
    _handlers: Handlers
    _process: Process | None = None
    _processes: Processes
    _links = 0
    published: Path | None = None
    """The file by which other clients find it, once ``publish`` was called."""

    @classmethod
    def make(
        cls, engine: Engine, launch: Launch | None, handlers: Handlers, server: ForkServer | None = None
    ) -> CodeModeProvisioner:
        """A provisioner for one launch: by ``server``, or in a process that starts from scratch.

        Without a ``launch``, which needs a server, the kernel is a spare one: see ``assign``.
        """
        made = cls(kernel_spec=KernelSpec(), kernel_id=secrets.token_hex(8))
        made._engine, made._launch, made._server, made._handlers = engine, launch, server, handlers
        return made

    def assign(self, launch: Launch, handlers: Handlers) -> dict[str, Any]:
        """Make the spare kernel that of ``launch``; returns the identity that it has to be told."""
        assert self._process is not None
        self._launch = launch
        self.link.serve(handlers)
        return launch.identity(self.directory, self._process.give(launch.owner))

    def publish(self, session: str, identity: str, since: datetime) -> None:
        """Let other processes of this user find it, until ``cleanup``: see ``live``."""
        if self.published is None:
            own = self._processes.own_path
            self.published = live.publish(self.connection_info, session, identity, since, self.pid, own)

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Make the directory with the connection file; returns ``cmd``, ``env`` and ``cwd`` of the launch.

        After ``cleanup(restart=True)`` the directory and the connection stay as they are.
        """
        if not (hasattr(self, "directory") and self.directory.is_dir()):
            self.directory = _make_directory(await self._engine.processes())
            self.connection_info = self.given or _connection_info(self.directory)
        connection_file = self.directory / "kernel.json"
        connection_file.write_text(json.dumps(self.connection_info, default=bytes.decode))
        self._open_link()
        launch = self._launch
        return {
            "cmd": launch.command(connection_file) if launch else [],
            "env": launch.environment(self.directory) if launch else {},
            "cwd": str(launch.cwd) if launch else "/",
        }

    def _open_link(self) -> None:
        self.hello = asyncio.get_running_loop().create_future()
        self._links += 1  # a socket that was just closed may still remove its file
        endpoint, key = f"ipc://{self.directory}/link-{self._links}", secrets.token_hex(32)
        self.link = LinkServer(self._engine.context, endpoint, key, {**self._handlers, "hello": self._on_hello})
        (self.directory / "link.json").write_text(json.dumps({"endpoint": endpoint, "key": key}))

    async def _on_hello(self, *, protocol: Any, **about: Any) -> dict[str, Any]:
        if protocol != PROTOCOL_VERSION:
            raise LinkError(f"the kernel speaks version {protocol} of the link, the host {PROTOCOL_VERSION}")
        if not self.hello.done():
            self.hello.set_result(None)
        return {}

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the process; returns the connection information."""
        processes = self._processes = await self._engine.processes()
        launch = self._launch
        if self._server is not None:
            self._process = await self._server.fork(self.directory, launch)
        elif launch is not None:
            with (self.directory / "stderr.log").open("ab") as log:
                self._process = await processes.spawn(
                    cmd,
                    env=kwargs["env"],
                    cwd=kwargs["cwd"],
                    owner=launch.owner,
                    stdout=log.fileno(),
                    stderr=log.fileno(),
                    subreaper=True,
                )
        return self.connection_info

    @property
    def has_process(self) -> bool:
        """Whether a process was started."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """The process id, None before the launch."""
        return None if self._process is None else self._process.pid

    async def poll(self) -> int | None:
        """The exit code, None while it runs."""
        return 0 if self._process is None else self._process.returncode

    async def wait(self) -> int | None:
        """Wait for the end of the process; its exit code, negative for a signal."""
        return 0 if self._process is None else await self._process.wait()

    async def send_signal(self, signum: int) -> None:
        """Signal the kernel's process."""
        self.signal(signum)

    def signal(self, signum: int) -> None:
        """The same, without waiting."""
        if self._process is not None:
            self._process.signal(signum)

    async def kill(self, restart: bool = False) -> None:
        """End the process and all that it started, now."""
        if self._process is not None:
            await self._process.end(grace=0)

    async def terminate(self, restart: bool = False) -> None:
        """Let the process end by SIGTERM."""
        self.signal(signal.SIGTERM)

    async def cleanup(self, restart: bool = False) -> None:
        """Close the link and remove the directory, which stays for a ``restart``."""
        if hasattr(self, "link"):  # a launch may have failed before there was one
            await self.link.close()
        if hasattr(self, "directory") and not restart:
            shutil.rmtree(self.directory, ignore_errors=True)
            processes = await self._engine.processes()
            processes.disown_path(self.directory)
            if self.published is not None:
                self.published.unlink(missing_ok=True)
                processes.disown_path(self.published)

    def start_error(self, how: str) -> KernelStartError:
        """The error of a start that failed, with the last lines that the process wrote to its own stderr."""
        try:
            text = (self.directory / "stderr.log").read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        last = text.strip()[-2000:]
        return KernelStartError(f"the kernel did not start: {how}" + (f"\n{last}" if last else ""))


def how_ended(code: int | None) -> str:
    """What an exit code says, in words."""
    if code is None or code >= 0:
        return f"it exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = ", probably out of memory" if -code == signal.SIGKILL else ""
    return f"it was killed by {name}{hint}"


def _make_directory(processes: Processes) -> Path:
    base = tempfile.gettempdir()
    if len(os.fsencode(base)) > _LONGEST_BASE:
        base = "/tmp"
    while True:
        path = Path(base, f"code-mode-{secrets.token_hex(5)}")
        processes.own_path(path)  # first: whatever ends this process in between, nothing of it stays
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            processes.disown_path(path)
        except BaseException:
            processes.disown_path(path)
            raise
        else:
            return path


def _connection_info(directory: Path) -> KernelConnectionInfo:
    key: Any = secrets.token_hex(32).encode()  # bytes: what jupyter_client says to be a str, and compares with bytes
    return {
        "transport": "ipc",
        "ip": str(directory / "k"),  # with ipc, port n means the socket k-n
        "shell_port": 1,
        "iopub_port": 2,
        "stdin_port": 3,
        "control_port": 4,
        "hb_port": 5,
        "key": key,
        "signature_scheme": "hmac-sha256",
        "kernel_name": "py-code-mode",
    }
