"""Jupyter's own clients, which know nothing of us: they start, use, restart and end kernels of a workspace."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pexpect
import psutil
import pytest
from jupyter_client.manager import AsyncKernelManager, KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from py_code_mode.errors import StorageError

from .frontends import add_kernelspec, jupyter_path, kernel_of, run, shown
from .sessions import is_alive, open_session

TOOL = """
name: slow
type: cli
command: sleep
timeout: 60
schema:
  positional: [{name: seconds, type: integer, required: true}]
recipes:
  nap: {description: Sleep for a while, params: {seconds: {}}}
"""

DEBUGGED = "a = 1\nb = a + 1\nprint(b)\n"


@pytest.fixture(scope="module", autouse=True)
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The workspace of the kernelspecs "workspace" and "debugged"."""
    directory, base = tmp_path_factory.mktemp("jupyter"), tmp_path_factory.mktemp("workspace")
    add_kernelspec(directory, "workspace", base=str(base))
    add_kernelspec(directory, "debugged", base=str(base), debug=True)
    file = base / "file"
    file.write_text("")
    (base / "tools").mkdir()
    (base / "tools" / "slow.yaml").write_text(TOOL)
    add_kernelspec(directory, "impossible", base=str(file))
    with jupyter_path(directory):
        yield base


@pytest.fixture(scope="module")
def kernel(base):
    with kernel_of("workspace") as both:
        yield both


def directory_of(manager: KernelManager) -> Path:
    """The kernel's private directory."""
    return Path(manager.ip).parent


def below() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def test_the_namespaces_answer_while_the_loop_of_the_front_end_stands_still(kernel, base):
    _, client = kernel
    assert shown(client, "[tool['name'] for tool in tools.list()]") == ["slow"]
    assert shown(client, "tools.slow(seconds=0)") == ""
    assert shown(client, "artifacts.save('from_lab', [1, 2]); artifacts.load('from_lab')") == [1, 2]
    assert (base / "artifacts").is_dir()
    assert shown(client, "import os; os.getcwd()") == str(base)


def test_an_interrupt_ends_what_the_front_end_runs_and_nothing_else(kernel):
    manager, client = kernel
    for code in (
        "import time; time.sleep(60)",
        "import asyncio; await asyncio.sleep(60)",
        "import subprocess; subprocess.run(['sleep', '60'])",
        "tools.slow(seconds=59)",
    ):
        sent = client.execute(f"print('begun')\n{code}")
        while client.get_iopub_msg(timeout=30)["content"].get("text") != "begun\n":
            pass
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=30)
        assert reply["parent_header"]["msg_id"] == sent
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        client.control_channel.send(client.session.msg("interrupt_request", {}))  # nothing runs
        assert client.get_control_msg(timeout=30)["content"]["status"] == "ok"
        assert shown(client, "1 + 1") == 2
    assert not [process for process in below() if process.name() == "sleep" and is_alive(process.pid)]


def test_what_is_queued_behind_a_failed_cell_is_aborted_and_what_follows_its_reply_is_not(kernel):
    _, client = kernel
    for _ in range(20):
        queued = [client.execute(code) for code in ("import time; time.sleep(0.05); 1/0", "1", "2")]
        replies = [client.get_shell_msg(timeout=30) for _ in queued]
        assert [reply["parent_header"]["msg_id"] for reply in replies] == queued
        assert [reply["content"]["status"] for reply in replies] == ["error", "aborted", "aborted"]
        client.execute("1/0")
        assert client.get_shell_msg(timeout=30)["content"]["status"] == "error"
        client.execute("1")
        assert client.get_shell_msg(timeout=30)["content"]["status"] == "ok"


def test_input_asks_the_person_at_the_front_end(kernel):
    _, client = kernel
    asked = []

    def answer(message):
        asked.append((message["content"]["prompt"], message["content"]["password"]))
        client.input("Ada")

    code = "import getpass; name, secret = input('Who? '), getpass.getpass('Secret: ')\n(name, secret)"
    reply, outputs = run(client, code, allow_stdin=True, stdin_hook=answer)
    assert reply["status"] == "ok"
    assert outputs[-1]["content"]["data"]["text/plain"] == "('Ada', 'Ada')"
    assert asked == [("Who? ", False), ("Secret: ", True)]
    reply, _ = run(client, "input('Who? ')", allow_stdin=False)
    assert reply["ename"] == "StdinNotImplementedError"


def test_a_restarted_kernel_is_fresh_at_the_same_address(base):
    with kernel_of("workspace") as (manager, client):
        info, directory = manager.get_connection_info(), directory_of(manager)
        before = shown(client, "import os; mine = os.getpid(); mine")
        for now in (False, True):
            manager.restart_kernel(now=now)
            client.wait_for_ready(timeout=30)
            assert (manager.get_connection_info(), directory_of(manager)) == (info, directory)
            assert run(client, "mine")[0]["ename"] == "NameError"
            assert shown(client, "artifacts.save('after', 1); artifacts.load('after')") == 1
        assert not psutil.pid_exists(before)


def test_a_kernel_that_was_killed_is_noticed_and_can_be_restarted(base):
    with kernel_of("workspace") as (manager, client):
        os.kill(shown(client, "import os; os.getpid()"), signal.SIGKILL)
        assert manager.provisioner is not None
        with pytest.raises(RuntimeError, match="died"):
            client.wait_for_ready(timeout=30)
        assert not manager.is_alive()
        manager.restart_kernel(now=True)  # as JupyterLab does by itself
        client.wait_for_ready(timeout=30)
        assert shown(client, "len(tools.list())") == 1


def test_the_end_of_the_kernel_leaves_nothing_behind(base):
    started = set(below())
    with kernel_of("workspace") as (manager, client):
        directory = directory_of(manager)
        daemon = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True).pid"
        left = shown(client, daemon)
        client.stop_channels()
        manager.shutdown_kernel()
        assert not manager.is_alive()
        assert not psutil.pid_exists(left)
        assert not directory.exists()
        assert not Path(manager.connection_file).exists()
    assert set(below()) <= started


async def test_an_async_kernel_manager_starts_a_kernel_with_the_directory_and_variables_of_its_front_end(
    base, tmp_path
):
    manager = AsyncKernelManager(kernel_name="workspace")
    environment = {**os.environ, "JPY_SESSION_NAME": "notes.ipynb", "MINE": "ä"}
    await manager.start_kernel(cwd=str(tmp_path), env=environment)
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=30)
        code = "import os; assert (os.getcwd(), os.environ['MINE'], __session__) == " + repr(
            (str(tmp_path), "ä", "notes.ipynb")
        )
        reply = await client.execute_interactive(code, timeout=30)
        assert reply["content"]["status"] == "ok", reply["content"]
        assert await manager.is_alive()
    finally:
        client.stop_channels()
        await manager.shutdown_kernel()
    assert not await manager.is_alive()


def test_a_kernel_that_cannot_be_started_is_an_error_that_says_why_and_leaves_nothing(base, caplog):
    started = set(below())
    manager = KernelManager(kernel_name="impossible")
    with pytest.raises(StorageError, match="file"):
        manager.start_kernel()
    assert not manager.is_alive()
    assert set(below()) <= started


def test_nbclient_executes_a_notebook_in_the_workspace(base):
    cells = ["x = 20\nprint('hello')", "[t['name'] for t in tools.list()]", "artifacts.save('made', {'x': x})\nx + 1"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, kernel_name="workspace", timeout=30).execute()
    first, second, third = (cell["outputs"] for cell in notebook["cells"])
    assert first[0]["text"] == "hello\n"
    assert second[0]["data"]["text/plain"] == "['slow']"
    assert third[0]["data"]["text/plain"] == "21"
    assert (base / "artifacts" / "made").exists()


def test_nbclient_reports_the_error_of_a_cell_and_goes_on_where_that_is_allowed(base):
    cells = ["1/0", "input('Who? ')", "6 * 7"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        NotebookClient(notebook, kernel_name="workspace", timeout=30).execute()
    NotebookClient(notebook, kernel_name="workspace", timeout=30, allow_errors=True).execute()
    failed, refused, fine = (cell["outputs"][0] for cell in notebook["cells"])
    assert (failed["ename"], refused["ename"]) == ("ZeroDivisionError", "StdinNotImplementedError")
    assert fine["data"]["text/plain"] == "42"


def test_jupyter_console_runs_cells_asks_and_ends(base):
    started = set(below())
    command = ["-m", "jupyter_console", "--simple-prompt", "--kernel", "workspace"]
    console = pexpect.spawn(sys.executable, command, encoding="utf-8", timeout=40, env={**os.environ, "TERM": "dumb"})
    try:
        console.expect(r"In \[1\]: ")
        console.sendline("print(tools.list()[0]['name'] + '!')")
        console.expect("slow!")
        console.expect(r"In \[2\]: ")
        console.sendline("input('Who' + '? ').upper()")
        console.expect(r"Who\? ")
        console.sendline("ada")
        console.expect("'ADA'")
        console.expect(r"In \[3\]: ")
        console.sendline("exit")
        console.expect(pexpect.EOF)
    finally:
        console.close(force=True)
    assert set(below()) <= started


# -- the debugger -----------------------------------------------------------------------------------------


def features(client) -> list[str]:
    client.kernel_info()
    return client.get_shell_msg(timeout=30)["content"]["supported_features"]


def test_without_the_debugger_nothing_of_it_is_imported_and_debugpy_is_the_users_own(kernel):
    _, client = kernel
    assert "debugger" not in features(client)
    assert shown(client, "import sys; [name for name in sys.modules if name.startswith(('debugpy', 'pydevd'))]") == []
    assert shown(client, "import debugpy; callable(debugpy.listen)") is True


def test_a_kernel_that_was_asked_to_have_it_stops_at_a_breakpoint(base):
    with kernel_of("debugged") as (_, client):
        assert "debugger" in features(client)
        debug = Debugger(client)
        debug.ask("initialize", clientID="test", adapterID="", linesStartAt1=True, pathFormat="path")
        debug.ask("attach")
        path = debug.ask("dumpCell", code=DEBUGGED)["sourcePath"]
        source = {"source": {"path": path}, "sourceModified": False}
        (placed,) = debug.ask("setBreakpoints", breakpoints=[{"line": 2}], **source)["breakpoints"]
        assert (placed["verified"], placed["line"]) == (True, 2)
        debug.ask("configurationDone")
        client.execute(DEBUGGED)
        thread = debug.event("stopped")["threadId"]
        frame = debug.ask("stackTrace", threadId=thread)["stackFrames"][0]
        assert (frame["line"], frame["source"]["path"]) == (2, path)
        scope = debug.ask("scopes", frameId=frame["id"])["scopes"][0]
        variables = debug.ask("variables", variablesReference=scope["variablesReference"])["variables"]
        assert {item["name"]: item["value"] for item in variables}["a"] == "1"
        debug.ask("continue", threadId=thread)
        assert client.get_shell_msg(timeout=30)["content"]["status"] == "ok"
        debug.ask("disconnect", restart=False, terminateDebuggee=False)
        assert shown(client, "a + b") == 3
    assert not Path(path).exists()


async def test_a_session_can_have_the_debugger_in_its_kernel(tmp_path):
    async with open_session(tmp_path, debug=True) as session:
        code = "import sys; (sys.modules['ipykernel.debugger']._is_debugpy_available, 'debugpy' in sys.modules)"
        assert (await session.run(code)).value == (True, True)
        error = await session.run("def f():\n    1 / 0\nf()")
        assert (error.error_name, "    1 / 0" in (error.traceback or "")) == ("ZeroDivisionError", True)
        await session.reset()
        assert (await session.run("tools.list()")).value == []


class Debugger:
    """The end of a front end's debugger: DAP messages in messages of the control channel."""

    def __init__(self, client) -> None:
        self._client = client
        self._sent = 0

    def ask(self, command: str, **arguments):
        self._sent += 1
        content = {"type": "request", "seq": self._sent, "command": command, "arguments": arguments}
        message = self._client.session.msg("debug_request", content)
        self._client.control_channel.send(message)
        while True:
            reply = self._client.get_control_msg(timeout=30)
            if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                assert reply["content"]["success"], reply["content"]
                return reply["content"].get("body")

    def event(self, name: str):
        while True:
            message = self._client.get_iopub_msg(timeout=30)
            if message["msg_type"] == "debug_event" and message["content"]["event"] == name:
                return message["content"]["body"]
