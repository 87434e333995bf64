"""``py-code-mode demo``: the whole of it in one minute, step by step."""

from __future__ import annotations

import asyncio
import shlex
import tempfile
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import starter
from .app import FAILED
from .options import json_option, new_workspace
from .output import print_json, program
from .run import as_document
from .sessions import opened

if TYPE_CHECKING:
    from py_code_mode.results import ExecutionResult

REQUIREMENTS = "# What code in this workspace can import; `deps.sync()` installs it.\ntabulate>=0.9\n"
TIMEOUT = 120.0
"""Seconds for a step; the one that installs a package may have a slow network."""

POEM = "tools are functions\nworkflows are kept\nartifacts stay\n"
COUNTS = {"lines": 3, "words": 8}
TABLE = """\
what      count
------  -------
lines         3
words         8
"""


@dataclass(frozen=True, slots=True)
class Step:
    """What is shown, the code that runs, and whether its value and output are what is expected."""

    title: str
    code: str
    expected: Callable[[Any, str], bool]


STEPS = (
    Step(
        "The kernel sees the tools of the workspace",
        "tools.list()",
        lambda value, _: [tool["name"] for tool in value] == ["wc"],
    ),
    Step(
        "Save an artifact; it is a file in artifacts/",
        f'saved = artifacts.save("poem", {POEM!r}, description="three lines")\nsaved["path"]',
        lambda value, _: Path(value).read_text() == POEM,
    ),
    Step(
        "Call a command-line tool; variables live on from step to step",
        'tools.wc.lines(file=saved["path"])',
        lambda value, _: value.split()[0] == "3",
    ),
    Step(
        "Invoke a workflow, which calls the tool twice",
        'counts = workflows.count(artifact="poem")\ncounts',
        lambda value, _: value == COUNTS,
    ),
    Step(
        "Install what requirements.txt asks for",
        "deps.sync()",
        lambda value, _: not value["failed"] and value["installed"] + value["already_present"] == ["tabulate>=0.9"],
    ),
    Step(
        "The package imports in the running kernel",
        'from tabulate import tabulate\nprint(tabulate(counts.items(), headers=("what", "count")))',
        lambda _, stdout: stdout == TABLE,
    ),
    Step(
        "Save the result, and load it again",
        'artifacts.save("report", counts, description="what the workflow counted")\nartifacts.load("report")',
        lambda value, _: value == COUNTS,
    ),
)


@click.command("demo")
@click.argument("directory", callback=new_workspace, required=False, metavar="[DIR]")
@json_option
def command(directory: Path | None, as_json: bool) -> None:
    """Make a workspace and use it: a command-line tool, a workflow, a package, and artifacts.

    The workspace is DIR, which must be new or empty; by default a temporary folder, whose virtualenv is
    removed again at the end. The exit status is 0 if every step gave what was expected.

    With --json one object comes at the end: the `workspace`, and of each of the `steps` its `title`, its `code`,
    what `run --json` tells of it, and as `ok` whether that was expected.
    """
    if directory is not None and directory.exists() and any(directory.iterdir()):
        raise click.UsageError(f"{str(directory)!r} is not empty; the demo wants a fresh folder")
    base = directory or Path(tempfile.mkdtemp(prefix="py-code-mode-demo-"))
    shown = _Shown(base, quiet=as_json)
    asyncio.run(_demo(shown, keep_venv=directory is not None))
    if as_json:
        print_json(shown.document())
    raise click.exceptions.Exit(0 if shown.all_good else FAILED)


async def _demo(shown: _Shown, *, keep_venv: bool) -> None:
    from py_code_mode.session import Session

    made, _ = starter.create(shown.base, {**starter.FILES, "requirements.txt": REQUIREMENTS})
    shown.workspace(made)
    async with opened(Session.subprocess(shown.base, timeout=TIMEOUT, cache_venv=keep_venv)) as session:
        shown.started()
        for step in STEPS:
            shown.take(step, await session.run(step.code))
    shown.end()


class _Shown:
    """What has happened so far: printed step by step, unless ``quiet``, and kept for the JSON object."""

    def __init__(self, base: Path, *, quiet: bool) -> None:
        self.base = base
        self._quiet = quiet
        self._began = time.monotonic()
        self._files: list[str] = []
        self._steps: list[tuple[Step, bool, ExecutionResult]] = []

    @property
    def all_good(self) -> bool:
        """Whether every step gave what was expected."""
        return all(good for _, good, _ in self._steps)

    def workspace(self, made: list[str]) -> None:
        self._files = made
        self._say(f"A new workspace: {self.base}", *(f"  {name}" for name in made))
        self._say("\nStarting a kernel in a virtualenv of its own...")

    def started(self) -> None:
        self._say(f"It runs, after {self._seconds():.1f} s.")

    def take(self, step: Step, result: ExecutionResult) -> None:
        try:
            good = result.is_ok and step.expected(result.value, result.stdout)
        except (TypeError, LookupError, AttributeError, OSError):
            good = False
        self._steps.append((step, good, result))
        self._say(f"\n{len(self._steps)}. {step.title}", textwrap.indent(step.code, "   >>> "))
        self._say(textwrap.indent(_readable(result), "   "))
        if not good:
            self._say("   This is not what was expected.")

    def end(self) -> None:
        failed = [step for step, good, _ in self._steps if not good]
        if failed:
            self._say(f"\n{len(failed)} of {len(STEPS)} steps did not give what was expected.")
            return
        where, ours = shlex.quote(str(self.base)), program()
        self._say(f"\nAll {len(STEPS)} steps gave what was expected, in {self._seconds():.1f} s.")
        self._say(f"Look around:    ls -R {where}")
        self._say(f"Go on with it:  {ours} run --base {where} 'artifacts.load(\"report\")'")
        self._say(f"Make your own:  {ours} init my-workspace")

    def document(self) -> dict[str, Any]:
        """All of it as one JSON object; of a step what ``run --json`` tells, and whether that was expected."""
        steps = [
            {"title": step.title, "code": step.code, "ok": good, **as_document(result)}
            for step, good, result in self._steps
        ]
        return {
            "ok": self.all_good,
            "workspace": str(self.base),
            "files": self._files,
            "seconds": self._seconds(),
            "steps": steps,
        }

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _say(self, *lines: str) -> None:
        if not self._quiet:
            print(*lines, sep="\n", flush=True)


def _readable(result: ExecutionResult) -> str:
    if result.error is not None:
        return result.stdout + (result.traceback or result.error)
    value = "" if result.value is None else repr(result.value)
    return (result.stdout + value).rstrip("\n")
