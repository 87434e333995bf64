"""``py-code-mode deps``: the packages of a workspace. What installs needs its virtualenv, but no kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from .app import FAILED
from .options import Base, base_option, json_option
from .output import Progress, note, print_json

if TYPE_CHECKING:
    from py_code_mode.deps.manager import DependencyManager


@click.group("deps")
def command() -> None:
    """The packages of a workspace, configured in requirements.txt and installed in its own virtualenv."""


@command.command("list")
@base_option()
@json_option
def list_deps(base: Base, as_json: bool) -> None:
    """List the configured requirements."""
    from py_code_mode.storage.bases import storage_at

    store = storage_at(base).get_dependency_store()
    found = store.read()
    for problem in store.problems():
        note(f"warning: {problem.where}: {problem.text!r} is not installed from here: {problem.reason}")
    if as_json:
        print_json(found)
    else:
        for requirement in found:
            print(requirement)


@command.command()
@click.argument("package")
@base_option(new=True)
@json_option
def add(package: str, base: Base, as_json: bool) -> None:
    """Install PACKAGE, such as 'pandas>=2', and configure it."""
    from py_code_mode.deps.requirements import parse_runtime

    parse_runtime(package)  # refused before a virtualenv is made for it
    _change(base, as_json, f"Installing {package}...", lambda manager: manager.add(package))


@command.command("rm")
@click.argument("package")
@base_option()
@json_option
def remove(package: str, base: Base, as_json: bool) -> None:
    """Uninstall PACKAGE, and configure it no longer."""
    from py_code_mode.deps.requirements import parse_runtime

    parse_runtime(package)
    _change(base, as_json, f"Removing {package}...", lambda manager: manager.remove(package))


@command.command()
@base_option()
@json_option
def sync(base: Base, as_json: bool) -> None:
    """Install everything configured that is not there yet."""
    _change(base, as_json, "Installing what is configured...", lambda manager: manager.sync())


def _change(
    base: Base, as_json: bool, line: str, change: Callable[[DependencyManager], Awaitable[dict[str, Any]]]
) -> None:
    result = asyncio.run(_in_venv(base, line, change))
    if as_json:
        print_json(result)
    else:
        _print_result(result)
    if result["failed"] or result.get("not_found"):
        raise click.exceptions.Exit(FAILED)


async def _in_venv(
    base: Base, line: str, change: Callable[[DependencyManager], Awaitable[dict[str, Any]]]
) -> dict[str, Any]:
    from py_code_mode.deps.manager import DependencyManager
    from py_code_mode.deps.uv import UvInstaller
    from py_code_mode.kernel.venv import VenvSpec, ensure_venv, release_venv
    from py_code_mode.storage.bases import storage_at

    storage = storage_at(base)
    with Progress() as progress:
        venv = await ensure_venv(VenvSpec(identity=storage.identity), progress=progress)
        try:
            progress(line)
            installer = UvInstaller(venv.python, venv.site_packages(), venv.base)
            return await change(DependencyManager(storage.get_dependency_store(), installer))
        finally:
            await release_venv(venv)


def _print_result(result: dict[str, Any]) -> None:
    errors = result.get("errors", {})
    for key in ("installed", "already_present", "removed", "not_found"):
        for requirement in result.get(key, []):
            print(f"{key.replace('_', ' ')}: {requirement}")
    if result.get("removed_from_config"):
        print("no longer in requirements.txt")
    for requirement in result["failed"]:
        note(f"failed: {requirement}: {errors.get(requirement, 'no reason was given')}")
