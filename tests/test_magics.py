"""``%load_ext py_code_mode`` in kernels that know nothing of us, in one of ours, and in a terminal."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pexpect
import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from py_code_mode.errors import WorkflowInvalidError
from py_code_mode.jupyter.background import Background
from py_code_mode.jupyter.cellsource import workflow_source

from .frontends import add_kernelspec, jupyter_path, kernel_of, run, shown
from .sessions import is_alive
from .venvs import make_wheel

TOOL = """
name: slow
type: cli
description: Sleeps <b>& wakes</b>
command: sleep
tags: [time]
timeout: 60
schema:
  positional: [{name: seconds, type: integer, required: true}]
"""


@pytest.fixture(scope="module", autouse=True)
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with one tool; front ends write below a directory of their own."""
    directory, base = tmp_path_factory.mktemp("jupyter"), tmp_path_factory.mktemp("workspace")
    (base / "tools").mkdir()
    (base / "tools" / "slow.yaml").write_text(TOOL)
    add_kernelspec(directory, "workspace", base=str(base))
    with jupyter_path(directory), pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(directory / "ipython"))
        yield base


@pytest.fixture(scope="module")
def kernel():
    """A plain IPython kernel with the extension."""
    with kernel_of("python3") as (manager, client):
        ok(client, "%load_ext py_code_mode")
        yield manager, client


@pytest.fixture
def notebook(kernel):
    """The client of that kernel; nothing is open."""
    _, client = kernel
    yield client
    ok(client, "%unload_ext py_code_mode\n%load_ext py_code_mode\n%reset -f")


@pytest.fixture
def opened(notebook, base):
    """The same with a session on the workspace."""
    ok(notebook, f"%code_mode {base}")
    return notebook


def ok(client: BlockingKernelClient, code: str) -> list[dict[str, Any]]:
    reply, outputs = run(client, code)
    assert reply["status"] == "ok", reply
    return outputs


def failed(client: BlockingKernelClient, code: str) -> tuple[str, str]:
    """The name of the error that ``code`` ends with, and all text that tells of it."""
    reply, outputs = run(client, code, stop_on_error=False)  # else ipykernel refuses what comes soon after it
    assert reply["status"] == "error", outputs
    return reply["ename"], "\n".join([written(outputs, "stderr"), *reply["traceback"]])


def written(outputs: list[dict[str, Any]], name: str = "stdout") -> str:
    return "".join(output["content"]["text"] for output in outputs if output["content"].get("name") == name)


def table(client: BlockingKernelClient, code: str) -> tuple[str, str]:
    """What ``code`` shows as text and as HTML."""
    (output,) = ok(client, code)
    assert output["msg_type"] == "execute_result"
    data = output["content"]["data"]
    return data["text/plain"], data.get("text/html", "")


def below(manager: Any) -> list[psutil.Process]:
    return psutil.Process(manager.provisioner.pid).children(recursive=True)


# -- sessions -------------------------------------------------------------------------------------------


def test_a_session_opens_shows_its_state_and_closes(notebook, base, kernel):
    assert "Open one with %code_mode DIR" in written(ok(notebook, "%code_mode"))
    assert str(base) in written(ok(notebook, f"%code_mode {base} --timeout 50"))
    ok(notebook, "%%code_mode\nimport os, sys")
    pid = shown(notebook, "%%code_mode\nos.getpid()")
    version = shown(notebook, "%%code_mode\nsys.version.split()[0]")
    text, html = table(notebook, "%code_mode")
    for told in (str(base), version.rpartition(".")[0], f"pid {pid}", "idle", "50 s"):
        assert told in text
        assert told in html
    assert text.endswith("runs       3")
    ok(notebook, "%code_mode close")
    assert not is_alive(pid)
    assert below(kernel[0]) == []


def test_another_directory_takes_the_place_of_the_first_and_one_that_fails_does_not(notebook, base, tmp_path):
    ok(notebook, f"%code_mode {base}")
    first = shown(notebook, "%%code_mode\nimport os; os.getpid()")
    file = tmp_path / "file"
    file.write_text("")
    name, told = failed(notebook, f"%code_mode {file}")
    assert name == "StorageError"
    assert str(file) in told
    assert "py_code_mode/" not in told
    name, told = failed(notebook, f"%code_mode {base} --python 3.99")
    assert (name, "3.99" in told) == ("PythonNotFoundError", True)
    assert shown(notebook, "%%code_mode\nos.getpid()") == first
    ok(notebook, f"%code_mode '{tmp_path}/a new one'")
    assert not is_alive(first)
    assert shown(notebook, "%%code_mode\nimport os; os.getcwd()") == f"{tmp_path}/a new one"


def test_reset_clears_the_variables_of_the_session_and_not_those_of_the_notebook(opened):
    ok(opened, "kept = 1")
    ok(opened, "%%code_mode\ngone = 1")
    ok(opened, "%code_mode reset")
    assert failed(opened, "%%code_mode\ngone")[0] == "NameError"
    assert shown(opened, "kept") == 1


def test_a_magic_blocks_only_its_cell(opened, tmp_path):
    opened.control_channel.send(opened.session.msg("create_subshell_request"))
    subshell = opened.get_control_msg(timeout=10)["content"]["subshell_id"]
    go = tmp_path / "go"
    code = f"import pathlib, time\nprint('begun')\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)"
    main = opened.execute(f"%%code_mode\n{code}")
    until_begun(opened)
    message = opened.session.msg("execute_request", {"code": "%code_mode", "silent": False})
    message["header"]["subshell_id"] = subshell
    opened.shell_channel.send(message)
    assert opened.get_shell_msg(timeout=10)["parent_header"]["msg_id"] == message["header"]["msg_id"]
    while (shown_one := opened.get_iopub_msg(timeout=10))["msg_type"] != "execute_result":
        pass
    assert "busy" in shown_one["content"]["data"]["text/plain"]
    go.touch()
    assert opened.get_shell_msg(timeout=10)["parent_header"]["msg_id"] == main


def until_begun(client: BlockingKernelClient) -> None:
    while client.get_iopub_msg(timeout=30)["content"].get("text") != "begun\n":
        pass


# -- cells ----------------------------------------------------------------------------------------------


def test_output_appears_while_the_cell_runs(opened, tmp_path):
    go = tmp_path / "go"
    code = f"""%%code_mode
import pathlib, sys, time
print("first", flush=True)
while not pathlib.Path({str(go)!r}).exists():
    time.sleep(0.01)
print("second", file=sys.stderr)"""
    opened.execute_interactive(code, timeout=30, output_hook=lambda m: "text" in m["content"] and go.touch())
    assert go.exists()


def test_rich_output_is_passed_on_as_it_is(opened):
    code = """%%code_mode
from IPython.display import clear_output, display, publish_display_data
publish_display_data({"text/plain": "x", "image/png": "aGk=", "application/json": {"a": [1]}}, {"image/png": {"width": 3}})
handle = display("a", display_id="known")
clear_output(wait=True)"""
    plain, first, clear = ok(opened, code)
    assert plain["msg_type"] == "display_data"
    assert plain["content"]["data"] == {"text/plain": "x", "image/png": "aGk=", "application/json": {"a": [1]}}
    assert plain["content"]["metadata"] == {"image/png": {"width": 3}}
    assert first["content"]["transient"] == {"display_id": "known"}
    assert (clear["msg_type"], clear["content"]) == ("clear_output", {"wait": True})
    (update,) = ok(opened, "%%code_mode\nhandle.update('b')")
    assert (update["msg_type"], update["content"]["transient"]) == ("update_display_data", {"display_id": "known"})
    assert update["content"]["data"] == {"text/plain": "'b'"}


def test_the_value_is_shown_as_that_of_any_cell(opened):
    (output,) = ok(opened, "%%code_mode\n[1, 2]")
    assert output["msg_type"] == "execute_result"
    assert shown(opened, f"(_, Out[{output['content']['execution_count']}])") == ([1, 2], [1, 2])
    code = "class Rich:\n    def _repr_html_(self): return '<b>x</b>'\nRich()"
    (output,) = ok(opened, f"%%code_mode\n{code}")
    assert output["content"]["data"]["text/html"] == "<b>x</b>"
    assert ok(opened, "%%code_mode\n[1, 2];") == []
    captured = "with __import__('IPython').utils.capture.capture_output() as c: "
    ok(opened, captured + "get_ipython().run_cell_magic('code_mode', '', 'print(1); 2')")
    assert shown(opened, "(c.stdout, [o.data['text/plain'] for o in c.outputs])") == ("1\n", ["2"])


def test_o_puts_the_value_into_the_notebook_and_leaves_the_name_alone_where_the_cell_fails(opened):
    (output,) = ok(opened, "%%code_mode -o kept\n{'a': (1, b'x')}")
    assert output["msg_type"] == "execute_result"
    assert shown(opened, "kept") == {"a": (1, b"x")}
    failed(opened, "%%code_mode -o kept\n1/0")
    assert shown(opened, "kept") == {"a": (1, b"x")}
    told = written(ok(opened, "%%code_mode --out kept\nlambda: 1"), "stderr")
    assert "kept holds a text" in told
    assert "<function" in shown(opened, "str(kept)")


def test_an_error_shows_the_traceback_of_the_session_only_and_stops_a_run_of_all_cells(base):
    cells = [
        "%load_ext py_code_mode",
        f"%code_mode {base}",
        "%%code_mode\ndef f():\n    return 1 / 0\nf()",
        "print('not reached')",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    with pytest.raises(CellExecutionError) as caught:
        NotebookClient(notebook, timeout=30, kernel_name="python3").execute()
    assert (caught.value.ename, caught.value.evalue) == ("ZeroDivisionError", "division by zero")
    assert notebook.cells[3].execution_count is None
    (error,) = notebook.cells[2].outputs
    traceback = "\n".join(error.traceback)
    assert 'File "<cell 1>", line 2, in f\n    return 1 / 0' in traceback
    assert "py_code_mode" not in traceback


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(60)",
        "import asyncio; await asyncio.sleep(60)",
        "tools.slow(seconds=59)",
    ],
)
def test_interrupting_the_notebook_interrupts_the_cell_and_nothing_else(opened, kernel, code):
    sent = opened.execute(f"%%code_mode\nx = 1; print('begun')\n{code}", stop_on_error=False)
    until_begun(opened)
    kernel[0].interrupt_kernel()
    reply = opened.get_shell_msg(timeout=30)
    assert reply["parent_header"]["msg_id"] == sent
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    assert "py_code_mode" not in "".join(reply["content"]["traceback"])
    assert shown(opened, "%%code_mode\nx") == 1
    assert not [process for process in below(kernel[0]) if process.name() == "sleep" and is_alive(process.pid)]


def test_an_interrupt_that_comes_before_there_is_anything_to_interrupt_is_not_lost():
    background = Background()
    asked: list[float] = []

    async def ends_at_the_third(post: Any) -> str:
        import asyncio

        post("begun")
        while len(asked) < 3:
            await asyncio.sleep(0.01)
        return "ended"

    ended = background.wait(
        ends_at_the_third,
        show=lambda item: signal.raise_signal(signal.SIGINT),
        interrupt=lambda: asked.append(time.monotonic()),
    )
    background.stop()
    assert (ended, len(asked)) == ("ended", 3)


def test_an_interrupt_of_what_is_no_cell_cancels_it_once_and_raises_after_its_clean_up():
    background = Background()
    clean: list[str] = []

    async def opening(post: Any) -> None:
        import asyncio

        try:
            post("begun")
            await asyncio.Event().wait()
        finally:
            post("cancelled")
            await asyncio.sleep(0.01)
            clean.append("up")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        background.wait(opening, show=lambda item: signal.raise_signal(signal.SIGINT))
    background.stop()
    assert clean == ["up"]
    assert signal.getsignal(signal.SIGINT) is before


def test_code_whose_output_cannot_be_shown_does_not_go_on_behind_the_notebook():
    background = Background()
    stopped = threading.Event()

    async def cell(post: Any) -> None:
        import asyncio

        post("output")
        while not stopped.is_set():
            await asyncio.sleep(0.01)

    def show(item: str) -> None:
        raise OSError("the terminal is gone")

    with pytest.raises(OSError, match="the terminal is gone"):
        background.wait(cell, show=show, interrupt=stopped.set)
    background.stop()
    assert stopped.is_set()


def test_timeouts_stop_a_cell_and_the_session_goes_on(notebook, base):
    ok(notebook, f"%code_mode {base} --timeout 0.3")
    sleep = "x = 1\nimport time; time.sleep(60)"
    name, told = failed(notebook, f"%%code_mode\n{sleep}")
    assert name == "TimeoutError"
    assert "longer than 0.3 s" in told
    assert "longer than 0.2 s" in failed(notebook, f"%%code_mode -t 0.2\n{sleep}")[1]
    assert shown(notebook, "%%code_mode -t 30\ntime.sleep(0.4); x") == 1


def test_a_cell_that_ends_its_kernel_says_so_and_the_next_says_that_its_kernel_is_new(opened):
    name, told = failed(opened, "%%code_mode\nimport os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert name == "KernelDiedError"
    assert "SIGKILL" in told
    outputs = ok(opened, "%%code_mode\n1 + 1")
    assert "new kernel" in written(outputs, "stderr")
    assert outputs[-1]["content"]["data"] == {"text/plain": "2"}
    assert written(ok(opened, "%%code_mode\n1 + 1"), "stderr") == ""


# -- the end --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["shutdown", "kill"])
def test_nothing_of_a_session_outlives_the_notebooks_kernel(base, scratch, end):
    with kernel_of("python3") as (manager, client):
        ok(client, f"%load_ext py_code_mode\n%code_mode {base}")
        ok(client, f"%code_mode_here {base}")
        ok(client, "%%code_mode\nimport subprocess; p = subprocess.Popen(['sleep', '60'], start_new_session=True)")
        processes = below(manager)
        assert "sleep" in [process.name() for process in processes]
        manager.shutdown_kernel(now=end == "kill")
        left = psutil.wait_procs(processes, timeout=20)[1]
        assert left == []
        wait_until(lambda: not list(scratch.glob("code-mode-*")))


def test_the_kernel_of_a_session_ends_politely_with_the_notebooks(base, tmp_path):
    script = f"""
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell()
shell.run_cell("%load_ext py_code_mode\\n%code_mode {base}").raise_error()
shell.run_cell_magic("code_mode", "", "import atexit, pathlib; atexit.register(pathlib.Path('{tmp_path}/ended').touch)")
"""
    import subprocess

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "ended").exists()


def wait_until(condition: Any) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_the_extension_can_be_loaded_twice_unloaded_and_reloaded(notebook, base, kernel):
    assert "already loaded" in written(ok(notebook, "%load_ext py_code_mode"))
    ok(notebook, "import py_code_mode; py_code_mode.load_ipython_extension(get_ipython())")
    ok(notebook, f"tools = 'mine'\n%code_mode {base}\n%code_mode_here {base}")
    ok(notebook, "%reload_ext py_code_mode")
    assert below(kernel[0]) == []
    assert shown(notebook, "tools") == "mine"
    assert "No session is open" in written(ok(notebook, "%code_mode"))
    ok(notebook, "%unload_ext py_code_mode")
    for magic in ("%code_mode", "%tools", "%deps", "%%workflow x\n1"):
        assert "not found" in failed(notebook, magic)[1]
    assert "--timeout" not in completed(notebook, "%code_mode --")
    threads = "[t.name for t in __import__('threading').enumerate() if 'py-code-mode' in t.name]"
    assert shown(notebook, threads) == []
    ok(notebook, "%load_ext py_code_mode")
    assert "--timeout" in completed(notebook, "%code_mode --")


# -- what a workspace has -------------------------------------------------------------------------------


def test_the_workspace_is_listed_and_searched_as_tables_that_are_escaped(opened, base):
    text, html = table(opened, "%tools")
    assert "tools.slow" in text
    assert "Sleeps <b>& wakes</b> [time]" in text
    assert "Sleeps &lt;b&gt;&amp; wakes&lt;/b&gt; [time]" in html
    assert "tools.slow" in table(opened, "%tools wake up")[0]
    assert table(opened, "%tools 'no such thing'") == ("tools: none for 'no such thing'", "")
    assert "%%workflow" in table(opened, "%workflows")[0]
    ok(opened, "%%workflow add_up Adds numbers\nasync def run(a: int, b: int = 2) -> int:\n    return a + b")
    assert "workflows.add_up(a: int, b: int = 2)  Adds numbers" in table(opened, "%workflows")[0]
    assert "add_up" in table(opened, "%workflows numbers")[0]
    (base / "workflows" / "broken.py").write_text("def run(")
    assert "broken: " in table(opened, "%workflows")[0]
    assert "artifacts.save(name, data)" in table(opened, "%artifacts")[0]
    ok(opened, "%%code_mode\nartifacts.save('a/b', [1], description='Some <i>');")
    text, html = table(opened, "%artifacts")
    assert "'a/b'  Some <i> (20" in text
    assert "Some &lt;i&gt;" in html
    ok(opened, "%%code_mode\n[workflows.delete(name) for name in ('add_up', 'broken')]; artifacts.delete('a/b')")


def test_a_long_list_is_cut_in_the_notebook(opened, base):
    folder = base / "workflows"
    folder.mkdir(exist_ok=True)
    for number in range(300):
        (folder / f"w{number}.py").write_text(f'"""{"x" * 5000}"""\nasync def run(): ...')
    text, html = table(opened, "%workflows")
    for number in range(300):
        (folder / f"w{number}.py").unlink()
    assert "more" in text
    assert len(text) < 100_000
    assert len(html) < 500_000


def test_packages_are_added_removed_and_synced_and_a_failure_says_why(notebook, tmp_path):
    make_wheel(tmp_path / "wheels", "pcm_one")
    make_wheel(tmp_path / "wheels", "pcm_two")
    setting = f"os.environ.update(UV_FIND_LINKS={str(tmp_path / 'wheels')!r}, UV_OFFLINE='1')"
    base = tmp_path / "base"
    ok(notebook, f"import os; before = dict(os.environ)\n%code_mode {base}")
    ok(notebook, setting)
    assert "%deps add" in table(notebook, "%deps")[0]
    assert written(ok(notebook, "%deps add 'pcm_one>=1' pcm_two")) == "Installed: pcm_one>=1\nInstalled: pcm_two\n"
    assert table(notebook, "%deps")[0].split() == ["deps", "(2)", "pcm_one>=1", "pcm_two"]
    assert shown(notebook, "%%code_mode\nimport pcm_one; pcm_one.VERSION") == "1.0"
    assert written(ok(notebook, "%deps sync")) == "Already there: pcm_one>=1, pcm_two\n"
    assert written(ok(notebook, "%deps remove pcm_two pcm_none")) == "Removed: pcm_two\nNot installed: pcm_none\n"
    name, told = failed(notebook, "%deps add pcm_none pcm_two")
    assert name == "InstallError"
    assert "pcm_none: " in told
    assert (base / "requirements.txt").read_text() == "pcm_one>=1\npcm_two\n"
    name, told = failed(notebook, "%deps add ./here")
    assert name == "RequirementError"
    assert "py_code_mode/" not in told
    ok(notebook, "os.environ.clear(); os.environ.update(before)")


# -- workflows from cells -------------------------------------------------------------------------------


def test_a_cell_becomes_a_workflow_without_being_run(opened, base):
    cell = "import json\nasync def run(x: int):\n    # as it is\n    return json.dumps(x)"
    assert "workflows.as_is(x: int)" in written(ok(opened, f"%%workflow as_is 'Writes {{x}} down'\n{cell}"))
    saved = (base / "workflows" / "as_is.py").read_text()
    assert saved.startswith('"""Writes {x} down"""\n')
    assert saved.rstrip().endswith(cell)
    plain = (
        '"""Text of two lines."""\nkept = """a\n  b"""  # a comment\nfor _ in range(2):\n    kept += "c"\n(kept,\n 1)'
    )
    assert "workflows.plain()" in written(ok(opened, f"%%workflow plain\n{plain}"))
    assert shown(opened, "%%code_mode\nworkflows.as_is(1), workflows.plain()") == ("1", ("a\n  bcc", 1))
    assert "Text of two lines." in table(opened, "%workflows")[0]
    ok(opened, "%%code_mode\n[workflows.delete(name) for name in ('as_is', 'plain')]")


def test_names_that_a_cell_does_not_define_are_refused_with_what_to_write_instead():
    with pytest.raises(WorkflowInvalidError) as caught:
        workflow_source("fetch", "import json\nrows = json.loads(tools.web.get(url=url))\nrows[:limit]")
    assert "async def run(limit, url):" in str(caught.value)
    defined = """
def f(n):
    global counter
    counter = n
    return [f(i) for i in range(n)] if n else __name__
class A:
    b = 1
    c = [1 for _ in (b,)]
try:
    f(3)
except (ToolError, ValueError) as error:
    print(error)
with open("x") as file, (lambda q: q)(file) as g:
    text = f"{file!r:>{counter}}"
display(text, artifacts, deps, workflows, A)
"""
    assert workflow_source("fine", defined).startswith("async def run():\n")


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("%%workflow broken Some text\nx = = 1", "workflows/broken.py:1: it does not parse"),
        ("%%workflow broken Some text\ndef run(): ...", "'run' is a plain function"),
        ("%%workflow broken\n1 + 1", "has no description"),
        ("%%workflow broken Some text\nfor i in []: yield i", "'run' yields"),
        ("%%workflow not-a-name Some text\n1", "cannot be the name of a workflow"),
        ("%%workflow list Some text\n1", "workflows.list is a method"),
        ("%%workflow broken Some text\nundefined", "async def run(undefined)"),
    ],
)
def test_a_cell_that_can_be_no_workflow_is_refused_and_nothing_is_saved(opened, base, cell, told):
    name, text = failed(opened, cell)
    assert name == "WorkflowInvalidError"
    assert told in text
    assert "py_code_mode/" not in text
    assert not list((base / "workflows").glob("*.py"))


# -- the names in the notebook itself -------------------------------------------------------------------


def test_the_four_names_work_in_the_notebooks_own_kernel(notebook, base, tmp_path):
    ok(notebook, "tools = 'mine'; import os")
    outputs = ok(notebook, f"%code_mode_here {base}")
    assert "tools had another meaning" in written(outputs, "stderr")
    assert shown(notebook, "tools.slow(seconds=0)") == ""
    assert shown(notebook, "artifacts.save('here', [1]); artifacts.load('here')") == [1]
    ok(notebook, "%%workflow where Where it runs\nimport os\nartifacts.exists('here'), os.getpid()")
    assert shown(notebook, "workflows.where() == (True, os.getpid())") is True
    assert "workflows.where" in table(notebook, "%workflows")[0]
    assert "no session is open" in failed(notebook, "%%code_mode\n1")[1]
    ok(notebook, f"%code_mode_here '{tmp_path}/other'\nfirst = artifacts")
    assert shown(notebook, "artifacts.list()") == []
    ok(notebook, "deps = 'assigned since'\n%code_mode_here close")
    assert shown(notebook, "(tools, deps, 'workflows' in globals())") == ("mine", "assigned since", False)
    assert failed(notebook, "first.list()")[0] == "LinkError"
    (base / "workflows" / "where.py").unlink()
    (base / "artifacts").joinpath("here.json").unlink(missing_ok=True)


def test_packages_for_the_notebooks_own_kernel_are_installed_beside_its_environment(notebook, tmp_path):
    make_wheel(tmp_path / "wheels", "pcm_beside")
    ok(notebook, f"import os, sys; before, path = dict(os.environ), list(sys.path)\n%code_mode_here {tmp_path}/base")
    ok(notebook, f"os.environ.update(UV_FIND_LINKS={str(tmp_path / 'wheels')!r}, UV_OFFLINE='1')")
    assert shown(notebook, "deps.add('pcm_beside')['installed']") == ["pcm_beside"]
    assert shown(notebook, "import pcm_beside; pcm_beside.__file__.startswith(sys.prefix)") is False
    assert shown(notebook, "deps.add('ipykernel<1')['failed']") == ["ipykernel<1"]
    ok(notebook, "%code_mode_here close")
    assert shown(notebook, "sys.path == path") is True
    ok(notebook, "os.environ.clear(); os.environ.update(before)")


def test_the_magics_work_in_a_workspaces_own_kernel(base, tmp_path):
    packages = [str(Path(__file__).parent.parent), str(Path(psutil.__file__).parent.parent)]
    with kernel_of("workspace") as (manager, client):
        ok(client, f"import sys; sys.path += {packages}")
        ok(client, f"%load_ext py_code_mode\n%code_mode '{tmp_path}'")
        assert shown(client, "%%code_mode -o x\nimport os; os.getcwd()") == str(tmp_path)
        client.execute("%%code_mode\nprint('begun')\nimport time; time.sleep(60)", stop_on_error=False)
        until_begun(client)
        manager.interrupt_kernel()
        assert client.get_shell_msg(timeout=30)["content"]["ename"] == "KeyboardInterrupt"
        assert shown(client, "%%code_mode\nos.getcwd()") == shown(client, "x") == str(tmp_path)
        assert "keeps its tools" in failed(client, f"%code_mode_here {tmp_path}")[1]
        assert shown(client, "[tool['name'] for tool in tools.list()]") == ["slow"]
        manager.shutdown_kernel()


# -- help, completion, usage ----------------------------------------------------------------------------


@pytest.mark.parametrize("use_jedi", [True, False])
def test_arguments_are_completed(opened, base, tmp_path, use_jedi):
    ok(opened, f"%config IPCompleter.use_jedi = {use_jedi}")
    (tmp_path / "one").mkdir()
    (tmp_path / "two words").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "file").touch()
    assert {"close", "reset", "--timeout"} <= completed(opened, "%code_mode ")
    assert completed(opened, "%code_mode --") == {"--timeout", "--python"}
    assert completed(opened, f"%code_mode {tmp_path}/") == {f"{tmp_path}/one/", f"'{tmp_path}/two words/'"}
    assert completed(opened, f"x = 1\n%code_mode_here {tmp_path}/o") == {f"{tmp_path}/one/"}
    assert completed(opened, f"%code_mode '{tmp_path}/two w") == {"words/"}
    assert completed(opened, "%%code_mode --o") == {"--out"}
    assert completed(opened, "%deps ") == {"add", "remove", "sync"}
    ok(opened, "%%workflow known Text\n1")
    assert completed(opened, "%%workflow kn") == completed(opened, "%workflows kn") == {"known"}
    assert completed(opened, "%tools sl") == {"slow"}
    ok(opened, "%%code_mode\nworkflows.delete('known')")
    assert shown(opened, "get_ipython().complete('re', '%deps re', 8)") == ("re", ["remove"])
    assert "--timeout" not in completed(opened, "%code_mode --timeout ")
    assert "operator" in completed(opened, "import operat")


def completed(client: BlockingKernelClient, text: str) -> set[str]:
    return set(client.complete(text, len(text), reply=True, timeout=20)["content"]["matches"])


@pytest.mark.parametrize(
    ("magic", "told"),
    [
        ("%code_mode", ("--timeout S", "%code_mode ~/work", "close")),
        ("%%code_mode", ("--out NAME", "%%code_mode -o")),
        ("%code_mode_here", ("%code_mode_here [--tools DIR] DIR", "%code_mode_here close")),
        ("%tools", ("%tools [QUERY]", "%tools http")),
        ("%workflows", ("%workflows [QUERY]", "%workflows fetch")),
        ("%artifacts", ("%artifacts",)),
        ("%deps", ("%deps add pandas", "sync")),
        ("%%workflow", ("%%workflow NAME [DESCRIPTION]", "async def run(url: str)")),
    ],
)
def test_a_question_mark_shows_how_a_magic_is_used(notebook, magic, told):
    reply, _ = run(notebook, f"{magic}?")
    text = reply["payload"][0]["data"]["text/plain"]
    for part in told:
        assert part in text


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("%%code_mode\n1", "no session is open: open one with %code_mode DIR"),
        ("%code_mode close", "no session is open"),
        ("%code_mode reset", "no session is open"),
        ("%tools", "no session is open"),
        ("%workflows x", "no session is open"),
        ("%artifacts", "no session is open"),
        ("%deps add x", "no session is open"),
        ("%%workflow x y\n1", "no session is open"),
        ("%code_mode_here close", "put one here with %code_mode_here DIR"),
        ("%code_mode_here", "required: DIR"),
        ("%code_mode two words", "unrecognized arguments: words (%code_mode? shows"),
        ("%code_mode 'open", "No closing quotation"),
        ("%code_mode x --timeout -1", "'-1' is not a positive number of seconds"),
        ("%code_mode x --timeout nan", "'nan' is not a positive number of seconds"),
        ("%code_mode --timeout 5", "%code_mode DIR --timeout"),
        ("%code_mode ~nobody-of-that-name/x", "cannot be a workspace"),
        ("%%code_mode -t soon\n1", "'soon' is not a positive number"),
        ("%%code_mode -o 1x\n1", "'1x' is not the name of a variable"),
        ("%%code_mode -o class\n1", "'class' is not the name of a variable"),
        ("%%code_mode --nothing\n1", "unrecognized arguments: --nothing (%%code_mode? shows"),
    ],
)
def test_wrong_use_is_told_in_one_line_that_says_what_to_do(notebook, code, told):
    name, text = failed(notebook, code)
    assert name == "UsageError"
    assert told in text
    assert len(text.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("%artifacts x", "%artifacts takes no arguments"),
        ("%deps upgrade", "'add', 'remove', 'sync'"),
        ("%deps add", "%deps add takes a package, or several"),
        ("%deps sync x", "%deps sync takes no packages"),
        ("%%workflow\n1", "the workflow needs a name"),
        ("%%workflow x y\n\n", "the cell is empty"),
    ],
)
def test_wrong_use_of_an_open_session_is_told_too(opened, code, told):
    name, text = failed(opened, code)
    assert name == "UsageError"
    assert told in text


# -- a terminal -----------------------------------------------------------------------------------------


def test_the_magics_work_in_a_terminal(base, tmp_path):
    arguments = ["-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor"]
    env = {**os.environ, "IPYTHONDIR": str(tmp_path), "TERM": "dumb"}
    terminal = pexpect.spawn(sys.executable, arguments, env=env, encoding="utf-8", timeout=30, dimensions=(40, 200))
    prompt = r"In \[\d+\]: "

    def cell(*lines: str) -> str:
        for line in lines:
            terminal.sendline(line)
        terminal.expect(prompt)
        return terminal.before

    terminal.expect(prompt)
    cell("%load_ext py_code_mode")
    assert str(base) in cell(f"%code_mode {base}")
    assert "tools.slow" in cell("%tools")
    assert "Out[4]: 42" in cell("%%code_mode -o x", "y = 6", "y * 7", "", "")
    assert "43" in cell("x + 1")
    for line in ("%%code_mode", "import time; print('be' + 'gun'); time.sleep(60)", "", ""):
        terminal.sendline(line)
    terminal.expect("begun")
    terminal.sendintr()
    terminal.expect("KeyboardInterrupt: the run was interrupted")
    terminal.expect(prompt)
    assert "<cell 3>" in cell("%%code_mode", "y / 0", "", "")
    processes = psutil.Process(terminal.pid).children(recursive=True)
    terminal.sendline("exit")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    assert psutil.wait_procs(processes, timeout=20)[1] == []
