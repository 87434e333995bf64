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
from .options import new_workspace
from .output import program
from .sessions import opened

if TYPE_CHECKING:
    from py_code_mode.results import ExecutionResult
    from py_code_mode.session import Session

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
def command(directory: Path | None) -> None:
    """Make a workspace and use it: a command-line tool, a workflow, a package, and artifacts.

    The workspace is DIR, which must be new or empty; by default a temporary folder, whose virtualenv is
    removed again at the end. The exit status is 0 if every step gave what was expected.
    """
    if directory is not None and directory.exists() and any(directory.iterdir()):
        raise click.UsageError(f"{str(directory)!r} is not empty; the demo wants a fresh folder")
    base = directory or Path(tempfile.mkdtemp(prefix="py-code-mode-demo-"))
    raise click.exceptions.Exit(asyncio.run(_demo(base, keep_venv=directory is not None)))


async def _demo(base: Path, *, keep_venv: bool) -> int:
    from py_code_mode.session import Session

    made, _ = starter.create(base, {**starter.FILES, "requirements.txt": REQUIREMENTS})
    print(f"A new workspace: {base}")
    for name in made:
        print(f"  {name}")
    began = time.monotonic()
    print("\nStarting a kernel in a virtualenv of its own...", flush=True)
    async with opened(Session.subprocess(base, timeout=TIMEOUT, cache_venv=keep_venv)) as session:
        print(f"It runs, after {time.monotonic() - began:.1f} s.", flush=True)
        failed = [step for number, step in enumerate(STEPS, 1) if not await _take(session, number, step)]
    if failed:
        print(f"\n{len(failed)} of {len(STEPS)} steps did not give what was expected.")
        return FAILED
    where, ours = shlex.quote(str(base)), program()
    print(f"\nAll {len(STEPS)} steps gave what was expected, in {time.monotonic() - began:.1f} s.")
    print(f"Look around:    ls -R {where}")
    print(f"Go on with it:  {ours} run --base {where} 'artifacts.load(\"report\")'")
    print(f"Make your own:  {ours} init my-workspace")
    return 0


async def _take(session: Session, number: int, step: Step) -> bool:
    result = await session.run(step.code)
    print(f"\n{number}. {step.title}")
    print(textwrap.indent(step.code, "   >>> "))
    print(textwrap.indent(_shown(result), "   "))
    try:
        good = result.is_ok and step.expected(result.value, result.stdout)
    except (TypeError, LookupError, AttributeError, OSError):
        good = False
    if not good:
        print("   This is not what was expected.")
    return good


def _shown(result: ExecutionResult) -> str:
    if result.error is not None:
        return result.stdout + (result.traceback or result.error)
    value = "" if result.value is None else repr(result.value)
    return (result.stdout + value).rstrip("\n")
