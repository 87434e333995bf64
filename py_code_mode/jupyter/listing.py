"""The magics that show and change what a workspace has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments

from kernel_bootstrap.views import summary_call
from py_code_mode.errors import InstallError

from . import tables
from .arguments import parse, unquoted
from .cellsource import workflow_source
from .magics import readable
from .notebook import Notebook


@magics_class
class WorkspaceMagics(Magics):
    """``%tools``, ``%workflows``, ``%artifacts``, ``%deps`` and ``%%workflow``."""

    def __init__(self, shell: Any, notebook: Notebook) -> None:
        super().__init__(shell)
        self._notebook = notebook

    @line_magic("tools")
    @readable
    def tools(self, line: str) -> tables.Table:
        """The tools of the workspace: all, or those that fit a query, best first.

        ::

          %tools [QUERY]

        Examples::

            %tools
            %tools http request
        """
        opened, query = self._notebook.workspace(), unquoted(line)
        if query:
            return tables.tools(opened.do(lambda session: session.search_tools(query)), _none_for(query))
        return tables.tools(opened.do(lambda session: session.list_tools()), "none; a tool is a file in tools/*.yaml")

    @line_magic("workflows")
    @readable
    def workflows(self, line: str) -> tables.Table:
        """The workflows of the workspace: all, or those that fit a query, best first.

        ::

          %workflows [QUERY]

        Examples::

            %workflows
            %workflows fetch json
        """
        opened, query = self._notebook.workspace(), unquoted(line)
        if query:
            return tables.workflows(opened.do(lambda session: session.search_workflows(query)), _none_for(query))
        found = opened.do(lambda session: session.list_workflows())
        return tables.workflows(found, "none; %%workflow NAME DESCRIPTION saves a cell as one")

    @line_magic("artifacts")
    @readable
    def artifacts(self, line: str) -> tables.Table:
        """The artifacts of the workspace.

        ::

          %artifacts
        """
        opened = self._notebook.workspace()
        if line.strip():
            raise UsageError("%artifacts takes no arguments; artifacts.load(name) in a cell of the session gives one")
        found = opened.do(lambda session: session.list_artifacts())
        return tables.artifacts(found, "none; artifacts.save(name, data) keeps one")

    @line_magic("deps")
    @readable
    @magic_arguments("deps")
    @argument("what", nargs="?", choices=("add", "remove", "sync"), metavar="add|remove|sync", help="what to do")
    @argument("packages", nargs="*", metavar="PACKAGE", help='requirements to add or remove, such as "pandas>=2"')
    def deps(self, line: str) -> tables.Table | None:
        """The packages of the workspace: listed, added, removed; or what is configured and missing, installed (sync).

        Examples::

            %deps
            %deps add pandas "numpy>=2"
            %deps remove pandas
            %deps sync
        """
        asked = parse(self.deps, line, "%deps")
        opened = self._notebook.workspace()
        if bool(asked.packages) != (asked.what in ("add", "remove")):
            raise UsageError(f"%deps {asked.what} takes {'no packages' if asked.packages else 'a package, or several'}")
        if asked.what is None:
            return tables.deps(opened.do(lambda session: session.list_deps()), "none; %deps add PACKAGE installs one")
        if asked.what == "sync":
            _report([opened.do(lambda session: session.sync_deps())])
        elif asked.what == "add":
            _report(_each(asked.packages, lambda package: opened.do(lambda session: session.add_dep(package))))
        else:
            _report(_each(asked.packages, lambda package: opened.do(lambda session: session.remove_dep(package))))
        return None

    @cell_magic("workflow")
    @no_var_expand
    @readable
    def save_workflow(self, line: str, cell: str) -> None:
        '''Save the cell as a workflow of the workspace, in place of an older one of that name. It is not run.

        ::

          %%workflow NAME [DESCRIPTION]

        A cell that defines ``async def run`` is saved as it is; its parameters are those of the workflow. Any other
        cell becomes a workflow without parameters, which returns the value of the last expression; it has to define
        all names that it uses. Without DESCRIPTION, the docstring is the description.

        Examples::

            %%workflow fetch_json Fetch JSON from a URL
            import json
            async def run(url: str) -> dict:
                return json.loads(tools.curl.get(url=url))

            %%workflow total
            """The sum of the numbers that were kept."""
            sum(artifacts.load("numbers"))
        '''
        name, _, description = line.strip().partition(" ")
        opened = self._notebook.workspace()
        if not name:
            raise UsageError("the workflow needs a name: %%workflow NAME DESCRIPTION")
        if not cell.strip():
            raise UsageError("the cell is empty: write the workflow below %%workflow NAME DESCRIPTION")
        source = workflow_source(name, cell)
        saved = opened.do(lambda session: session.add_workflow(name, source, unquoted(description)))
        print(f"Saved: workflows.{summary_call(saved)}")


def _none_for(query: str) -> str:
    return f"none for {query!r}"


def _each(packages: Sequence[str], change: Callable[[str], dict[str, Any]]) -> Iterable[dict[str, Any]]:
    return (change(package) for package in packages)


_OUTCOMES = {
    "installed": "Installed",
    "already_present": "Already there",
    "removed": "Removed",
    "not_found": "Not installed",
}


def _report(outcomes: Iterable[dict[str, Any]]) -> None:
    """Print what was done, as it comes. Raises InstallError, with the reasons, when something failed."""
    failed: dict[str, str] = {}
    done = False
    for outcome in outcomes:
        for key, told in _OUTCOMES.items():
            if found := outcome.get(key):
                done = True
                print(f"{told}: {', '.join(found)}")
        errors = outcome.get("errors", {})
        failed |= {package: errors.get(package, "no reason given") for package in outcome["failed"]}
    if failed:
        raise InstallError("; ".join(f"{package}: {reason}" for package, reason in failed.items()))
    if not done:
        print("There is nothing to install.")
