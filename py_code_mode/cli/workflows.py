"""``py-code-mode workflows``: the workflows of a workspace. Only ``run`` starts a kernel."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from .options import base_option, json_option, json_or_text, key_values, timeout_option
from .output import print_json, print_rows

if TYPE_CHECKING:
    from py_code_mode.workflows.library import WorkflowLibrary
    from py_code_mode.workflows.workflow import Workflow


@click.group("workflows")
def command() -> None:
    """The workflows of a workspace: what code calls as workflows.NAME(...). They lie in workflows/*.py."""


@command.command("list")
@base_option()
@json_option
def list_workflows(base: Path, as_json: bool) -> None:
    """List the workflows; broken ones with their reason."""
    _print_workflows(_library(base).list(), as_json)


@command.command()
@click.argument("query")
@click.option("--limit", type=click.IntRange(min=1), default=5, show_default=True, help="At most so many.")
@base_option()
@json_option
def search(query: str, limit: int, base: Path, as_json: bool) -> None:
    """Search the workflows by what they are for, best match first."""
    found = _library(base).find(query, limit)
    if as_json:
        print_json([workflow.summary() | match.to_dict() for workflow, match in found])
    else:
        _print_workflows([workflow for workflow, _ in found], as_json=False)


@command.command()
@click.argument("name")
@base_option()
@json_option
def show(name: str, base: Path, as_json: bool) -> None:
    """Show the source of the workflow NAME."""
    library = _library(base)
    workflow = library.get(name) or library.require(name)
    if as_json:
        print_json(workflow.to_dict())
        return
    if workflow.broken is not None:
        click.echo(f"warning: it is broken: {workflow.broken}", err=True)
    print(workflow.source, end="" if workflow.source.endswith("\n") else "\n")


@command.command()
@click.argument("name")
@click.argument("file", type=click.File("rb"))
@click.option("--description", default="", help="In place of the docstring that FILE begins with.")
@base_option(new=True)
@json_option
def add(name: str, file: BinaryIO, description: str, base: Path, as_json: bool) -> None:
    """Keep the source in FILE (- is the standard input) as the workflow NAME, in place of an older one."""
    try:
        source = file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"the source is not UTF-8: {error}") from None
    workflow = _library(base).create(name, source, description)
    if as_json:
        print_json(workflow.summary())
    else:
        print(f"workflows.{workflow.signature()}")


@command.command("rm")
@click.argument("name")
@base_option()
@json_option
def remove(name: str, base: Path, as_json: bool) -> None:
    """Remove the workflow NAME."""
    library = _library(base)
    if not library.delete(name):
        library.require(name)  # raises, with the nearest names
    if as_json:
        print_json({"name": name, "removed": True})
    else:
        print(f"removed {name}")


@command.command()
@click.argument("name")
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE]...")
@base_option()
@timeout_option
@json_option
def run(name: str, arguments: tuple[str, ...], base: Path, timeout: float | None, as_json: bool) -> None:
    """Run the workflow NAME on a fresh kernel, as `py-code-mode run` runs code.

    A VALUE is text where the parameter is a str, else JSON where it is that.

    \b
    Example:
      py-code-mode workflows run count artifact=note
    """
    from .run import run_code

    workflow = _library(base).require(name)
    texts = {parameter.name for parameter in workflow.parameters if _takes_text(parameter.annotation)}

    def convert(key: str, values: list[str]) -> Any:
        if len(values) > 1:
            raise click.UsageError(f"{key} is given more than once")
        return values[0] if key in texts else json_or_text(values[0])

    given = json.dumps(key_values(arguments, convert))
    code = f"workflows.invoke({name!r}, **__import__('json').loads({given!r}))"
    raise click.exceptions.Exit(asyncio.run(run_code(code, base, timeout, as_json)))


def _takes_text(annotation: str | None) -> bool:
    return annotation is not None and "str" in [part.strip() for part in annotation.split("|")]


def _library(base: Path) -> WorkflowLibrary:
    from py_code_mode.storage.file import FileStorage

    return FileStorage(base).get_workflow_library()


def _print_workflows(workflows: list[Workflow], as_json: bool) -> None:
    if as_json:
        print_json([workflow.summary() for workflow in workflows])
        return
    rows = [
        (workflow.name, f"broken: {workflow.broken}", "")
        if workflow.broken is not None
        else (workflow.name, workflow.description, workflow.signature())
        for workflow in workflows
    ]
    print_rows(("Workflow", "Description", "Call"), rows)
