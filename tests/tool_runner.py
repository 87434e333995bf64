"""What the tests of tools share: the process runner, and commands to run."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from py_code_mode.kernel.commands import run
from py_code_mode.kernel.processes import Processes
from py_code_mode.tools.cli import CliTool
from py_code_mode.tools.definition import read_definition
from py_code_mode.tools.yamlfile import Entry


@dataclass
class Runner:
    """The real runner, for one owner."""

    processes: Processes

    async def run(self, argv, **options):
        return await run(self.processes, argv, owner="tests", **options)


@contextlib.asynccontextmanager
async def running():
    """A Runner whose processes end with the block."""
    processes = await Processes.start()
    try:
        yield Runner(processes)
    finally:
        await processes.close()


def python(code: str) -> str:
    """The ``command`` of a definition that runs ``code``."""
    return json.dumps([sys.executable, "-I", "-S", "-X", "utf8", "-c", code])


PRINT_ARGV = python("import json, sys; print(json.dumps(sys.argv[1:]))")


def write(folder: Path, text: str, name: str = "tool.yaml") -> Path:
    """A definition file in ``folder``."""
    path = folder / name
    path.write_text(dedent(text), encoding="utf-8")
    return path


def cli_tool(folder: Path, text: str, runner: object = None, *, cwd: Path | None = None) -> CliTool:
    """The tool that the definition ``text`` makes."""
    path = write(folder, text)
    return CliTool(read_definition(Entry.parse(path, path.read_bytes())), runner, cwd=cwd)
