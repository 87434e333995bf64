"""What a tool is: how it describes itself, how it is called, where tools come from.

``Tool`` and ``ToolProvider`` are the seams to kinds of tools, ``ProcessRunner`` the one to processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from py_code_mode.errors import ToolDefinitionError, ToolNotFoundError

from .hints import nearest

if TYPE_CHECKING:
    from py_code_mode.kernel.commands import Completed

ParameterType = Literal["boolean", "string", "integer", "number", "array", "any"]

_ANNOTATIONS: dict[str, str] = {
    "boolean": "bool",
    "string": "str",
    "integer": "int",
    "number": "float",
    "array": "list",
    "any": "Any",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a callable, under the name that Python code uses for it.

    ``default`` None means that nothing is passed when the argument is left out. A parameter that is not
    ``positional`` is given by keyword only.
    """

    name: str
    type: ParameterType = "any"
    required: bool = False
    default: Any = None
    enum: tuple[Any, ...] | None = None
    description: str = ""
    positional: bool = False

    def __str__(self) -> str:
        """As a signature writes it, for instance ``url: str`` or ``silent: bool = False``."""
        text = f"{self.name}: {_ANNOTATIONS[self.type]}"
        if self.required:
            return text
        default = False if self.default is None and self.type == "boolean" else self.default
        return f"{text} = {default!r}"

    def to_dict(self) -> dict[str, Any]:
        """The fields as a JSON object; ``enum`` is a list or null."""
        return asdict(self) | {"enum": None if self.enum is None else list(self.enum)}


@dataclass(frozen=True, slots=True)
class CallableInfo:
    """One way to call a tool: a recipe by its ``name``, or the tool itself (``""``)."""

    name: str
    description: str = ""
    parameters: tuple[Parameter, ...] = ()

    def signature(self) -> str:
        """As Python would write it, for instance ``get(url: str)``; valid with any order of defaults."""
        parts: list[str] = []
        optional = keywords = False
        for parameter in self.parameters:
            if not keywords and (not parameter.positional or (optional and parameter.required)):
                keywords = True
                parts.append("*")
            optional = optional or not parameter.required
            parts.append(str(parameter))
        return f"{self.name}({', '.join(parts)})"

    def to_dict(self) -> dict[str, Any]:
        """A JSON object: ``name``, ``description``, ``signature``, ``parameters``."""
        return {
            "name": self.name,
            "description": self.description,
            "signature": self.signature(),
            "parameters": [parameter.to_dict() for parameter in self.parameters],
        }


@dataclass(frozen=True, slots=True)
class ToolInfo:
    """What a tool tells about itself; ``type`` is its kind, for instance ``cli``."""

    name: str
    description: str = ""
    tags: tuple[str, ...] = ()
    type: str = "cli"
    callables: tuple[CallableInfo, ...] = ()

    def callable(self, recipe: str | None) -> CallableInfo:
        """The recipe of that name, or with None the tool itself.

        Raises:
            ToolNotFoundError: the tool has no such recipe, or cannot be called without one.
        """
        for candidate in self.callables:
            if candidate.name == (recipe or ""):
                return candidate
        recipes = [candidate.name for candidate in self.callables if candidate.name]
        if recipe is None:
            names = f"call one of: {', '.join(recipes)}" if recipes else "and it has no recipes"
            raise ToolNotFoundError(f"tools.{self.name} cannot be called itself; {names}", tool=self.name)
        hint = nearest(recipe, recipes) or "; it has no recipes, call the tool itself"
        raise ToolNotFoundError(f"tools.{self.name} has no recipe {recipe!r}{hint}", tool=self.name)

    def summary(self) -> dict[str, Any]:
        """The entry of the tool in ``tools.list()``: ``name``, ``description``, ``tags``."""
        return {"name": self.name, "description": self.description, "tags": list(self.tags)}

    def to_dict(self) -> dict[str, Any]:
        """All of it as a JSON object."""
        return {
            **self.summary(),
            "type": self.type,
            "callables": [candidate.to_dict() for candidate in self.callables],
        }


class Tool(Protocol):
    """One tool. The registry calls it; nothing else does."""

    @property
    def info(self) -> ToolInfo:
        """How the tool describes itself. Read at every list, search and call; must be cheap."""
        ...

    async def call(self, recipe: str | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The result of one call; ``recipe`` None means the tool itself.

        Cancelling the task that awaits it ends whatever the call started. Raises a ToolError.
        """
        ...


class ToolProvider(Protocol):
    """Where tools come from. The registry asks at every list and call, so that changes are seen."""

    async def tools(self) -> Mapping[str, Tool]:
        """The tools that are there now, by name. One that is broken is left out and never raises."""
        ...

    def broken(self) -> Mapping[str, ToolDefinitionError]:
        """Definitions that cannot be used, by where they are (the path of a file)."""
        ...

    def secrets(self) -> frozenset[str]:
        """Names of the host's environment variables that definitions refer to.

        Read before a kernel starts: these variables are not for its environment.
        """
        ...

    async def close(self) -> None:
        """Lets go of everything. Called once, by the registry; running calls are cancelled before."""
        ...


class MemoryToolProvider:
    """Tools that a program hands over as objects; the provider that tests use in place of files."""

    def __init__(self, tools: Iterable[Tool] = (), *, secrets: Iterable[str] = ()) -> None:
        self._tools = {tool.info.name: tool for tool in tools}
        self._secrets = frozenset(secrets)

    async def tools(self) -> Mapping[str, Tool]:
        """The tools given."""
        return self._tools

    def broken(self) -> Mapping[str, ToolDefinitionError]:
        """Nothing: an object has no file that could be malformed."""
        return {}

    def secrets(self) -> frozenset[str]:
        """The names given."""
        return self._secrets

    async def close(self) -> None:
        """Forgets the tools."""
        self._tools = {}


class ProcessRunner(Protocol):
    """Runs the processes of tools. Tools call it once for each of their calls."""

    async def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        stdin: bytes | None,
        timeout: float | None,
        max_output: int,
    ) -> Completed:
        """Runs ``argv`` (never through a shell) until it ends.

        ``env`` is its whole environment, ``stdin`` None an empty input, ``timeout`` seconds or None for no
        limit, ``max_output`` bytes of each of stdout and stderr. The whole process tree is ended before an
        error leaves, also when the calling task is cancelled.

        Raises:
            TimeoutError: it ran longer than ``timeout``.
            OutputLimit: it wrote more than ``max_output``.
            FileNotFoundError, PermissionError: there is no such program, or it is not executable.
            ProcessError: it could not be started for another reason.
        """
        ...
