"""What runs the code of a session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from py_code_mode.results import ExecutionResult, Listener

if TYPE_CHECKING:
    from py_code_mode.deps.installer import Installer
    from py_code_mode.host.server import Handlers
    from py_code_mode.kernel.engine import Engine


class Capability(StrEnum):
    """What an executor may be able to do; told truthfully, for this session on this machine."""

    TIMEOUT = "timeout"
    """Every execution can be stopped."""
    PROCESS_ISOLATION = "process_isolation"
    """The code runs in a process of its own."""
    CONTAINER_ISOLATION = "container_isolation"
    """The code runs in a container."""
    NETWORK_ISOLATION = "network_isolation"
    """The network is off for the code."""
    RESET = "reset"
    """The session can be reset."""
    DEPS_INSTALL = "deps_install"
    """Dependencies can be installed."""


def check_config(timeout: float | None, extra_deps: tuple[str, ...]) -> None:
    """What every configuration has; raises TypeError and ValueError, which say what would be right."""
    check_timeout(timeout, "None for no limit")
    given: object = extra_deps
    if isinstance(given, str):
        raise TypeError(f"extra_deps is a tuple of requirements, such as ({given!r},), not a str")


def check_timeout(timeout: float | None, none: str) -> None:
    """Raises TypeError or ValueError for what is no number of seconds; ``none`` says what None stands for."""
    given: object = timeout
    if given is not None and (isinstance(given, bool) or not isinstance(given, int | float)):
        raise TypeError(f"timeout is a number of seconds, or {none}, not {given!r}")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds, or {none}, not {timeout!r}")


class ExecutorConfig(Protocol):
    """What a Session reads of any executor's configuration."""

    @property
    def extra_deps(self) -> tuple[str, ...]:
        """Requirements beyond the configured ones."""

    @property
    def allow_runtime_deps(self) -> bool:
        """Whether ``deps.add`` and ``deps.remove`` are allowed."""

    @property
    def timeout(self) -> float | None:
        """Seconds that a run may take, None = no limit."""

    @property
    def tools_path(self) -> Path | None:
        """Directory of tool definitions; None: the storage's own."""

    @property
    def cwd(self) -> Path | None:
        """Where code and tools start; None: the base directory of the storage, else the current one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What a Session gives to its executor at the start.

    ``identity`` keys the workspace, ``owner`` marks all processes of this session, ``cwd`` is where the code
    starts, ``hidden`` tells the environment variables that tool definitions read, ``handlers`` makes the table
    of methods that code may ask for, given what installs packages for it, ``progress`` takes a line when something
    slow happens, ``observe`` gives what hears of a cell that another client runs on the session's kernel.
    """

    engine: Engine
    identity: str
    owner: str
    cwd: str
    hidden: Callable[[], Awaitable[frozenset[str]]]
    handlers: Callable[[Installer], Awaitable[Handlers]]
    progress: Callable[[str], None]
    observe: Callable[[str], Listener] | None = None


class Guest(Protocol):
    """What a workspace is opened for. Its methods are called by the Workspace, on the engine's loop."""

    @property
    def config(self) -> ExecutorConfig:
        """How it is configured."""

    async def start(self, host: Host) -> None:
        """Make ready; called once, before anything else."""

    async def close(self) -> None:
        """End everything; called once, and bounded."""


class Executor(Guest, Protocol):
    """Runs code with state. All methods are called on the engine's loop, those beyond Guest's by the Session."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can do, in this configuration on this machine."""

    async def execute(self, code: str, timeout: float | None, listener: Listener | None) -> ExecutionResult:
        """Run ``code``, after what is queued. ``timeout`` in seconds, None = no limit; ``listener`` hears events."""

    def interrupt(self) -> None:
        """End the run that is under way, if there is one."""

    async def reset(self) -> None:
        """Forget all variables."""


class Watchable(Protocol):
    """An executor whose code can be looked at while it runs. All methods are called on the engine's loop."""

    async def look(self, name: str | None, limit: int) -> Any:
        """The first ``limit`` variables, or the one called ``name``: see ``kernel_bootstrap.look``."""

    async def stack(self) -> str:
        """Where the code that runs stands, outermost call first; "" when none runs."""

    @property
    def connection_file(self) -> Path | None:
        """What Jupyter's clients join the kernel by; None where there is no kernel. Read from any thread."""
