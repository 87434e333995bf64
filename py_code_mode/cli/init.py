"""``py-code-mode init``: a new workspace."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from .options import json_option, new_workspace
from .output import print_json, program

EXAMPLES = (
    'print(tools.wc(file="requirements.txt"))',
    'artifacts.save("note", "a short text"); workflows.count(artifact="note")',
)


@click.command("init")
@click.argument("directory", callback=new_workspace, default=".", metavar="[DIR]")
@json_option
def command(directory: Path, as_json: bool) -> None:
    """Make a workspace in DIR, by default the current directory: a tool, a workflow, and places for
    artifacts and requirements. Files that are there already are left as they are.
    """
    from . import starter

    made, kept = starter.create(directory)
    if as_json:
        print_json({"base": str(directory), "created": made, "kept": kept})
        return
    print(f"Workspace: {directory}")
    for name in made:
        print(f"  made  {name}")
    for name in kept:
        print(f"  kept  {name}  (it was there already)")
    base = "" if directory == Path.cwd() else f" --base {shlex.quote(str(directory))}"
    print("\nNext:")
    print(f"  {program()} tools list{base}")
    for code in EXAMPLES:
        print(f"  {program()} run{base} '{code}'")
