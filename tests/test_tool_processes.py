"""What becomes of the command's process: its output, its failures, its environment, its end."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from py_code_mode.errors import ToolCommandError, ToolError, ToolOutputError, ToolTimeoutError
from tests.tool_runner import cli_tool, python, running


@pytest.fixture
async def tool(tmp_path):
    """Makes a tool that runs ``command``, defined in the folder ``tmp_path``."""
    async with running() as runner:

        def make(command, more="", *, folder=tmp_path, cwd=None):
            return cli_tool(folder, f"name: x\ncommand: {command}\n{more}", runner, cwd=cwd)

        yield make


async def run(tool, *args, **kwargs):
    return await tool.call(None, args, kwargs)


def is_running(pid):
    """False as well for a zombie, which has ended and only waits for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_the_result_is_what_the_command_wrote_to_its_output(tool):
    assert await run(tool("echo héllo 🙂")) == "héllo 🙂\n"
    broken = python("import sys; sys.stdout.buffer.write(b'a\\xffb'); print('noise', file=sys.stderr)")
    assert await run(tool(broken)) == "a\ufffdb"


async def test_a_command_has_an_empty_input(tool):
    assert await run(tool("cat")) == ""


async def test_a_failed_command_is_an_error_with_its_exit_code_and_output(tool):
    code = "import sys; print('partial'); print('no such host', file=sys.stderr); sys.exit(6)"
    with pytest.raises(ToolCommandError, match=r"^tools\.x: '.*' failed with exit code 6: no such host$") as failed:
        await run(tool(python(code)))
    error = failed.value
    assert (error.tool, error.exit_code, error.stdout, error.stderr) == (
        "x",
        6,
        "partial\n",
        "no such host\n",
    )


async def test_the_message_of_a_failed_command_has_the_end_of_a_long_complaint(tool):
    code = "import sys; sys.stderr.write('x' * 100_000 + 'the reason'); sys.exit(1)"
    with pytest.raises(ToolCommandError) as failed:
        await run(tool(python(code)))
    assert failed.value.message.endswith("xxx" + "the reason")
    assert len(failed.value.message) < 2500
    assert len(failed.value.stderr) == 100_010


async def test_a_command_that_complains_on_its_output_has_that_in_the_message(tool):
    with pytest.raises(ToolCommandError, match="failed with exit code 1: it is said here"):
        await run(tool(python("print('it is said here'); raise SystemExit(1)")))


async def test_a_command_that_was_killed_names_the_signal(tool):
    code = "import os; os.kill(os.getpid(), 9)"
    with pytest.raises(ToolCommandError, match="was ended by SIGKILL") as failed:
        await run(tool(python(code)))
    assert failed.value.exit_code == -signal.SIGKILL


async def test_a_missing_command_is_named_with_where_it_was_looked_for(tool, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/first:/second")
    with pytest.raises(ToolError, match="the command 'absent-here' is not found; looked in PATH: /first:/second"):
        await run(tool("absent-here"))
    with pytest.raises(ToolError, match=rf"'{tmp_path}/absent' is not found; there is no such file"):
        await run(tool("./absent"))


async def test_a_command_that_is_not_executable_says_so(tool, tmp_path):
    (tmp_path / "script").write_text("echo")
    with pytest.raises(ToolError, match=rf"'{tmp_path}/script' cannot be started: Permission denied"):
        await run(tool("./script"))


async def test_arguments_too_long_for_the_system_are_an_error_of_the_tool(tool):
    echo = tool("echo", "schema: {positional: [{name: text}]}")
    with pytest.raises(ToolError, match="Argument list too long"):
        await run(echo, "x" * 200_000)


async def test_a_command_runs_in_the_folder_of_its_session_and_is_found_beside_its_definition(tool, tmp_path):
    (tmp_path / "tools").mkdir()
    script = tmp_path / "tools" / "where"
    script.write_text("#!/bin/sh\npwd\n")
    script.chmod(0o755)
    assert await run(tool("./where", folder=tmp_path / "tools", cwd=tmp_path)) == f"{tmp_path}\n"
    assert await run(tool("./where", folder=tmp_path / "tools")) == f"{Path.cwd()}\n"


async def test_a_working_directory_that_is_gone_is_named(tool, tmp_path):
    with pytest.raises(ToolError, match=rf"the working directory .*{tmp_path}/gone"):
        await run(tool("echo", cwd=tmp_path / "gone"))


async def test_env_is_read_from_the_host_when_the_tool_is_called(tool, monkeypatch):
    show = tool("printenv TOKEN PLAIN KEPT", 'env: {TOKEN: "Bearer ${MY_TOKEN}, $PLAIN", PLAIN: 1}')
    monkeypatch.setenv("MY_TOKEN", "first")
    monkeypatch.setenv("KEPT", "of the host")
    assert await run(show) == "Bearer first, $PLAIN\n1\nof the host\n"
    monkeypatch.setenv("MY_TOKEN", r"second \1 ${KEPT}")
    assert await run(show) == "Bearer second \\1 ${KEPT}, $PLAIN\n1\nof the host\n"


async def test_a_variable_that_is_not_set_is_named(tool, monkeypatch):
    monkeypatch.delenv("MY_TOKEN", raising=False)
    with pytest.raises(
        ToolError, match=r"the environment variable MY_TOKEN is not set on the host; env\.TOKEN needs it"
    ):
        await run(tool("printenv", "env: {TOKEN: '${MY_TOKEN}'}"))


async def test_a_command_past_its_time_limit_is_ended_with_its_children(tool, tmp_path):
    slow = tool(f"[sh, -c, 'sleep 60 & echo $! > {tmp_path}/child; wait']", "timeout: 1")
    with pytest.raises(ToolTimeoutError, match=r"'sh' was ended at its time limit of 1 s$") as late:
        await run(slow)
    assert late.value.timeout == 1
    assert not is_running(int((tmp_path / "child").read_text()))


async def test_cancelling_a_call_ends_the_command_with_its_children(tool, tmp_path):
    fifo = tmp_path / "child"
    os.mkfifo(fifo)
    call = asyncio.create_task(run(tool(f"[sh, -c, 'sleep 60 & echo $! > {fifo}; wait']")))
    child = int(await asyncio.to_thread(fifo.read_text))
    await run(tool("true"))  # starts are answered in order: by now the host knows that the first has started
    assert is_running(child)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not is_running(child)


async def test_output_past_the_limit_is_an_error_and_ends_the_command(tool):
    flood = tool("yes", "max_output: 100000\ntimeout: 30")
    with pytest.raises(ToolOutputError, match="wrote more than max_output, 100000 bytes") as flooded:
        await run(flood)
    assert flooded.value.limit == 100_000


async def test_output_up_to_the_limit_comes_whole(tool):
    assert len(await run(tool("head -c 100000 /dev/zero", "max_output: 100000"))) == 100_000


async def test_calls_of_one_tool_run_side_by_side(tool, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read, write = tool(f"cat {fifo}"), tool(f"[sh, -c, 'echo met > {fifo}']")
    assert await asyncio.gather(run(read), run(write)) == ["met\n", ""]
