"""The README: its commands are where they are promised, and its examples run."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from py_code_mode import Session
from py_code_mode.cli import starter
from py_code_mode.cli.app import app
from py_code_mode.tools.loader import DirectoryToolProvider

from .redis_servers import shared_server
from .tool_runner import running

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of the README in ``language``."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def python_blocks(*, kind: str) -> list[str]:
    """The Python blocks: whole programs, code for a session, or code around one."""

    def kind_of(block: str) -> str:
        if block.startswith("# in the session\n"):
            return "session"
        return "program" if "asyncio.run(" in block else "host"

    return [block for block in blocks("python") if kind_of(block) == kind]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session on a workspace as `py-code-mode init` makes it."""
    base = tmp_path_factory.mktemp("readme")
    starter.create(base)
    opened = Session.from_base(base)
    asyncio.run(opened.start())
    yield opened
    asyncio.run(opened.close())


def test_the_first_two_commands_are_the_demo_and_the_tests_each_on_one_line():
    commands = [line for block in blocks("sh") for line in block.splitlines()]

    assert commands[:2] == [
        "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/py-code-mode demo",
        ".venv/bin/pip install '.[test]' && .venv/bin/python -m pytest",
    ]


def test_the_first_example_is_at_most_ten_lines_of_code_and_runs(tmp_path):
    (program,) = python_blocks(kind="program")
    assert program == blocks("python")[0]
    assert len([line for line in program.splitlines() if line]) <= 10

    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=50)

    assert (done.stdout, done.stderr) == ("2.8\n", "")


@pytest.mark.parametrize("code", python_blocks(kind="session"))
async def test_an_example_for_a_session_runs_in_one(session, code):
    result = await session.run(code)

    assert result.is_ok, result.traceback


async def test_the_examples_around_a_session_run_in_order_and_give_what_their_comments_say(
    session, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"session": session}

    for block in python_blocks(kind="host"):
        await _run_block(block, names)
        names["session"] = session  # an example that makes one does not open it

    assert names["twice"].value == 6
    assert names["result"].value == [1, 2, 3]
    assert names["failed"].error == "ZeroDivisionError: division by zero"
    assert (names["stuck"].timed_out, names["stuck"].kernel_restarted) == (True, False)
    assert "3" in names["died"].error
    assert names["after"].value == 2


async def test_the_tool_definition_is_one_that_is_accepted(tmp_path):
    (definition,) = blocks("yaml")
    (tmp_path / "curl.yaml").write_text(definition)

    async with running() as runner:
        provider = DirectoryToolProvider(tmp_path, runner)
        assert list(await provider.tools()) == ["curl"]
        assert provider.broken() == {}


def test_the_commands_of_the_store_do_what_their_comments_say(tmp_path, monkeypatch):
    starter.create(tmp_path)
    (tmp_path / "requirements.txt").write_text("rich\n")
    monkeypatch.chdir(tmp_path)
    url = f"{shared_server().url}?prefix=test-{uuid.uuid4().hex}"
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("py-code-mode store")]
    said = []
    for line in lines:
        words = [url if word == "$TEAM" else word for word in shlex.split(line, comments=True)[1:]]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, (line, done.output)
        said.append(done.stdout.splitlines()[-1])

    assert len(lines) == 6
    expected = ["3 to add. Nothing was changed (--dry-run).", "3 added", "2 the same", "3 added", "deps\trich\trich"]
    assert said == [*expected, "1 removed"]
    assert (tmp_path / "review/tools/wc.yaml").is_file()


async def _run_block(block: str, names: dict[str, Any]) -> None:
    code = compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    pending = eval(code, names)
    if inspect.isawaitable(pending):
        await pending
