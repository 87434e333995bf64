"""Kernelspecs of workspaces: installed, listed and removed by the command line, started by front ends of both kinds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner, Result
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file
from jupyter_client.kernelspec import KernelSpecManager

from py_code_mode.cli.app import app
from py_code_mode.jupyter.kernelspec import default_name

from .frontends import kernel_of, shown
from .sessions import is_alive

TOOL = "name: say\ntype: cli\ncommand: echo\nschema: {positional: [{name: word, type: string}]}\n"


@pytest.fixture(autouse=True)
def jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Jupyter's folders for this user, empty."""
    for name in ("DATA", "RUNTIME", "CONFIG"):
        monkeypatch.setenv(f"JUPYTER_{name}_DIR", str(tmp_path / "jupyter" / name.lower()))
    monkeypatch.delenv("JUPYTER_PATH", raising=False)
    return tmp_path / "jupyter"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A workspace with the tool ``say``."""
    base = tmp_path / "Sales 2026"
    (base / "tools").mkdir(parents=True)
    (base / "tools" / "say.yaml").write_text(TOOL)
    return base


def call(*args: str | Path, status: int = 0) -> Result:
    """``py-code-mode jupyter ...`` in this process."""
    result = CliRunner().invoke(app, ["jupyter", *(str(arg) for arg in args)])
    assert result.exit_code == status, result.output
    return result


def foreign(jupyter: Path, name: str) -> Path:
    """A kernelspec of somebody else."""
    path = jupyter / "data" / "kernels" / name
    path.mkdir(parents=True)
    (path / "kernel.json").write_text('{"argv": ["r"], "display_name": "R", "language": "R"}')
    return path


def below() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


# -- the command line -------------------------------------------------------------------------------------


def test_a_kernelspec_is_named_after_its_workspace_and_listed_until_it_is_removed(base, jupyter):
    assert call("install", "--base", base).stdout.startswith("installed sales-2026  (Sales 2026 (py-code-mode))  ")
    (listed,) = json.loads(call("list", "--json").stdout)
    assert listed == {
        "name": "sales-2026",
        "display_name": "Sales 2026 (py-code-mode)",
        "workspace": str(base),
        "workspace_gone": False,
        "path": str(jupyter / "data/kernels/sales-2026"),
    }
    assert call("list").stdout.split("\t")[:4] == [
        "sales-2026",
        "Sales 2026 (py-code-mode)",
        str(base),
        "ready",
    ]
    assert call("remove", "sales-2026").stdout.startswith("removed sales-2026")
    assert json.loads(call("list", "--json").stdout) == []
    assert list((jupyter / "data/kernels").iterdir()) == []


def test_what_jupyter_reads_names_the_provisioner_and_interrupts_by_message(base):
    call("install", "--base", base, "--name", "Mine", "--display-name", "My sales")
    spec = KernelSpecManager().get_kernel_spec("mine")
    assert (spec.display_name, spec.language, spec.interrupt_mode) == ("My sales", "python", "message")
    assert spec.metadata["kernel_provisioner"] == {
        "provisioner_name": "py-code-mode-provisioner",
        "config": {"base": str(base)},
    }
    assert (Path(spec.resource_dir) / "logo-svg.svg").read_text().startswith("<svg")


def test_an_installation_replaces_only_that_of_the_same_workspace(base, jupyter, tmp_path):
    other = tmp_path / "elsewhere" / base.name
    other.mkdir(parents=True)
    call("install", "--base", base)
    call("install", "--base", base, "--display-name", "again")
    assert f"is for another workspace, {base}" in call("install", "--base", other, status=1).stderr
    foreign(jupyter, "ir")
    assert "not of py-code-mode" in call("install", "--base", base, "--name", "ir", status=1).stderr
    # Below a prefix it would be hidden by the one that is there, or hide it.
    assert "another workspace" in call("install", "--base", other, "--prefix", tmp_path / "env", status=1).stderr
    (spec,) = json.loads(call("list", "--json").stdout)
    assert (spec["display_name"], spec["workspace"]) == ("again", str(base))


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a b", "-x"])
def test_a_name_that_would_reach_beyond_its_directory_is_refused(base, jupyter, name):
    kept = foreign(jupyter, "ir")
    assert "cannot be the name" in call("install", "--base", base, f"--name={name}", status=1).stderr
    assert kept.is_dir()


@pytest.mark.parametrize(
    ("directory", "name"),
    [("Ünder_Score.v2", "nder_score.v2"), ("日本", "workspace"), ("-a--b-", "a--b"), ("...", "workspace")],
)
def test_every_directory_makes_a_valid_name(directory, name):
    assert default_name(Path("/somewhere", directory)) == name


def test_a_missing_workspace_is_told_when_it_is_installed_and_when_it_has_gone(base, tmp_path):
    assert "py-code-mode init" in call("install", "--base", tmp_path / "missing", status=2).stderr
    call("install", "--base", base)
    base.rename(tmp_path / "moved")
    assert "\tworkspace gone\t" in call("list").stdout


def test_only_kernelspecs_of_ours_are_removed_and_all_of_them_or_none(base, jupyter):
    kept = foreign(jupyter, "ir")
    call("install", "--base", base)
    assert "is not of py-code-mode" in call("remove", "sales-2026", "ir", status=1).stderr
    assert "there are: sales-2026" in call("remove", "sales-2025", status=1).stderr
    assert [spec["name"] for spec in json.loads(call("list", "--json").stdout)] == ["sales-2026"]
    assert kept.is_dir()


def test_one_below_a_prefix_is_readable_by_others_and_its_place_is_told_if_jupyter_does_not_look_there(
    base, tmp_path, monkeypatch
):
    prefix = tmp_path / "env"
    told = call("install", "--base", base, "--prefix", prefix).stderr
    assert told == f"Jupyter looks there only with JUPYTER_PATH={prefix}/share/jupyter\n"
    assert oct((prefix / "share/jupyter/kernels/sales-2026").stat().st_mode)[-3:] == "755"
    monkeypatch.setenv("JUPYTER_PATH", f"{prefix}/share/jupyter")
    assert call("install", "--base", base, "--prefix", prefix).stderr == ""
    assert len(json.loads(call("list", "--json").stdout)) == 1
    assert "give one of" in call("install", "--base", base, "--prefix", prefix, "--user", status=2).stderr


# -- the kernel -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--other-env"]], ids=["provisioner", "command"])
def test_the_kernel_is_the_workspaces_for_front_ends_with_and_without_provisioners(base, options):
    started = set(below())
    call("install", "--base", base, *options)
    with kernel_of("sales-2026") as (manager, client):
        assert manager.transport == ("tcp" if options else "ipc")
        assert shown(client, "tools.say(word='hello')") == "hello\n"
        client.execute("print('begun')\nimport time; time.sleep(60)")
        while client.get_iopub_msg(timeout=30)["content"].get("text") != "begun\n":
            pass
        manager.interrupt_kernel()
        assert client.get_shell_msg(timeout=30)["content"]["ename"] == "KeyboardInterrupt"
        shown(client, "x = 1; x")
        manager.restart_kernel()
        client.wait_for_ready(timeout=30)
        assert shown(client, "('x' in globals(), artifacts.save('made', 1) and tools.list()[0]['name'])") == (
            False,
            "say",
        )
        client.stop_channels()
        manager.shutdown_kernel()
        assert set(below()) <= started
    assert (base / "artifacts" / "made").exists()


@contextmanager
def kernel_process(
    base: Path, directory: Path, **variables: str
) -> Iterator[tuple[subprocess.Popen[str], BlockingKernelClient]]:
    """The kernelspec's command, run as a front end without provisioners does, when its kernel is ready."""
    file, _ = write_connection_file(str(directory / "connection.json"), key=b"secret")
    client = BlockingKernelClient(connection_file=file)
    client.load_connection_file()
    process = subprocess.Popen(command(base, file), env={**os.environ, **variables}, stderr=subprocess.PIPE, text=True)
    client.start_channels()
    try:
        wait_until_ready(process, client)
        yield process, client
    finally:
        client.stop_channels()
        process.kill()
        process.communicate()


def wait_until_ready(process: subprocess.Popen[str], client: BlockingKernelClient) -> None:
    while True:
        try:
            client.wait_for_ready(timeout=30)
        except RuntimeError:  # a client without a manager takes a kernel of one second without a heartbeat for dead
            assert process.poll() is None
        else:
            return


def command(base: Path, file: str) -> list[str]:
    """What such a front end makes of the kernelspec's ``argv``."""
    call("install", "--base", base)
    spec = KernelSpecManager().get_kernel_spec("sales-2026")
    return [part.replace("{connection_file}", file) for part in spec.argv]


def test_the_command_interrupts_at_sigint_ends_at_sigterm_and_leaves_nothing(base, tmp_path, scratch):
    with kernel_process(base, tmp_path, JPY_SESSION_NAME="notes.ipynb") as (process, client):
        assert shown(client, "__session__") == "notes.ipynb"
        client.execute("print('begun')\nimport time; time.sleep(60)")
        while client.get_iopub_msg(timeout=30)["content"].get("text") != "begun\n":
            pass
        process.send_signal(signal.SIGINT)
        assert client.get_shell_msg(timeout=30)["content"]["ename"] == "KeyboardInterrupt"
        assert shown(client, "1 + 1") == 2
        parts = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        assert process.wait(20) == 128 + signal.SIGTERM
    assert parts
    assert not [part for part in parts if is_alive(part.pid)]
    assert not list(scratch.glob("code-mode-*"))


@pytest.mark.parametrize(("code", "status"), [("", 0), ("import os; os._exit(3)", 3), ("import os; os.abort()", 134)])
def test_the_command_ends_with_its_kernel_and_in_the_same_way(base, tmp_path, code, status):
    with kernel_process(base, tmp_path) as (process, client):
        client.execute(code) if code else client.shutdown()
        assert process.wait(20) == status


def test_the_command_ends_with_the_front_end_that_owns_its_kernel(base, tmp_path):
    front_end = subprocess.Popen(["sleep", "600"])
    with kernel_process(base, tmp_path, JPY_PARENT_PID=str(front_end.pid)) as (process, client):
        assert shown(client, "6 * 7") == 42
        front_end.kill()
        front_end.wait()
        assert process.wait(20) == 128 + signal.SIGTERM


def test_a_command_that_cannot_start_says_why(base, tmp_path):
    file, _ = write_connection_file(str(tmp_path / "connection.json"), key=b"secret")
    argv = command(base, file)

    def failed() -> str:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=50, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        return done.stderr

    (tmp_path / "json.py").write_text("1/0")  # in the notebook's directory: not the module that is meant
    base.rename(tmp_path / "moved")
    assert f"py-code-mode: the workspace {base} is not there any more" in failed()
    (tmp_path / "moved").rename(base)
    Path(file).write_text('{"ip": "127.0.0.1", "key": "k", "shell_port": 1}')
    assert "lacks iopub_port, stdin_port, control_port, hb_port" in failed()
    Path(file).unlink()
    assert "cannot be read" in failed()
    assert sys.executable == argv[0]
