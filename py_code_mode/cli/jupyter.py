"""``py-code-mode jupyter``: the kernelspecs by which Jupyter's front ends find a workspace."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from py_code_mode.errors import CodeModeError

from .options import Base, base_option, json_option, tools_option
from .output import note, print_json, print_rows

if TYPE_CHECKING:
    from py_code_mode.jupyter.kernelspec import WorkspaceSpec


@click.group("jupyter")
def command() -> None:
    """Make a workspace a kernel of JupyterLab, Notebook, VS Code, jupyter console, nbclient, papermill.

    Its kernels have the workspace's tools, workflows, artifacts and packages.
    """


@command.command()
@base_option()
@tools_option
@click.option("--name", metavar="NAME", help="The kernelspec's name; by default made from the workspace's.")
@click.option("--display-name", metavar="TEXT", help="What people see; by default the workspace's name.")
@click.option("--user", is_flag=True, help="For this user; the default.")
@click.option("--sys-prefix", is_flag=True, help="For the Python environment that runs this command.")
@click.option("--prefix", metavar="P", help="Below P/share/jupyter.")
@click.option(
    "--other-env", is_flag=True, help="For a Jupyter in another Python environment: it starts the kernel by a command."
)
@json_option
def install(
    base: Base,
    tools: Path | None,
    name: str | None,
    display_name: str | None,
    user: bool,
    sys_prefix: bool,
    prefix: str | None,
    other_env: bool,
    as_json: bool,
) -> None:
    """Install a kernelspec for the workspace. One that is there for it already is replaced.

    \b
    The kernelspec has no password; it names an environment variable of the front end:
      py-code-mode jupyter install --base 'redis://:${REDIS_PASSWORD}@host?prefix=team'
    """
    from py_code_mode.jupyter import kernelspec

    if user + sys_prefix + (prefix is not None) > 1:
        raise click.UsageError("give one of --user, --sys-prefix and --prefix")
    with _refused():
        spec = kernelspec.install(
            base,
            name=name,
            display_name=display_name,
            prefix=sys.prefix if sys_prefix else prefix,
            provisioned=not other_env,
            tools=tools,
        )
    if as_json:
        print_json(_document(spec))
        return
    print(f"installed {spec.name}  ({spec.display_name})  {spec.path}")
    if spec.path not in [other.path for other in kernelspec.installed()]:
        note(f"Jupyter looks there only with JUPYTER_PATH={spec.path.parent.parent}")


@command.command("list")
@json_option
def list_specs(as_json: bool) -> None:
    """List the kernelspecs for workspaces."""
    from py_code_mode.jupyter import kernelspec

    specs = kernelspec.installed()
    if as_json:
        print_json([_document(spec) for spec in specs])
        return
    rows = [
        (
            spec.name,
            spec.display_name,
            spec.workspace,
            "workspace gone" if spec.workspace_gone else "ready",
            str(spec.path),
        )
        for spec in specs
    ]
    print_rows(("Name", "Shown as", "Workspace", "State", "Path"), rows)


@command.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@json_option
def remove(names: tuple[str, ...], as_json: bool) -> None:
    """Remove kernelspecs that were installed from here. Workspaces stay as they are."""
    from py_code_mode.jupyter import kernelspec

    with _refused():
        removed = kernelspec.remove(names)
    if as_json:
        print_json([_document(spec) for spec in removed])
        return
    for spec in removed:
        print(f"removed {spec.name}  ({spec.path})")


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except CodeModeError as error:  # nothing is wrong with this machine: another name will do
        raise click.ClickException(error.message) from None


def _document(spec: WorkspaceSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "display_name": spec.display_name,
        "workspace": spec.workspace,
        "workspace_gone": spec.workspace_gone,
        "path": str(spec.path),
    }
