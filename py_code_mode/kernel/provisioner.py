"""Launches kernels: the one way that a Session and every Jupyter front end share.

A jupyter_client KernelProvisioner (entry point ``py-code-mode-provisioner``): it makes the kernel's private
directory, serves its link, and launches the process through the supervisor.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase

from py_code_mode.host.server import Handlers, LinkServer

from .engine import Engine
from .processes import Process
from .venv import Venv

_LONGEST_BASE = 60
"""A socket path has 107 bytes in all (unix(7)); a longer temporary directory gives way to /tmp."""

_FOREIGN = ("PYTHON", "JPY_", "JUPYTER_", "IPYTHON", "PYTEST_", "UV_", "VIRTUAL_ENV", "CONDA_PREFIX")
"""Beginnings of variables that describe the host's Python, not the kernel's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a kernel is launched with. ``owner`` marks every process of its session."""

    venv: Venv
    cwd: Path
    owner: str
    env: Mapping[str, str] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()


class CodeModeProvisioner(KernelProvisionerBase):
    """Launches and owns one kernel of a workspace. Its methods run on the engine's loop."""

    directory: Path
    link: LinkServer

    _engine: Engine
    _launch: Launch
    _handlers: Handlers
    _process: Process | None = None

    @classmethod
    def make(cls, engine: Engine, launch: Launch, handlers: Handlers) -> CodeModeProvisioner:
        """A provisioner for one launch."""
        argv = [str(launch.venv.python), "-P", "-m", "kernel_bootstrap", "{connection_file}"]
        spec = KernelSpec(argv=argv, display_name="py-code-mode", language="python", interrupt_mode="signal")
        made = cls(kernel_spec=spec, kernel_id=secrets.token_hex(8))
        made._engine, made._launch, made._handlers = engine, launch, handlers
        return made

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Make the directory with the connection file; returns ``cmd``, ``env`` and ``cwd`` of the launch."""
        self.directory = _make_directory()
        processes = await self._engine.processes()
        processes.own_dir(self.directory)
        self.connection_info = _connection_info(self.directory)
        connection_file = self.directory / "kernel.json"
        key = secrets.token_hex(32)
        endpoint = f"ipc://{self.directory}/link"
        self.link = LinkServer(self._engine.context, endpoint, key, self._handlers)
        connection_file.write_text(json.dumps(self.connection_info))
        (self.directory / "link.json").write_text(json.dumps({"endpoint": endpoint, "key": key}))
        cmd = [part.format(connection_file=connection_file) for part in self.kernel_spec.argv]
        return {"cmd": cmd, "env": self._environment(), "cwd": str(self._launch.cwd)}

    def _environment(self) -> dict[str, str]:
        launch = self._launch
        env = {
            name: value
            for name, value in os.environ.items()
            if name not in launch.hidden and not name.startswith(_FOREIGN)
        }
        env["VIRTUAL_ENV"] = str(launch.venv.path)
        env["PATH"] = os.pathsep.join((str(launch.venv.python.parent), env.get("PATH", os.defpath)))
        env["IPYTHONDIR"] = str(self.directory / "ipython")
        env["JUPYTER_RUNTIME_DIR"] = str(self.directory)
        # Beside the venv, not in the session's directory: matplotlib takes seconds to make its font cache anew.
        env["MPLCONFIGDIR"] = str(launch.venv.path / "matplotlib")
        env |= launch.env
        return env

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the process; returns the connection information."""
        processes = await self._engine.processes()
        with (self.directory / "stderr.log").open("ab") as log:
            self._process = await processes.spawn(
                cmd,
                env=kwargs["env"],
                cwd=kwargs["cwd"],
                owner=self._launch.owner,
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
        self.signal(15)

    async def cleanup(self, restart: bool = False) -> None:
        """Close the link and remove the directory."""
        if hasattr(self, "link"):  # a launch may have failed before there was one
            await self.link.close()
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory, ignore_errors=True)
            processes = await self._engine.processes()
            processes.disown_dir(self.directory)

    def last_stderr(self) -> str:
        """The last lines that the process wrote to its own stderr."""
        try:
            text = (self.directory / "stderr.log").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return text.strip()[-2000:]


def _make_directory() -> Path:
    base = tempfile.gettempdir()
    if len(os.fsencode(base)) > _LONGEST_BASE:
        base = "/tmp"
    return Path(tempfile.mkdtemp(prefix="code-mode-", dir=base))


def _connection_info(directory: Path) -> KernelConnectionInfo:
    return {
        "transport": "ipc",
        "ip": str(directory / "k"),  # with ipc, port n means the socket k-n
        "shell_port": 1,
        "iopub_port": 2,
        "stdin_port": 3,
        "control_port": 4,
        "hb_port": 5,
        "key": secrets.token_hex(32),
        "signature_scheme": "hmac-sha256",
        "kernel_name": "py-code-mode",
    }
