"""``py-code-mode lab``: a real Jupyter server on a workspace, over its REST interface and its kernels' sockets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from py_code_mode.jupyter.kernelspec import write

from .frontends import shown
from .labs import Lab, lab
from .sessions import is_alive

TOOL = "name: say\ntype: cli\ncommand: echo\nschema: {positional: [{name: word, type: string}]}\n"
THEMES = "lab/api/settings/@jupyterlab/apputils-extension:themes"


def make_workspace(base: Path) -> Path:
    (base / "tools").mkdir(parents=True)
    (base / "tools" / "say.yaml").write_text(TOOL)
    return base


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The server of a user who has a dark theme, and a kernelspec whose workspace has gone."""
    folder = tmp_path_factory.mktemp("user")
    write(folder / "data/kernels/gone", folder / "nowhere", "Gone")
    settings = folder / "config/lab/user-settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    (settings / "themes.jupyterlab-settings").write_text('{"theme": "JupyterLab Dark"}')
    before = files(folder)
    with lab(make_workspace(tmp_path_factory.mktemp("a") / "Sales"), folder) as server:
        yield server
    assert files(folder) == before


@contextmanager
def client_of(server: Lab, kernel_id: str) -> Iterator[BlockingKernelClient]:
    """A client of a kernel that the server has started."""
    (file,) = server.scratch.glob(f"code-mode-lab-*/runtime/kernel-{kernel_id}.json")
    client = BlockingKernelClient(connection_file=str(file))
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=30)
        yield client
    finally:
        client.stop_channels()


def open_notebook(server: Lab, path: str = "notes.ipynb", **kernel: str) -> tuple[int, dict]:
    """What a browser asks for when it opens a notebook."""
    return server.ask("POST", "api/sessions", {"path": path, "name": path, "type": "notebook", "kernel": kernel})


def test_a_notebook_gets_the_workspaces_kernel_and_the_server_interrupts_restarts_and_ends_it(server):
    assert server.ask("GET", "api/kernelspecs")[1]["default"] == "sales"
    assert [item["name"] for item in server.ask("GET", "api/contents")[1]["content"]] == ["tools"]
    started = set(psutil.Process(server.process.pid).children(recursive=True))
    status, session = open_notebook(server)
    assert (status, session["kernel"]["name"]) == (201, "sales")
    kernel = session["kernel"]["id"]
    with client_of(server, kernel) as client:
        assert shown(client, "tools.say(word='hello')") == "hello\n"
        client.execute("print('begun')\nimport time; time.sleep(60)")
        while client.get_iopub_msg(timeout=30)["content"].get("text") != "begun\n":
            pass
        assert server.ask("POST", f"api/kernels/{kernel}/interrupt", {})[0] == 204
        assert client.get_shell_msg(timeout=30)["content"]["ename"] == "KeyboardInterrupt"
        assert shown(client, "x = 1; x") == 1
        assert server.ask("POST", f"api/kernels/{kernel}/restart", {})[0] == 200
        client.wait_for_ready(timeout=30)
        assert shown(client, "('x' in globals(), tools.list()[0]['name'])") == (False, "say")
    assert server.ask("DELETE", f"api/sessions/{session['id']}")[0] == 204
    assert server.ask("GET", "api/kernels")[1] == []
    assert set(psutil.Process(server.process.pid).children(recursive=True)) <= started


def test_a_workspace_that_cannot_be_opened_is_explained_to_the_person(server):
    status, answer = open_notebook(server, "other.ipynb", name="gone")
    assert status == 500
    assert f"{server.folder}/nowhere is not there any more" in answer["message"]
    assert server.ask("GET", "api/kernels")[1] == []


def test_the_users_settings_are_used_and_what_is_changed_is_forgotten(server):
    assert json.loads(server.ask("GET", THEMES)[1]["raw"]) == {"theme": "JupyterLab Dark"}
    assert server.ask("PUT", THEMES, {"raw": '{"theme": "JupyterLab Light"}'})[0] == 204
    assert json.loads(server.ask("GET", THEMES)[1]["raw"]) == {"theme": "JupyterLab Light"}


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_and_a_closed_terminal_end_all_of_it_and_leave_nothing(tmp_path, signum):
    folder = tmp_path / "user"
    base = make_workspace(tmp_path / "work")
    with lab(base, folder) as server:
        kernel = open_notebook(server)[1]["kernel"]["id"]
        with client_of(server, kernel) as client:
            shown(client, "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True).pid")
        parts = psutil.Process(server.process.pid).children(recursive=True)
        assert "sleep" in [part.name() for part in parts]
        server.process.send_signal(signum)
        assert server.process.wait(20) == 0
        assert not [part for part in parts if is_alive(part.pid)]
        assert list(server.scratch.iterdir()) == []
    assert not folder.exists()


def test_the_server_does_not_outlive_the_command_that_is_killed(tmp_path):
    with lab(make_workspace(tmp_path / "work"), tmp_path / "user") as server:
        open_notebook(server)
        parts = psutil.Process(server.process.pid).children(recursive=True)
        server.process.kill()
        deadline = time.monotonic() + 10
        while any(is_alive(part.pid) for part in parts) and time.monotonic() < deadline:
            os.sched_yield()
        assert not [part for part in parts if is_alive(part.pid)]


def test_without_jupyterlab_the_command_says_what_to_install(tmp_path):
    packages = tmp_path / "packages"
    packages.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith("jupyterlab"):
            (packages / path.name).symlink_to(path)
    code = "import sys; sys.path[:0] = sys.argv[1:3]; del sys.argv[1:3]; from py_code_mode.cli import main; main()"
    command = [sys.executable, "-S", "-c", code, str(Path(__file__).parents[1]), str(packages)]
    done = subprocess.run([*command, "lab", "--base", tmp_path], capture_output=True, text=True, timeout=30)
    assert done.returncode == 3
    assert done.stderr.startswith("py-code-mode: JupyterLab is not installed: run ")
    assert done.stderr.endswith(" -m pip install 'py-code-mode[lab]'\n")
