"""``py-code-mode lab``: JupyterLab on one workspace, for one run, which leaves nothing in Jupyter's folders."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click

from py_code_mode.errors import CodeModeError

from .options import Base, base_option, json_option, tools_option
from .output import print_json

_GRACE, _TRIES = 2.0, 5
"""Seconds for the server to end its kernels and itself, and how often it is told to before it is killed.

Once is not enough: it stumbles over a kernel that has failed to start, or a live session that has ended meanwhile.
"""

_LOOK_AGAIN = 0.05
_NEWS = "@jupyterlab/apputils-extension/notification.jupyterlab-settings"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command("lab")
@base_option()
@tools_option
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="By default 8888, or the next that is free.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@json_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGUMENTS OF JUPYTER LAB]")
def command(
    base: Base, tools: Path | None, port: int | None, no_browser: bool, as_json: bool, arguments: tuple[str, ...]
) -> None:
    """Open JupyterLab on the workspace: its files, its kernel, and the live sessions of agents as running kernels.

    For a workspace in Redis the files are those of the current directory.

    Ctrl-C ends it. Your own settings, kernels and extensions of Jupyter are used; nothing is written to Jupyter's
    folders, so settings that you change are forgotten. With --json, `url` and `pid` are printed when it is ready.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise CodeModeError(f"JupyterLab is not installed: run {sys.executable} -m pip install 'py-code-mode[lab]'")
    from py_code_mode.jupyter.kernelspec import default_display_name, default_name, write

    base, folder = (base.resolve(), base.resolve()) if isinstance(base, Path) else (base, Path.cwd())
    name = default_name(base)
    with tempfile.TemporaryDirectory(prefix="code-mode-lab-", ignore_cleanup_errors=True) as home:
        write(Path(home, "data/kernels", name), base, default_display_name(base), tools=tools)
        options = [f"--ServerApp.port={port}"] if port else []
        options += ["--no-browser"] if no_browser else []
        argv = [sys.executable, "-P", "-m", "jupyterlab", *_options(folder, name), *options, *arguments]
        status = asyncio.run(_serve(argv, _environment(Path(home)), folder, as_json))
    if status:
        raise click.exceptions.Exit(status)


def _options(base: Path, name: str) -> list[str]:
    from py_code_mode.live import directory

    return [
        f"--ServerApp.root_dir={base}",
        f"--MultiKernelManager.default_kernel_name={name}",
        "--ServerApp.allow_external_kernels=True",
        f"--ServerApp.external_connection_dir={directory()}",
    ]


def _environment(home: Path) -> dict[str, str]:
    """The variables of a Jupyter that writes below ``home`` only, and reads the user's own files too."""
    from jupyter_core.paths import jupyter_config_dir, jupyter_data_dir

    settings = os.environ.get("JUPYTERLAB_SETTINGS_DIR") or Path(jupyter_config_dir(), "lab/user-settings")
    if Path(settings).is_dir():
        shutil.copytree(settings, home / "settings")
    if not (news := home / "settings" / _NEWS).exists():  # it would be asked for every time
        news.parent.mkdir(parents=True, exist_ok=True)
        news.write_text('{"fetchNews": "false"}', encoding="utf-8")
    return {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_CONFIG_PATH": _path(os.environ, "JUPYTER_CONFIG_PATH", last=jupyter_config_dir()),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_PATH": _path(os.environ, "JUPYTER_PATH", first=str(home / "data"), last=jupyter_data_dir()),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }


def _path(environment: Mapping[str, str], name: str, *, first: str = "", last: str) -> str:
    return os.pathsep.join(part for part in (first, environment.get(name, ""), last) if part)


async def _serve(argv: list[str], env: dict[str, str], cwd: Path, as_json: bool) -> int:
    """Run the server until it ends, or is ended here by a signal; its exit status."""
    # In a group of its own: at Ctrl-C it would ask whether that was meant.
    server = await asyncio.create_subprocess_exec(
        *argv,
        env=env,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=sys.stderr.fileno() if as_json else None,
        process_group=0,
        preexec_fn=_end_with_parent,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in _ENDING:
        loop.add_signal_handler(signum, lambda: server.kill() if stop.is_set() else stop.set())
    end, stopping = loop.create_task(server.wait()), loop.create_task(stop.wait())
    ready = loop.create_task(_tell(Path(env["JUPYTER_RUNTIME_DIR"]), server.pid)) if as_json else None
    await asyncio.wait({end, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if ready is not None:
        ready.cancel()
    if end.done():
        stopping.cancel()
        return end.result() if end.result() >= 0 else 128 - end.result()
    for _ in range(_TRIES):
        if not end.done():
            server.terminate()
            await asyncio.wait({end}, timeout=_GRACE)
    if not end.done():
        server.kill()
        await end
    return 0


async def _tell(runtime: Path, pid: int) -> None:
    """Print where the server is, once it can be reached: it says so a moment before."""
    while True:
        try:
            info = json.loads((runtime / f"jpserver-{pid}.json").read_text(encoding="utf-8"))
            _, writer = await asyncio.open_connection(info["hostname"], info["port"])
        except (OSError, ValueError):
            await asyncio.sleep(_LOOK_AGAIN)
        else:
            writer.close()
            print_json({"url": f"{info['url']}lab?token={info['token']}", "pid": pid})
            sys.stdout.flush()
            return


def _end_with_parent() -> None:
    """In the server's process: have it told to end when this one is killed."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG
