"""The root of the command line: its commands, imported when they are used, and how it ends.

Exit status: 0 done; 1 the code failed, or what was asked for is not there or was refused; 2 wrong usage;
3 the host has trouble (no virtualenv, no kernel, no storage); 130 interrupted; 141 the reader went away.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import Any

import click

from py_code_mode.errors import (
    ArtifactError,
    CodeModeError,
    DependencyError,
    InstallError,
    ToolError,
    WorkflowError,
)

FAILED, HOST_TROUBLE, INTERRUPTED, PIPE_CLOSED = 1, 3, 130, 141

COMMANDS = {
    "init": "Make a workspace.",
    "run": "Run Python code in a workspace.",
    "demo": "See it work: a tool, a workflow, a package and an artifact.",
    "tools": "List, show, search and call tools.",
    "workflows": "List, show, search, add, remove and run workflows.",
    "artifacts": "List, show, add, get and remove artifacts.",
    "deps": "List, add, remove and install packages.",
    "store": "Push, pull and compare workspaces: directories and Redis.",
    "sessions": "Show the live sessions, and what they do.",
    "attach": "Open a console on a live session.",
    "lab": "Open JupyterLab on a workspace.",
    "jupyter": "Install, list and remove kernelspecs for Jupyter's front ends.",
    "cache": "List and clean the cached virtualenvs.",
    "doctor": "Check that everything needed is there.",
}
"""Name and one line of each command; it lives as ``command`` in the module of its name, or in that of ``_MODULES``."""

_MODULES = {"sessions": "live"}


class App(click.Group):
    """Imports a command when it is called, so that ``--help`` is quick; turns errors into exit statuses."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f".{_MODULES.get(cmd_name, cmd_name)}", __package__).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader of stdout that went away (``| head``) ends it quietly."""
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            _forget_stdout()
            raise click.exceptions.Exit(PIPE_CLOSED) from None

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run, and end the process with the exit status."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # Code may print what the terminal's encoding does not have, lone surrogates for instance.
                stream.reconfigure(errors="backslashreplace")
        extra["standalone_mode"] = False
        try:
            status = super().main(*args, **extra)
        except click.ClickException as error:
            error.show()
            status = error.exit_code
        except (KeyboardInterrupt, click.Abort):
            status = INTERRUPTED
        except CodeModeError as error:
            _complain(error.message)
            refused = isinstance(error, ToolError | WorkflowError | ArtifactError | DependencyError)
            status = FAILED if refused and not isinstance(error, InstallError) else HOST_TROUBLE
        except OSError as error:
            _complain(str(error))
            status = HOST_TROUBLE
        sys.exit(status)


def _complain(message: str) -> None:
    print(f"py-code-mode: {message}", file=sys.stderr)


def _forget_stdout() -> None:
    # What is still buffered would be written when Python exits, and fail again.
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass


@click.command(cls=App, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="py-code-mode", message="%(prog)s %(version)s")
def app() -> None:
    """Sessions in which an LLM agent works by writing Python: tools, workflows, artifacts and packages in a
    real Jupyter kernel.

    A workspace is a directory with tools/, workflows/, artifacts/ and requirements.txt. Begin with
    `py-code-mode demo`, or with `py-code-mode init`.

    Exit status: 0 done; 1 the code failed, or what was asked for is not there or was refused; 2 wrong
    usage; 3 trouble on this machine (`py-code-mode doctor` may tell); 130 interrupted.
    """
