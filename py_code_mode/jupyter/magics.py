"""The magics that open sessions and run cells in them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments

from py_code_mode.errors import CodeModeError, ExecutionError
from py_code_mode.executors.kernel import SubprocessConfig

from .arguments import directory, parse, seconds, variable
from .notebook import Notebook
from .showing import CellOutput, note, without_frames
from .tables import Table


def readable(magic: Callable[..., Any]) -> Any:
    """Shows errors of ours, and interrupts, without the frames of the magic: they tell a user nothing."""

    @functools.wraps(magic)
    def shown(*args: Any) -> Any:
        try:
            return magic(*args)
        except ExecutionError:
            raise  # has its own text
        except (CodeModeError, KeyboardInterrupt) as error:
            raise without_frames(error) from None

    return shown


@magics_class
class SessionMagics(Magics):
    """``%code_mode``, ``%%code_mode`` and ``%code_mode_here``."""

    shell: Any

    def __init__(self, shell: Any, notebook: Notebook) -> None:
        super().__init__(shell)
        self._notebook = notebook

    @line_magic("code_mode")
    @readable
    @magic_arguments("code_mode")
    @argument(
        "what",
        nargs="?",
        metavar="DIR",
        help="the workspace, a directory or redis://...?prefix=NAME; or close, or reset (./close is a directory)",
    )
    @argument("--tools", type=directory, metavar="DIR", help="tool definitions in place of the workspace's own")
    @argument("--timeout", type=seconds, metavar="S", help="stop a cell after S seconds; by default never")
    @argument("--python", metavar="V", help="the session's Python version, such as 3.12; by default this kernel's")
    def code_mode(self, line: str) -> Table | None:
        """Open a session on a workspace, for cells that begin with %%code_mode.

        The session has a kernel of its own, in the workspace's virtualenv, with its tools, workflows, artifacts and
        deps. It takes the place of one that is open. Without arguments: what is open.

        Examples::

            %code_mode ~/work
            %code_mode "my work" --timeout 60 --python 3.12
            %code_mode redis://localhost?prefix=team --tools ./tools
            %code_mode
            %code_mode reset
            %code_mode close
        """
        asked = parse(self.code_mode, line, "%code_mode")
        if asked.what in (None, "close", "reset") and (asked.timeout or asked.python or asked.tools):
            raise UsageError("--timeout, --python and --tools are for a session to open: %code_mode DIR --timeout 60")
        if asked.what is None:
            if self._notebook.live is not None:
                return Table("session", ("", ""), self._notebook.live.about())
            print("No session is open. Open one with %code_mode DIR")
        elif asked.what == "close":
            self._notebook.close()
            print("The session is closed.")
        elif asked.what == "reset":
            self._notebook.session().do(lambda session: session.reset())
            print("The variables of the session are gone.")
        else:
            config = SubprocessConfig(tools_path=asked.tools, timeout=asked.timeout, python_version=asked.python)
            opened = self._notebook.open(asked.what, config)
            print(f"A session on {opened.base} is open. Cells that begin with %%code_mode run in it.")
        return None

    @cell_magic("code_mode")
    @readable
    @magic_arguments("%code_mode")
    @argument("-o", "--out", type=variable, metavar="NAME", help="keep the cell's value in this notebook, as NAME")
    @argument("-t", "--timeout", type=seconds, metavar="S", help="stop the cell after S seconds")
    def run_cell(self, line: str, cell: str) -> None:
        """Run the cell in the session that %code_mode has opened.

        Its output appears as it comes, and the value of its last expression as that of any cell. Its variables stay
        in the session. An error there is an error of this cell, and interrupting this notebook's kernel interrupts
        the cell there.

        Examples::

            %%code_mode
            tools.list()

            %%code_mode -o total -t 60
            total = sum(artifacts.load("numbers"))
            total
        """
        asked = parse(self.run_cell, line, "%%code_mode")
        output = CellOutput(self.shell)
        result = self._notebook.session().run(cell, asked.timeout, output)
        output.finish(result)
        if asked.out is not None:
            self.shell.user_ns[asked.out] = result.value
            if result.value_is_repr:
                note(f"{asked.out} holds a text in place of what cannot leave the session")

    @line_magic("code_mode_here")
    @readable
    @magic_arguments("code_mode_here")
    @argument("what", metavar="DIR", help="the workspace, as of %%code_mode; or close, to take the names away")
    @argument("--tools", type=directory, metavar="DIR", help="tool definitions in place of the workspace's own")
    def code_mode_here(self, line: str) -> None:
        """Put tools, workflows, artifacts and deps of a workspace into this notebook. Its code stays in its kernel.

        They take the place of those of another workspace. Variables of yours that had these names come back with
        close. deps.add installs beside the environment of this kernel, which is not changed.

        Examples::

            %code_mode_here ~/work
            tools.list()

            %code_mode_here close
        """
        asked = parse(self.code_mode_here, line, "%code_mode_here")
        if asked.what == "close":
            if not self._notebook.close_here():
                raise UsageError("no workspace is in this notebook: put one here with %code_mode_here DIR")
            print("The workspace is out of this notebook.")
            return
        kernel = getattr(self.shell, "kernel", None)
        if getattr(kernel, "implementation", None) == "py-code-mode":
            raise UsageError(
                "this notebook's kernel is that of a workspace, and keeps its tools, workflows, artifacts and deps; "
                "%code_mode DIR opens a session on another workspace"
            )
        opened, replaced = self._notebook.open_here(asked.what, asked.tools)
        print(f"tools, workflows, artifacts and deps of {opened.base} are in this notebook.")
        if replaced:
            note(f"{', '.join(replaced)} had another meaning; it comes back with %code_mode_here close")
