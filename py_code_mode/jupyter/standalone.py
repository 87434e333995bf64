"""A workspace's kernel behind a command: what the kernelspec's ``argv`` runs.

For front ends that know no provisioners, or that live in another environment. This process is the kernel's host:
it opens the workspace, starts the kernel on the connection that the front end made, serves its link, hands it the
signals that it gets itself, and ends with it.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.kernelspec import KernelSpec

from py_code_mode.errors import CodeModeError, KernelStartError

from .provisioner import WorkspaceProvisioner

_PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
_SESSION_NAME = "JPY_SESSION_NAME"
_FAILED = 1


def main(base: str, tools: str, connection_file: str) -> int:
    """Run one kernel of a workspace until it ends. Returns the exit status, 128 and more for a signal."""
    try:
        return asyncio.run(_serve(base, tools, Path(connection_file)))
    except CodeModeError as error:
        print(f"py-code-mode: {error.message}", file=sys.stderr)
        return _FAILED


async def _serve(base: str, tools: str, connection_file: Path) -> int:
    provisioner = WorkspaceProvisioner(kernel_spec=KernelSpec(), kernel_id=secrets.token_hex(8), base=base, tools=tools)
    provisioner.given = _connection(connection_file)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    running: set[asyncio.Task[None]] = set()

    def interrupt() -> None:
        if provisioner.has_process:
            task = loop.create_task(provisioner.send_signal(signal.SIGINT))
            running.add(task)
            task.add_done_callback(running.discard)

    loop.add_signal_handler(signal.SIGINT, interrupt)
    for signum in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(signum, ended.set)
    _watch_front_end(loop, ended)
    end = loop.create_task(ended.wait())
    try:
        if not await _unless(end, _start(provisioner)):
            return 128 + signal.SIGTERM
        code = await _unless(end, provisioner.wait())
        return 128 + signal.SIGTERM if code is None else code if code >= 0 else 128 - code
    finally:
        end.cancel()
        await asyncio.shield(provisioner.cleanup())


async def _start(provisioner: WorkspaceProvisioner) -> bool:
    environment = dict(os.environ)
    # A variable of the front end for this kernel only: the rest of its kind is about this process.
    os.environ.pop(_SESSION_NAME, None)
    launch = await provisioner.pre_launch(env=environment, cwd=str(Path.cwd()))
    await provisioner.launch_kernel(launch.pop("cmd"), **launch)
    return True


async def _unless(end: asyncio.Task[Any], work: Coroutine[Any, Any, Any]) -> Any:
    """The result of ``work``; None when ``end`` came first."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({task, end}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
        return None
    return task.result()


def _watch_front_end(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    """End with the front end, where it says (as jupyter_client's does) that the kernel is not to outlive it."""
    try:
        parent = os.pidfd_open(int(os.environ["JPY_PARENT_PID"]))
    except (KeyError, ValueError, AttributeError):  # the last: only Linux has it
        return
    except OSError:
        ended.set()
        return

    def gone() -> None:
        loop.remove_reader(parent)
        os.close(parent)
        ended.set()

    loop.add_reader(parent, gone)


def _connection(file: Path) -> KernelConnectionInfo:
    try:
        info: KernelConnectionInfo = json.loads(file.read_text(encoding="utf-8"))
        missing = [name for name in ("ip", "key", *_PORTS) if not info.get(name)]
    except (OSError, ValueError, AttributeError) as error:
        raise KernelStartError(f"the connection file {file} cannot be read: {error}") from error
    if missing:
        raise KernelStartError(
            f"the connection file {file} lacks {', '.join(missing)}: the front end has to choose them"
        )
    return info
