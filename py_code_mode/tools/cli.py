"""Command-line tools: a call becomes an argument vector, its process's output the result.

A value never becomes an option. Where one begins with ``-``:

- of an option with a long flag it is attached, ``--data=-x``; else it is a word of its own, ``--data x``;
- of an option with a short flag it is attached, ``-d-x``; else ``-d x``;
- of a positional it comes after ``--``; a tool with ``end_of_options: false`` refuses it (``-`` alone too).
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from py_code_mode.errors import (
    ProcessError,
    ToolCommandError,
    ToolError,
    ToolOutputError,
    ToolTimeoutError,
)
from py_code_mode.kernel.commands import Completed, OutputLimit

from .base import CallableInfo, ProcessRunner, ToolInfo
from .binding import Binding
from .definition import VARIABLE, CliDefinition
from .values import Argument

_SHOWN = 2000  # characters of a failed command's output in the message


class CliTool:
    """A tool that runs a command on the host.

    The command gets the host's environment with the definition's ``env`` added, an empty standard input, and
    ``cwd`` as its working directory (None: the host's own at the time of the call). A program written with a
    slash is found relative to the folder of its definition.
    """

    def __init__(self, definition: CliDefinition, runner: ProcessRunner, *, cwd: Path | None = None) -> None:
        self.definition = definition
        self._runner = runner
        self._cwd = cwd
        self._info = _describe(definition)
        self._recipes = {recipe.name: recipe for recipe in definition.recipes}

    @property
    def info(self) -> ToolInfo:
        """Name, description, and the signatures of the raw call and of each recipe."""
        return self._info

    async def call(self, recipe: str | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """The command's standard output as text (UTF-8, undecodable bytes replaced).

        Raises:
            ToolNotFoundError: no such recipe.
            ToolArgumentError: the arguments do not fit; nothing was run.
            ToolCommandError: the command ended with a non-zero exit code.
            ToolTimeoutError, ToolOutputError: it went past a limit, and was ended.
            ToolError: it could not be started, or a variable of its ``env`` is not set.
        """
        argv = self.argv(recipe, args, kwargs)
        definition = self.definition
        program = definition.command[0]
        env = {**os.environ, **self._env()}
        cwd = str(self._cwd or Path.cwd())
        try:
            done = await self._runner.run(
                argv,
                env=env,
                cwd=cwd,
                stdin=None,
                timeout=definition.timeout,
                max_output=definition.max_output,
            )
        except TimeoutError:
            raise ToolTimeoutError(
                self._text(f"{program!r} was ended at its time limit of {definition.timeout:g} s"),
                tool=definition.name,
                timeout=definition.timeout,
            ) from None
        except OutputLimit:
            raise ToolOutputError(
                self._text(f"{program!r} was ended: it wrote more than max_output, {definition.max_output} bytes"),
                tool=definition.name,
                limit=definition.max_output,
            ) from None
        except ProcessError as error:
            raise ToolError(self._text(error.message), tool=definition.name) from None
        except OSError as error:
            raise self._not_started(error, argv[0], env) from None
        if done.exit_code != 0:
            raise self._failed(program, done)
        return done.stdout.decode("utf-8", "replace")

    def argv(self, recipe: str | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[str]:
        """The argument vector of a call. Raises as ``call`` does, before anything runs."""
        self._info.callable(recipe)
        definition = self.definition
        call = Binding(definition, self._recipes.get(recipe or ""))
        values = call.values(args, kwargs)
        options = [
            word
            for option in definition.options
            if option.python_name in values
            for word in option.option(values[option.python_name])
        ]
        places = [
            word
            for place in definition.positional
            if place.python_name in values
            for word in place.texts(values[place.python_name])
        ]
        dashed = next((word for word in places if word.startswith("-")), None)
        if dashed is not None and not definition.end_of_options:
            raise call.error(f"{dashed!r} begins with '-', and {definition.command[0]!r} would read it as an option")
        end = ["--"] if dashed is not None else []
        return [self._program(), *definition.command[1:], *options, *end, *places]

    def _program(self) -> str:
        program = self.definition.command[0]
        if "/" not in program:
            return program
        return str(Path(self.definition.path).parent.absolute() / Path(program).expanduser())

    def _env(self) -> dict[str, str]:
        for key, text in self.definition.env.items():
            for name in VARIABLE.findall(text):
                if name not in os.environ:
                    problem = f"the environment variable {name} is not set on the host; env.{key} needs it"
                    raise ToolError(self._text(problem), tool=self.definition.name)
        return {
            key: VARIABLE.sub(lambda found: os.environ[found[1]], text) for key, text in self.definition.env.items()
        }

    def _text(self, problem: str) -> str:
        return f"tools.{self.definition.name}: {problem}"

    def _failed(self, program: str, done: Completed) -> ToolCommandError:
        stdout, stderr = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
        ended = (
            f"was ended by {_signal(-done.exit_code)}"
            if done.exit_code < 0
            else f"failed with exit code {done.exit_code}"
        )
        shown = stderr.strip() or stdout.strip()
        if len(shown) > _SHOWN:
            shown = f"... {shown[-_SHOWN:]}"
        return ToolCommandError(
            self._text(f"{program!r} {ended}" + (f": {shown}" if shown else "")),
            tool=self.definition.name,
            exit_code=done.exit_code,
            stdout=stdout,
            stderr=stderr,
        )

    def _not_started(self, error: OSError, program: str, env: Mapping[str, str]) -> ToolError:
        if error.strerror == os.strerror(errno.ENOENT):
            where = "there is no such file" if "/" in program else f"looked in PATH: {env.get('PATH', os.defpath)}"
            problem = f"the command {program!r} is not found; {where}"
        else:
            problem = f"the command {program!r} cannot be started: {error.strerror or error}"
        return ToolError(self._text(problem), tool=self.definition.name)


def _describe(definition: CliDefinition) -> ToolInfo:
    everything: dict[str, Argument] = {
        argument.python_name: argument for argument in (*definition.positional, *definition.options)
    }
    places = tuple(argument.parameter(positional=True) for argument in definition.positional)
    options = tuple(argument.parameter(positional=False) for argument in definition.options)
    raw = CallableInfo("", definition.description, places + options)
    recipes = tuple(
        CallableInfo(
            recipe.name,
            recipe.description,
            tuple(
                everything[name].parameter(positional=True, default=default, description=description)
                for name, (default, description) in recipe.params.items()
            ),
        )
        for recipe in definition.recipes
    )
    return ToolInfo(definition.name, definition.description, definition.tags, "cli", (raw, *recipes))


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
