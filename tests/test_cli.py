"""The command line, without a kernel; see test_cli_kernel for the rest."""

from __future__ import annotations

import base64
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from py_code_mode.cli import starter
from py_code_mode.cli.app import COMMANDS, app

WORKFLOW = '"""Say it twice."""\n\nasync def run(word: str, times: int = 2) -> str:\n    return word * times\n'


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new workspace, which is the current directory."""
    starter.create(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def unused_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of virtualenvs that is still empty."""
    directory = tmp_path_factory.mktemp("unused")
    monkeypatch.setenv("PY_CODE_MODE_CACHE", str(directory))
    return directory


def call(*args: str | Path, status: int = 0, stdin: str = "") -> Result:
    """The command line in this process."""
    result = CliRunner().invoke(app, [str(arg) for arg in args], input=stdin)
    assert result.exit_code == status, result.output
    return result


def test_python_m_py_code_mode_help_names_every_command():
    done = subprocess.run([sys.executable, "-m", "py_code_mode", "--help"], capture_output=True, text=True, timeout=30)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: py-code-mode")
    for name, line in COMMANDS.items():
        assert name in done.stdout
        assert line in " ".join(done.stdout.split())


def test_help_imports_no_part_of_the_machinery():
    code = """if True:
        import sys
        sys.argv = ["py-code-mode", "--help"]
        from py_code_mode.cli import main
        try:
            main()
        except SystemExit:
            print({"asyncio", "rich", "yaml", "zmq", "py_code_mode.session"} & set(sys.modules))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)

    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(name):
    assert f"Usage: app {name}" in call(name, "--help").stdout


def test_init_makes_a_workspace_and_says_what_comes_next(tmp_path):
    output = call("init", tmp_path / "new").stdout

    assert (tmp_path / "new/tools/wc.yaml").is_file()
    assert (tmp_path / "new/workflows/count.py").is_file()
    assert (tmp_path / "new/artifacts").is_dir()
    assert (tmp_path / "new/requirements.txt").read_text().startswith("# ")
    assert "made  tools/wc.yaml" in output
    assert f" tools list --base {tmp_path}/new\n" in output


def test_init_leaves_what_is_there_as_it_is(tmp_path):
    (tmp_path / "requirements.txt").write_text("mine\n")

    said = json.loads(call("init", tmp_path, "--json").stdout)

    assert said["kept"] == ["requirements.txt"]
    assert (tmp_path / "requirements.txt").read_text() == "mine\n"
    assert call("init", tmp_path).stdout.count("it was there already") == 4


def test_what_init_makes_is_valid(workspace):
    assert [tool["name"] for tool in json.loads(call("tools", "list", "--json").stdout)] == ["wc"]
    (workflow,) = json.loads(call("workflows", "list", "--json").stdout)
    assert (workflow["name"], "broken" in workflow) == ("count", False)
    assert call("deps", "list").output == ""


def test_tools_are_listed_searched_and_shown(workspace):
    assert call("tools", "list").stdout == f"wc\t{_description()}\ttext, files\n"
    assert json.loads(call("tools", "search", "count words", "--json").stdout)[0]["name"] == "wc"

    shown = call("tools", "show", "wc").stdout
    assert "tools.wc(file: str, *, lines: bool = False" in shown
    assert "tools.wc.lines(file: str)" in shown


def test_a_tool_is_called_and_its_arguments_get_their_types(workspace):
    (workspace / "text").write_text("one two\n")

    assert call("tools", "call", "wc.words", "file=text").stdout == "2 text\n"
    assert call("tools", "call", "wc", "file=text", "bytes=true", "--json").stdout == '"8 text\\n"\n'


def test_a_failing_tool_is_one_line_on_stderr_and_exit_status_1(workspace):
    result = call("tools", "call", "wc", "file=nothing", status=1)

    assert result.stdout == ""
    assert result.stderr.startswith("py-code-mode: tools.wc: 'wc' failed with exit code 1: ")
    assert result.stderr.count("\n") == 1


def test_a_broken_tool_file_is_a_warning_beside_the_tools_that_work(workspace):
    (workspace / "tools/bad.yaml").write_text("name: bad\n")

    result = call("tools", "list")

    assert result.stdout.startswith("wc\t")
    assert result.stderr.startswith(f"warning: {workspace}/tools/bad.yaml")


def test_workflows_are_added_listed_shown_searched_and_removed(workspace):
    (workspace / "source").write_text(WORKFLOW)

    added = call("workflows", "add", "again", "source").stdout
    assert added == "workflows.again(word: str, times: int = 2) -> str\n"
    assert [item["name"] for item in json.loads(call("workflows", "list", "--json").stdout)] == [
        "again",
        "count",
    ]
    assert call("workflows", "show", "again").stdout == WORKFLOW
    assert call("workflows", "search", "twice").stdout.startswith("again\tSay it twice.\t")
    assert call("workflows", "rm", "again").stdout == "removed again\n"
    assert "did you mean 'count'" in call("workflows", "rm", "cuont", status=1).stderr


def test_a_workflow_from_stdin_that_cannot_be_one_is_refused(workspace):
    result = call("workflows", "add", "bad", "-", status=1, stdin="x = 1\n")

    assert "async def run" in result.stderr
    assert not (workspace / "workflows/bad.py").exists()


def test_artifacts_are_added_listed_shown_got_and_removed(workspace):
    (workspace / "data.json").write_text('{"a": 1}')

    call("artifacts", "add", "reports/data.json", "data.json", "--description", "first")
    (item,) = json.loads(call("artifacts", "list", "--json").stdout)
    assert (item["name"], item["format"], item["description"]) == ("reports/data.json", "json", "first")
    assert "description: first" in call("artifacts", "show", "reports/data.json").stdout
    assert call("artifacts", "get", "reports/data.json").stdout == '{"a": 1}'
    call("artifacts", "get", "reports/data.json", "copy")
    assert (workspace / "copy").read_text() == '{"a": 1}'
    assert json.loads(call("artifacts", "rm", "reports/data.json", "--json").stdout)["removed"] is True
    assert "no artifact" in call("artifacts", "get", "reports/data.json", "other", status=1).stderr
    assert not (workspace / "other").exists()


@pytest.mark.parametrize(
    ("name", "content", "encoding", "data"),
    [
        ("numbers.json", b'{"a": [1, null]}', "json", {"a": [1, None]}),
        ("not-quite.json", b'{"a": NaN}', "text", '{"a": NaN}'),
        ("deep.json", b"[" * 5000 + b"]" * 5000, "text", "[" * 5000 + "]" * 5000),
        ("note.txt", "snow \u2603\n".encode(), "text", "snow \u2603\n"),
        ("late-latin.txt", b"a" * 100_000 + b"\xe9", "base64", base64.b64encode(b"a" * 100_000 + b"\xe9").decode()),
        ("picture", b"\x00\xff", "base64", "AP8="),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)
def test_the_content_of_an_artifact_is_in_the_json_in_the_form_that_json_has_for_it(
    workspace, name, content, encoding, data
):
    (workspace / "artifacts" / name).write_bytes(content)

    got = json.loads(call("artifacts", "get", name, "--json").stdout)

    assert (got["name"], got["size"], got["metadata"]) == (name, len(content), {})
    assert (got["encoding"], got["data"]) == (encoding, data)


def test_the_bytes_of_an_artifact_go_to_a_file_and_the_json_says_where(workspace):
    (workspace / "artifacts/picture").write_bytes(b"\x00\xff")

    got = json.loads(call("artifacts", "get", "picture", "copy", "--json").stdout)

    assert (got["format"], got["file"]) == ("bytes", str(workspace / "copy"))
    assert not got.keys() & {"encoding", "data"}
    assert (workspace / "copy").read_bytes() == b"\x00\xff"


def test_an_artifact_is_not_written_over_itself(workspace):
    call("artifacts", "add", "note", "-", stdin="text")

    assert "is the artifact itself" in call("artifacts", "get", "note", "artifacts/note", status=2).stderr
    assert (workspace / "artifacts/note").read_text() == "text"


def test_a_refused_artifact_name_is_one_line_and_exit_status_1(workspace):
    assert call("artifacts", "show", "../secret", status=1).stderr.count("\n") == 1


def test_deps_are_listed_and_what_cannot_be_installed_is_told(workspace):
    (workspace / "requirements.txt").write_text("pandas>=2  # tables\n-e ./here\n")

    result = call("deps", "list")

    assert result.stdout == "pandas>=2\n"
    assert result.stderr.startswith("warning: requirements.txt:2: '-e ./here' is not installed from here")


def test_commands_that_need_no_kernel_make_no_virtualenv(workspace, unused_cache):
    call("tools", "list")
    call("tools", "call", "wc", "file=requirements.txt")
    call("workflows", "list")
    call("artifacts", "add", "note", "-", stdin="text")
    call("artifacts", "list")
    call("deps", "list")
    assert "refused" in call("deps", "add", "./path", status=1).stderr

    assert list(unused_cache.iterdir()) == []


def test_cache_clean_removes_what_is_incomplete(unused_cache):
    broken = unused_cache / "venvs/0123456789ab/py3.11-0123456789abcdef"
    broken.mkdir(parents=True)

    assert "\tincomplete\t" in call("cache", "list").stdout
    assert json.loads(call("cache", "clean", "--json").stdout) == [str(broken)]
    assert call("cache", "list", "--json").stdout == "[]\n"


def test_cache_list_names_the_base_as_such(unused_cache):
    (unused_cache / "venvs/base/py3.11-0123456789abcdef").mkdir(parents=True)

    assert "(base of all)\t" in call("cache", "list").stdout
    (listed,) = json.loads(call("cache", "list", "--json").stdout)
    assert (listed["kind"], listed["identity"]) == ("base", None)


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["run"],
        ["run", "1", "-f", "file.py"],
        ["run", "-f", "missing.py"],
        ["run", "--timeout", "0", "1"],
        ["run", "--timeout", "inf", "1"],
        ["run", "--base", "/dev/null", "1"],
        ["tools", "list", "--base", "missing"],
        ["tools", "call", "wc", "file"],
        ["workflows", "run", "count", "artifact=a", "artifact=b"],
        ["artifacts", "add", "name", "missing"],
        ["demo", "."],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_said_without_a_traceback_and_exit_status_2(workspace, args):
    result = call(*args, status=2)

    assert result.stdout == ""
    assert "Error: " in result.stderr


def test_a_tool_table_on_a_terminal_has_headings_and_under_no_color_no_colours(workspace):
    shown = _on_terminal("tools", "list", env={"NO_COLOR": "1", "TERM": "xterm-256color"})

    assert "Tool" in shown.splitlines()[0]
    assert "Description" in shown.splitlines()[0]
    assert "wc" in shown
    assert "\x1b[3" not in shown  # the codes of colours


def test_progress_is_a_spinner_on_a_terminal_and_a_plain_line_when_the_output_has_begun():
    code = "from py_code_mode.cli.output import Progress\nwith Progress() as tell: tell('slow [1]')\ntell('late [2]')"
    shown = _terminal([sys.executable, "-c", code], env={"TERM": "xterm-256color"})

    assert "slow [1]" in shown
    assert shown.endswith("\x1b[2Klate [2]\r\n")  # in the place of the spinner, which is gone


def _description() -> str:
    return "Count the lines, words and bytes of a text file"


def _on_terminal(*args: str, env: dict[str, str]) -> str:
    """What one of our commands writes to a terminal."""
    return _terminal([sys.executable, "-m", "py_code_mode", *args], env=env)


def _terminal(command: list[str], env: dict[str, str]) -> str:
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env={**os.environ, **env}) as process:
        os.close(theirs)
        output = b""
        try:
            while chunk := os.read(ours, 65536):
                output += chunk
        except OSError:  # the other side is closed
            pass
        os.close(ours)
    assert process.returncode == 0
    return output.decode()
