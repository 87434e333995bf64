"""``py-code-mode workflows``: the workflows of a workspace. Only ``run`` starts a kernel."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from .author import author
from .options import Base, base_option, json_option, json_or_text, key_values, timeout_option, tools_option
from .output import print_json, print_rows
from .sessions import on_base, opened

if TYPE_CHECKING:
    from py_code_mode.workflows.library import WorkflowLibrary
    from py_code_mode.workflows.workflow import Workflow


@click.group("workflows")
def command() -> None:
    """The workflows of a workspace: what code calls as workflows.NAME(...). They lie in workflows/*.py."""


@command.command("list")
@base_option()
@json_option
def list_workflows(base: Base, as_json: bool) -> None:
    """List the workflows; broken ones with their reason."""
    _print_workflows(_library(base).list(), as_json)


@command.command()
@click.argument("query")
@click.option("--limit", type=click.IntRange(min=1), default=5, show_default=True, help="At most so many.")
@base_option()
@json_option
def search(query: str, limit: int, base: Base, as_json: bool) -> None:
    """Search the workflows by what they are for, best match first."""
    found = _library(base).find(query, limit)
    if as_json:
        print_json([workflow.summary() | match.to_dict() for workflow, match in found])
    else:
        _print_workflows([workflow for workflow, _ in found], as_json=False)


@command.command()
@click.argument("name")
@click.option("--version", type=int, metavar="N", help="An earlier version; `history` lists them.")
@base_option()
@json_option
def show(name: str, version: int | None, base: Base, as_json: bool) -> None:
    """Show the source of the workflow NAME."""
    library = _library(base)
    workflow = library.version(name, version)[0] if version is not None else library.get(name) or library.require(name)
    if as_json:
        print_json(library.describe(name, version))
        return
    if workflow.broken is not None:
        click.echo(f"warning: it is broken: {workflow.broken}", err=True)
    print(workflow.source, end="" if workflow.source.endswith("\n") else "\n")


def _source(file: BinaryIO) -> str:
    from py_code_mode.workflows.workflow import MAX_SOURCE_BYTES

    data = file.read(MAX_SOURCE_BYTES + 1)  # a device never ends
    if len(data) > MAX_SOURCE_BYTES:
        raise click.UsageError(f"the source has more than {MAX_SOURCE_BYTES:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"the source is not UTF-8: {error}") from None


@command.command()
@click.argument("name")
@click.argument("file", type=click.File("rb"))
@click.option("--description", default="", help="In place of the docstring that FILE begins with.")
@click.option(
    "--tag", "tags", multiple=True, metavar="TAG", help="In place of the tags that FILE has; can be repeated."
)
@click.option("--test", is_flag=True, help="Keep it only if its tests pass, on a fresh kernel.")
@base_option(new=True)
@tools_option
@timeout_option
@json_option
def add(
    name: str,
    file: BinaryIO,
    description: str,
    tags: tuple[str, ...],
    test: bool,
    base: Base,
    tools: Path | None,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Keep the source in FILE (- is the standard input) as the workflow NAME.

    One of that name is replaced, and stays in its history. With --test the exit status is 1 when its tests fail, and
    nothing is kept then.
    """
    source = _source(file)
    library = _library(base)
    library.check(name, source, description, tags or None)
    if test:
        from kernel_bootstrap.workflow_tests import failed

        (report,) = asyncio.run(_tested(base, tools, [(name, source)], timeout))
        if report["failed"] or not report["passed"]:
            raise failed(report)
    workflow = library.create(name, source, description, tags=tags or None, author=author())
    if as_json:
        print_json(workflow.summary())
    else:
        print(f"workflows.{workflow.signature()}")


@command.command()
@click.argument("name")
@base_option()
@json_option
def history(name: str, base: Base, as_json: bool) -> None:
    """List the versions of the workflow NAME, those from before it was removed too."""
    versions = [version.to_dict() for version in _library(base).history(name)]
    if as_json:
        print_json(versions)
        return
    rows = [(str(each["version"]), each["created"][:19], each["author"], each["change"]) for each in versions]
    print_rows(("Version", "Created (UTC)", "Author", "Change"), rows)


@command.command()
@click.argument("name")
@click.argument("old", type=int, required=False)
@click.argument("new", type=int, required=False)
@base_option()
@json_option
def diff(name: str, old: int | None, new: int | None, base: Base, as_json: bool) -> None:
    """Show what changed in the workflow NAME from version OLD to NEW.

    By default from the one before the newest to the newest.
    """
    text = _library(base).diff(name, old, new)
    print_json({"name": name, "diff": text}) if as_json else print(text, end="")


@command.command()
@click.argument("name")
@click.argument("version", type=int)
@base_option()
@json_option
def rollback(name: str, version: int, base: Base, as_json: bool) -> None:
    """Make VERSION of the workflow NAME the newest again, also of one that was removed."""
    workflow = _library(base).rollback(name, version, author=author())
    if as_json:
        print_json(workflow.summary())
    else:
        print(f"workflows.{workflow.signature()} is that of version {version} again")


@command.command()
@click.argument("name", required=False)
@base_option()
@json_option
def stats(name: str | None, base: Base, as_json: bool) -> None:
    """Show how often workflows were called and failed, often called ones first: all, or NAME."""
    found = _library(base).stats(name)
    if as_json:
        print_json(found)
        return
    rows = [
        (each["name"], str(each["calls"]), str(each["failures"]), (each["last_used"] or "never")[:19]) for each in found
    ]
    print_rows(("Workflow", "Calls", "Failures", "Last used (UTC)"), rows)


@command.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@base_option()
@tools_option
@timeout_option
@json_option
def test(names: tuple[str, ...], base: Base, tools: Path | None, timeout: float | None, as_json: bool) -> None:
    """Run the tests of the workflows NAME, or of all that have some, on a fresh kernel.

    Tests are the examples (>>>) in docstrings, and functions test_... in the same file. Exit status 1 when one fails.
    """
    from kernel_bootstrap.workflow_tests import failed, find

    library = _library(base)
    chosen = [library.require(name) for name in names] or [
        each for each in library.list() if each.broken is None and find(ast.parse(each.source))
    ]
    reports = (
        asyncio.run(_tested(base, tools, [(workflow.name, None) for workflow in chosen], timeout)) if chosen else []
    )
    if as_json:
        print_json(reports)
    else:
        for report in reports:
            print(f"{report['name']}: {report['passed']} passed, {report['failed']} failed")
            if report["failed"]:
                print(failed(report))
        if not reports:
            print("no workflow has tests")
    broken = [] if names else [workflow for workflow in library.list() if workflow.broken is not None]
    for workflow in broken:
        click.echo(f"broken: {workflow.broken}", err=True)
    if broken or any(report["failed"] for report in reports):
        raise click.exceptions.Exit(1)


@command.command("stubs")
@click.option("-o", "--output", type=click.Path(dir_okay=False), metavar="FILE", help="Write them to FILE.")
@base_option()
@json_option
def show_stubs(output: str | None, base: Base, as_json: bool) -> None:
    """Show the types of all workflows, as a .pyi file for editors and mypy."""
    text = _library(base).stubs()
    if output is not None:
        try:
            Path(output).write_text(text, encoding="utf-8")
        except OSError as error:
            raise click.UsageError(f"{output!r} cannot be written: {error.strerror or error}") from None
    if as_json:
        print_json({"stubs": text, "file": output})
    elif output is None:
        print(text, end="")


@command.command("rm")
@click.argument("name")
@base_option()
@json_option
def remove(name: str, base: Base, as_json: bool) -> None:
    """Remove the workflow NAME. `rollback` brings it back."""
    library = _library(base)
    if not library.delete(name, author=author()):
        library.require(name)  # raises, with the nearest names
    if as_json:
        print_json({"name": name, "removed": True})
    else:
        print(f"removed {name}")


@command.command()
@click.argument("name")
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE]...")
@base_option()
@tools_option
@timeout_option
@json_option
def run(
    name: str, arguments: tuple[str, ...], base: Base, tools: Path | None, timeout: float | None, as_json: bool
) -> None:
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

    given = key_values(arguments, convert)
    code = f"workflows.invoke({name!r}, **{given!r})"  # JSON values are literals of Python
    raise click.exceptions.Exit(asyncio.run(run_code(code, base, timeout, as_json, tools)))


async def _tested(
    base: Base, tools: Path | None, sources: Iterable[tuple[str, str | None]], timeout: float | None
) -> list[dict[str, Any]]:
    """The reports on these workflows, each with its name and a source to test in place of what is kept."""
    async with opened(on_base(base, tools=tools, max_output_bytes=None)) as session:
        return [await session.test_workflow(name, source, timeout=timeout) for name, source in sources]


def _takes_text(annotation: str | None) -> bool:
    return annotation is not None and "str" in [part.strip() for part in annotation.split("|")]


def _library(base: Base) -> WorkflowLibrary:
    from py_code_mode.storage.bases import storage_at

    return storage_at(base).get_workflow_library()


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
