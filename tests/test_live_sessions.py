"""Live sessions are found from another process, tell what they do, and leave nothing behind."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from py_code_mode import live
from py_code_mode.errors import KernelError
from py_code_mode.executors.kernel import SubprocessConfig, SubprocessExecutor
from py_code_mode.session import Session
from py_code_mode.storage.file import FileStorage
from py_code_mode.watch.remote import states, variables

from .live_agent import agent, waited
from .sessions import is_alive, open_session

C_CALL = "sum(range(10 ** 12))"
"""Holds the interpreter's lock for longer than any test: no thread of the kernel can answer."""


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime directory of one test: only its own sessions are found."""
    directory = tmp_path / "runtime"
    directory.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    return directory


def files(runtime: Path) -> list[Path]:
    """The connection files that are there, without looking at whether they are stale."""
    return list((runtime / "py-code-mode/sessions").glob("*"))


# -- what they tell ---------------------------------------------------------------------------------------


def test_a_session_of_another_process_tells_what_it_is_and_what_it_does(tmp_path):
    with agent(tmp_path) as other:
        session = other.live()
        assert (session.pid, session.workspace) == (other.process.pid, "tests")
        assert other.run("import os; os.getpid()") == str(session.kernel_pid)
        assert 0 <= (datetime.now(UTC) - session.since).total_seconds() < 60
        idle = other.state()
        assert (idle.state, idle.code, idle.seconds, idle.by, idle.stack) == ("idle", "", None, None, "")
        assert idle.memory is not None
        assert 5e6 < idle.memory < 1e9

        other.begin("\nimport time\ntime.sleep(60)")
        busy = waited(lambda: found if "sleep" in (found := other.state()).stack else None)
        assert (busy.state, busy.code, busy.by) == ("busy", "import time …", "session")
        assert "line 2, in <module>" in busy.stack  # IPython leaves blank lines at the beginning out
        later = waited(lambda: found if (found := other.state()).seconds > busy.seconds else None)
        assert later.seconds < 60


def test_the_cell_of_another_client_is_marked_as_such(tmp_path):
    with agent(tmp_path) as other:
        client = BlockingKernelClient(connection_file=str(other.live().connection_file))
        client.load_connection_file()
        client.start_channels()
        client.execute("import time; time.sleep(60)  # a person's")
        assert other.until("busy").by == "other"
        client.stop_channels()


def test_the_variables_are_told_while_a_cell_runs_and_looking_leaves_nothing_in_the_kernel(tmp_path):
    with agent(tmp_path) as other:
        count = "import threading; threading.active_count()"
        threads = other.run(count)
        other.begin("x = [1, 2]\nimport time\ntime.sleep(1)")
        other.until("busy")
        for _ in range(2):
            (x,) = [item for item in variables(other.live()) if item["name"] == "x"]
            assert {**x, "size": 0} == {"name": "x", "type": "list", "shape": [2], "size": 0, "repr": "[1, 2]"}
        assert other.read() == "None"
        assert other.run(count) == threads


def test_what_code_and_values_say_never_reaches_the_terminal_as_a_command(tmp_path):
    with agent(tmp_path) as other:
        other.run("class Nasty:\n    def __repr__(self): return '\\x1b[2J\\x9b'\nnasty = Nasty()")
        assert [item["repr"] for item in variables(other.live()) if item["name"] == "nasty"] == ["\\x1b[2J\\x9b"]
        other.begin("import time; time.sleep(60)  # \x1b[2J")
        assert other.until("busy").code.endswith("# \\x1b[2J")


def test_a_kernel_that_a_c_call_holds_is_not_answering_and_keeps_nobody_waiting(tmp_path):
    with agent(tmp_path / "one", tmp_path / "two") as other:
        other.begin(C_CALL)
        waited(lambda: other.state(timeout=0.2).state == "not answering")
        begun = time.monotonic()
        found = states(live.sessions())
        assert time.monotonic() - begun < 2.0
        assert {state.session.id: state.state for state in found} == {
            other.ids[0]: "not answering",
            other.ids[1]: "idle",
        }
        with pytest.raises(KernelError, match="did not answer within 3 s"):
            variables(other.live())


def test_two_sessions_of_a_host_and_one_of_another_are_told_apart(tmp_path):
    with agent(tmp_path / "one", tmp_path / "two") as first, agent(tmp_path / "three") as second:
        first.begin("import time; time.sleep(60)", 1)
        first.until("busy", 1)
        found = states(live.sessions())
        assert [state.session.id for state in found] == [*first.ids, *second.ids]
        assert [state.state for state in found] == ["idle", "busy", "idle"]
        assert len({state.session.kernel_pid for state in found}) == 3


async def test_the_workspace_of_a_session_is_its_directory(tmp_path):
    async with Session(FileStorage(tmp_path), SubprocessExecutor(SubprocessConfig(spares=0))):
        assert [session.workspace for session in live.sessions()] == [str(tmp_path)]


# -- their files ------------------------------------------------------------------------------------------


async def test_the_files_are_for_this_user_alone(tmp_path, runtime):
    async with open_session(tmp_path) as session:
        assert session.connection_file.parent == runtime / "py-code-mode/sessions"
        path, modes = session.connection_file, []
        while path != runtime:
            modes.append(stat.S_IMODE(path.stat().st_mode))
            path = path.parent
        assert modes == [0o600, 0o700, 0o700]


async def test_without_a_runtime_directory_they_are_in_the_temporary_one(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    may, login = os.access, f"/run/user/{os.geteuid()}"
    monkeypatch.setattr(os, "access", lambda path, mode: path != login and may(path, mode))
    async with open_session(tmp_path) as session:
        expected = Path(tempfile.gettempdir(), f"py-code-mode-{os.geteuid()}", "sessions")
        assert session.connection_file.parent == expected
        assert [found.id for found in live.sessions()] == [session.id]


async def test_a_new_kernel_has_a_new_file_and_close_removes_it(tmp_path, runtime):
    async with open_session(tmp_path) as session:
        seen = [session.connection_file]
        assert files(runtime) == seen
        await session.reset()
        seen.append(session.connection_file)
        assert files(runtime) == seen[-1:]
        await session.run("import os; os._exit(1)")
        await session.run("1")  # waits for the next kernel
        seen.append(session.connection_file)
        assert files(runtime) == seen[-1:]
        assert len(set(seen)) == 3
        assert [found.connection_file for found in live.sessions()] == seen[-1:]
    assert files(runtime) == []


def test_a_host_that_is_killed_leaves_no_file(tmp_path, runtime):
    with agent(tmp_path) as other:
        assert len(files(runtime)) == 1
        other.process.kill()
        waited(lambda: not files(runtime), seconds=2.0)


def test_what_is_left_where_nobody_could_clean_up_is_removed_by_the_next_look(tmp_path, runtime):
    with agent(tmp_path, TMPDIR=tempfile.mkdtemp()) as other:
        kernel = other.live().kernel_pid
        supervisor = psutil.Process(kernel)
        while supervisor.ppid() != other.process.pid:
            supervisor = supervisor.parent()
        supervisor.suspend()
        other.process.kill()
        waited(lambda: not is_alive(other.process.pid))  # it is a zombie: this test has not waited for it
        assert len(files(runtime)) == 1
        assert live.sessions() == []
        assert files(runtime) == []
        below = supervisor.children(recursive=True)
        supervisor.kill()
        for process in below:
            if process.is_running():
                process.kill()


def test_a_directory_that_is_somebody_elses_is_refused(runtime, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (runtime / "py-code-mode").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match=r"py-code-mode, where live .* not a directory of this user: remove it"):
        live.sessions()
    assert list((tmp_path / "elsewhere").iterdir()) == []

    (runtime / "py-code-mode").unlink()
    live.directory()
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with pytest.raises(PermissionError, match="XDG_RUNTIME_DIR"):
        live.sessions()


async def test_a_session_that_cannot_be_found_works_and_says_so(tmp_path, runtime, caplog):
    (runtime / "py-code-mode").write_text("")
    async with open_session(tmp_path) as session:
        assert (await session.run("6 * 7")).value == 42
        assert session.connection_file.is_file()
    assert "the session cannot be joined" in caplog.text


def test_files_that_are_no_sessions_are_left_alone(runtime):
    stranger = live.directory() / "kernel-1.json"
    stranger.write_text('{"shell_port": 1}')
    assert live.sessions() == []
    assert stranger.exists()


async def test_nobody_sees_a_part_of_a_file(tmp_path):
    async with open_session(tmp_path) as session:
        stop = threading.Event()
        seen: list[int] = []

        def look() -> None:
            while not stop.is_set():
                seen.append(len(live.sessions()))

        thread = threading.Thread(target=look)
        thread.start()
        for _ in range(3):
            await session.reset()
        stop.set()
        thread.join()
    assert set(seen) <= {0, 1}
    assert 1 in seen
