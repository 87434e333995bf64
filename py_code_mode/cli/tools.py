"""``py-code-mode tools``: the tools of a workspace, without a kernel."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import Base, base_option, json_option, json_or_text, key_values, tools_option
from .output import note, print_json, print_rows

if TYPE_CHECKING:
    from py_code_mode.kernel.commands import Completed
    from py_code_mode.kernel.processes import Processes
    from py_code_mode.ranking import Match
    from py_code_mode.tools.base import CallableInfo, Parameter, ToolInfo
    from py_code_mode.tools.registry import ToolRegistry


@click.group("tools")
def command() -> None:
    """The tools of a workspace: what code calls as tools.NAME(...). They are defined in tools/*.yaml, or in Redis."""


@command.command("list")
@base_option()
@tools_option
@json_option
def list_tools(base: Base, tools: Path | None, as_json: bool) -> None:
    """List the tools."""

    async def ask(registry: ToolRegistry) -> list[ToolInfo]:
        return await registry.list()

    _print_tools(_with_registry(base, tools, ask), as_json)


@command.command()
@click.argument("query")
@click.option("--limit", type=click.IntRange(min=1), default=10, show_default=True, help="At most so many.")
@base_option()
@tools_option
@json_option
def search(query: str, limit: int, base: Base, tools: Path | None, as_json: bool) -> None:
    """Search the tools by what they are for, best match first."""

    async def ask(registry: ToolRegistry) -> list[tuple[ToolInfo, Match]]:
        return await registry.find(query, limit)

    found = _with_registry(base, tools, ask)
    if as_json:
        print_json([info.summary() | match.to_dict() for info, match in found])
    else:
        _print_tools([info for info, _ in found], as_json=False)


@command.command()
@click.argument("name")
@base_option()
@tools_option
@json_option
def show(name: str, base: Base, tools: Path | None, as_json: bool) -> None:
    """Show how the tool NAME is called."""

    async def ask(registry: ToolRegistry) -> ToolInfo:
        return await registry.describe(name)

    info = _with_registry(base, tools, ask)
    if as_json:
        print_json(info.to_dict())
        return
    print(info.description)
    for found in info.callables:
        print(f"\n{_call_text(info, found)}")
        if found.name and found.description:
            print(f"    {found.description}")
        for parameter in found.parameters:
            print(f"    {_parameter_text(parameter)}")


@command.command()
@click.argument("name", metavar="NAME[.RECIPE]")
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE]...")
@base_option()
@tools_option
@json_option
def call(name: str, arguments: tuple[str, ...], base: Base, tools: Path | None, as_json: bool) -> None:
    """Call a tool, or a recipe of it, and print what it gives. An array is given as several KEY=VALUE.

    \b
    Example:
      py-code-mode tools call wc.lines file=requirements.txt
    """
    tool, _, recipe = name.partition(".")

    async def ask(registry: ToolRegistry) -> Any:
        found = (await registry.describe(tool)).callable(recipe or None)
        types = {parameter.name: parameter.type for parameter in found.parameters}
        given = key_values(arguments, lambda key, values: _value(types.get(key, "string"), values))
        return await registry.call(tool, recipe or None, (), given)

    result = _with_registry(base, tools, ask)
    if as_json:
        print_json(result)
    elif isinstance(result, str):
        sys.stdout.write(result)
    else:
        print(result)


def _value(kind: str, values: list[str]) -> Any:
    if kind == "array":
        return values
    return values[-1] if kind == "string" else json_or_text(values[-1])


def _with_registry(base: Base, tools: Path | None, ask: Callable[[ToolRegistry], Any]) -> Any:
    """The answer of ``ask``; definitions that are broken are told on stderr."""

    async def main() -> Any:
        from py_code_mode.host.table import providers
        from py_code_mode.storage.bases import storage_at
        from py_code_mode.tools.registry import ToolRegistry

        runner = _Runner()
        cwd = base if isinstance(base, Path) else Path.cwd()
        registry = ToolRegistry(providers(storage_at(base), tools, runner, cwd))
        try:
            answer = await ask(registry)
            for error in registry.broken().values():
                note(f"warning: {error.message}")
            return answer
        finally:
            await registry.close()
            await runner.close()

    return asyncio.run(main())


class _Runner:
    """Runs the commands of tools below a supervisor of this process's own, started by the first."""

    def __init__(self) -> None:
        self._processes: Processes | None = None

    async def run(self, argv: Sequence[str], **options: Any) -> Completed:
        """See ``tools.base.ProcessRunner``."""
        from py_code_mode.kernel.commands import run
        from py_code_mode.kernel.processes import Processes

        if self._processes is None:
            self._processes = await Processes.start()
        return await run(self._processes, argv, owner="command line", **options)

    async def close(self) -> None:
        if self._processes is not None:
            await self._processes.close()


def _print_tools(tools: list[ToolInfo], as_json: bool) -> None:
    if as_json:
        print_json([info.summary() for info in tools])
    else:
        rows = [(info.name, info.description, ", ".join(info.tags)) for info in tools]
        print_rows(("Tool", "Description", "Tags"), rows)


def _call_text(info: ToolInfo, found: CallableInfo) -> str:
    signature = found.signature()
    return f"tools.{info.name}.{signature}" if found.name else f"tools.{info.name}{signature}"


def _parameter_text(parameter: Parameter) -> str:
    text = f"{parameter}  {parameter.description}".rstrip()
    if parameter.enum is not None:
        text += f"  one of {', '.join(json.dumps(value) for value in parameter.enum)}"
    return text
