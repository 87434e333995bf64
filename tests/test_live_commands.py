"""``py-code-mode sessions`` and ``attach``: what a person sees of a live session, and how they join it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pexpect
import pytest
from click.testing import CliRunner, Result

from py_code_mode.cli.app import app
from py_code_mode.cli.live import pick, short_ids
from py_code_mode.live import LiveSession

from .live_agent import Agent, agent, waited

PROMPT = r"In \[\d+\]: "


@pytest.fixture(autouse=True, scope="module")
def runtime() -> Iterator[Path]:
    """The runtime directory of these tests: only their own sessions are found."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as directory:
        patch.setenv("XDG_RUNTIME_DIR", directory)
        yield Path(directory)


@pytest.fixture(scope="module")
def one(runtime, tmp_path_factory) -> Iterator[Agent]:
    """An agent whose session every test leaves as it found it: idle, with a variable."""
    with agent(tmp_path_factory.mktemp("workspace")) as other:
        other.run("secret = 41")
        yield other


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime directory without any session."""
    directory = tmp_path / "runtime"
    directory.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    return directory


def call(*args: str, status: int = 0, stdin: str = "") -> Result:
    """The command line in this process."""
    result = CliRunner().invoke(app, [*args], input=stdin)
    assert result.exit_code == status, result.output
    return result


@contextmanager
def terminal(*args: str, **env: str) -> Iterator[pexpect.spawn]:
    """A command on a terminal."""
    environment = {**os.environ, "TERM": "dumb", "NO_COLOR": "1", "JUPYTER_CONSOLE_TEST": "1", **env}
    command = ["-m", "py_code_mode", *args]
    shown = pexpect.spawn(sys.executable, command, env=environment, encoding="utf-8", timeout=30, dimensions=(40, 200))
    try:
        yield shown
    finally:
        shown.close(force=True)


def leaves(shown: pexpect.spawn) -> int | None:
    """The exit status of what ends by itself."""
    shown.expect(pexpect.EOF)
    shown.close()
    return shown.exitstatus


def made(*ids: str) -> list[LiveSession]:
    """Sessions with these ids."""
    since = datetime.now(UTC) - timedelta(hours=1)
    return [
        LiveSession(id=name, workspace="/w", pid=1, kernel_pid=2, since=since, connection_file=Path("f"))
        for name in ids
    ]


# -- sessions ---------------------------------------------------------------------------------------------


def test_the_list_names_each_session_its_processes_and_what_it_does(one):
    session = one.live()
    line = call("sessions").stdout.rstrip("\n").split("\t")
    assert line[:4] == [session.id[:6], "tests", str(session.pid), str(session.kernel_pid)]
    assert line[5] == "idle"
    (told,) = json.loads(call("sessions", "--json").stdout)
    assert (told["id"], told["connection_file"]) == (session.id, str(session.connection_file))
    assert (told["state"], told["by"], datetime.fromisoformat(told["since"])) == ("idle", None, session.since)

    one.begin("import time\ntime.sleep(2)  # busy")
    one.until("busy")
    assert call("sessions").stdout.rstrip("\n").split("\t")[5] in ("busy 0 s: import time …", "busy 1 s: import time …")
    (told,) = json.loads(call("sessions", "--json").stdout)
    assert (told["state"], told["by"], told["code"]) == ("busy", "session", "import time …")
    assert told["seconds"] < 2
    one.read()


def test_one_session_is_shown_with_its_variables_and_where_its_code_stands(one):
    one.begin("def work():\n    import time; time.sleep(2)\nwork()")
    waited(lambda: "sleep" in one.state().stack)
    shown = call("sessions", one.ids[0][:4]).stdout
    assert f" attach {one.ids[0]}\n" in shown
    assert f"file       {one.live().connection_file}\n" in shown
    assert "line 2, in work\n    import time; time.sleep(2)\n" in shown
    assert "secret\tint\t\t28 B\t41\n" in shown
    told = json.loads(call("sessions", one.ids[0], "--json").stdout)
    assert "line 2, in work" in told["stack"]
    assert {"name": "secret", "type": "int", "size": 28, "shape": None, "repr": "41"} in told["variables"]
    one.read()


def test_where_there_is_no_session_a_line_says_so(alone):
    result = call("sessions")
    assert (result.stdout, result.stderr) == ("", "no live sessions\n")
    assert json.loads(call("sessions", "--json").stdout) == []
    assert "no live sessions" in call("sessions", "abc", status=1).stderr
    assert "no live sessions to attach to" in call("attach", status=1).stderr


def test_an_id_is_as_long_as_it_has_to_be_and_one_that_fits_none_or_several_names_those_there_are(one):
    live = made("aaaaaaaa11", "aaaaaaaa22", "bbbbbbbb11")
    assert short_ids(live) == {name: name[:9] for name in ("aaaaaaaa11", "aaaaaaaa22", "bbbbbbbb11")}
    assert pick(live, "b").id == "bbbbbbbb11"
    with pytest.raises(click.ClickException) as ambiguous:
        pick(live, "aa")
    assert ambiguous.value.message == "'aa' could be\n  aaaaaaa1  /w\n  aaaaaaa2  /w".replace("aaaaaaa", "aaaaaaaa")
    refused = call("sessions", "no such", status=1).stderr
    assert refused == f"Error: no live session is 'no such'; there are\n  {one.ids[0][:6]}  tests\n"


def test_a_directory_of_somebody_else_is_refused_in_one_line(alone):
    (alone / "py-code-mode").symlink_to("/")
    result = call("sessions", status=3)
    assert result.stderr.count("\n") == 1
    assert "is not a directory of this user" in result.stderr


def test_watching_redraws_what_runs_and_where_until_ctrl_c(one):
    with terminal("sessions", "--watch", TERM="xterm") as shown:
        shown.expect("Memory.*idle")
        one.begin("import time\nprint(time.sleep(4))")
        shown.expect(r"MB +busy \d s: import time … +line 2: print\(time.sleep\(4\)\)")
        assert one.read() == "None"
        shown.expect("idle")
        shown.sendintr()
        assert leaves(shown) == 0


@pytest.mark.parametrize("args", [["--watch"], ["--watch", "--json"], ["--watch", "abc"]], ids=" ".join)
def test_watching_is_for_a_terminal_and_for_all_sessions(args):
    assert "--watch " in call("sessions", *args, status=2).stderr


# -- attach -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", ["exit", "quit()", "Ctrl-D"])
def test_a_person_who_attaches_sees_the_agents_variables_and_leaves_it_as_it_is(one, leave):
    pid = one.run("import os; os.getpid()")
    with terminal("attach") as console:
        console.expect(PROMPT)
        console.sendline("print(secret + 1, [t['name'] for t in tools.list()])")
        console.expect(r"42 \[\]")
        console.expect(PROMPT)
        console.sendline("person = 'was here'")
        console.expect(PROMPT)
        if leave == "Ctrl-D":
            console.sendeof()
            console.expect("really want to exit")
            console.sendline("y")
        else:
            console.sendline(leave)
        console.expect("keeping kernel alive")
        assert leaves(console) == 0
    assert one.run("(os.getpid(), secret, person)") == f"({pid}, 41, 'was here')"


def test_ctrl_c_interrupts_the_persons_own_code_and_never_the_agents(one):
    with terminal("attach", one.ids[0]) as console:
        console.expect(PROMPT)
        console.sendline("import time; time.sleep(50)")
        waited(lambda: "sleep" in one.state().stack)
        console.sendintr()
        console.expect("KeyboardInterrupt")
        console.expect(PROMPT)

        one.begin("import time; time.sleep(3); 'agent'")
        waited(lambda: one.state().by == "session")
        sent = False
        while not sent:
            console.sendline("print('mi' + 'ne')")
            console.expect("'ne'")
            console.sendintr()
            sent = console.expect(["It has not begun", "escaped"]) == 0  # the second before the line is taken
        console.sendintr()
        console.expect(PROMPT)
        assert one.state().by == "session"
        assert one.read() == "'agent'"
        console.sendline("print('ne' + 'xt')")
        assert console.expect(["next", "mine"]) == 0


def test_who_attaches_to_a_busy_session_is_told_and_can_leave_before_it_is_idle(one):
    one.begin("import time; time.sleep(3); 'agent'")
    one.until("busy")
    with terminal("attach") as console:
        console.expect(r"the session is busy \d s: import time; time.sleep\(3\); 'agent'\r\nThe prompt comes when")
        console.sendintr()
        assert leaves(console) == 130
    with terminal("attach") as console:
        console.expect(PROMPT)
    assert one.read() == "'agent'"


def test_of_several_sessions_attach_asks_for_one(one, tmp_path):
    with agent(tmp_path) as second:
        second.run("secret = 'second'")
        said = call("attach", status=2).stderr
        assert "give the ID of one" in said
        assert {one.ids[0][:6], second.ids[0][:6]} <= set(said.split())
        with terminal("attach") as console:
            console.expect("ID: ")
            assert one.ids[0][:6] in console.before
            console.sendline(second.ids[0][:5])
            console.expect(PROMPT)
            console.sendline("secret")
            console.expect("'second'")


def test_without_jupyter_console_attach_says_what_to_install(alone):
    code = "import sys; sys.modules['jupyter_console'] = None; from py_code_mode.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "attach"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 3
    assert done.stderr.startswith("py-code-mode: the console of Jupyter is not installed: run ")
    assert done.stderr.endswith(" -m pip install 'py-code-mode[console]'\n")
