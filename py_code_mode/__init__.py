"""Sessions in which an LLM agent works by writing Python.

    async with Session.from_base("./workspace") as session:
        result = await session.run("1 + 1")

Importing the package costs next to nothing: a name is imported from its module when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import (
        ArtifactError,
        ArtifactFormatError,
        ArtifactNameError,
        ArtifactNotFoundError,
        CapabilityError,
        CodeModeError,
        DependencyError,
        ExecutionError,
        ExecutionTimeoutError,
        InstallError,
        KernelDiedError,
        KernelError,
        KernelStartError,
        LinkError,
        ProcessError,
        PythonNotFoundError,
        RequirementError,
        RuntimeDepsDisabledError,
        SessionClosedError,
        SessionError,
        StorageError,
        ToolArgumentError,
        ToolCommandError,
        ToolDefinitionError,
        ToolError,
        ToolNotFoundError,
        ToolOutputError,
        ToolTimeoutError,
        VenvError,
        WorkflowArgumentError,
        WorkflowError,
        WorkflowInvalidError,
        WorkflowNotFoundError,
        WorkflowRecursionError,
        WorkflowTestError,
    )
    from .executors.base import Capability, Executor
    from .executors.inprocess import InProcessConfig, InProcessExecutor
    from .executors.kernel import SubprocessConfig, SubprocessExecutor
    from .results import BeginEvent, ClearEvent, DisplayEvent, EndEvent, ExecutionResult, OutputEvent, StreamEvent
    from .session import Session
    from .startedrun import StartedRun
    from .storage.base import StorageBackend
    from .storage.file import FileStorage
    from .storage.memory import MemoryStorage
    from .storage.redis import RedisStorage
    from .watch.journal import MissedEvents, SessionEvent

    __version__: str

__all__ = [
    "ArtifactError",
    "ArtifactFormatError",
    "ArtifactNameError",
    "ArtifactNotFoundError",
    "BeginEvent",
    "Capability",
    "CapabilityError",
    "ClearEvent",
    "CodeModeError",
    "DependencyError",
    "DisplayEvent",
    "EndEvent",
    "ExecutionError",
    "ExecutionResult",
    "ExecutionTimeoutError",
    "Executor",
    "FileStorage",
    "InProcessConfig",
    "InProcessExecutor",
    "InstallError",
    "KernelDiedError",
    "KernelError",
    "KernelStartError",
    "LinkError",
    "MemoryStorage",
    "MissedEvents",
    "OutputEvent",
    "ProcessError",
    "PythonNotFoundError",
    "RedisStorage",
    "RequirementError",
    "RuntimeDepsDisabledError",
    "Session",
    "SessionClosedError",
    "SessionError",
    "SessionEvent",
    "StartedRun",
    "StorageBackend",
    "StorageError",
    "StreamEvent",
    "SubprocessConfig",
    "SubprocessExecutor",
    "ToolArgumentError",
    "ToolCommandError",
    "ToolDefinitionError",
    "ToolError",
    "ToolNotFoundError",
    "ToolOutputError",
    "ToolTimeoutError",
    "VenvError",
    "WorkflowArgumentError",
    "WorkflowError",
    "WorkflowInvalidError",
    "WorkflowNotFoundError",
    "WorkflowRecursionError",
    "WorkflowTestError",
    "__version__",
]

_HOMES = {
    ".executors.base": ("Capability", "Executor"),
    ".executors.inprocess": ("InProcessConfig", "InProcessExecutor"),
    ".executors.kernel": ("SubprocessConfig", "SubprocessExecutor"),
    ".results": (
        "BeginEvent",
        "ClearEvent",
        "DisplayEvent",
        "EndEvent",
        "ExecutionResult",
        "OutputEvent",
        "StreamEvent",
    ),
    ".session": ("Session",),
    ".startedrun": ("StartedRun",),
    ".storage.base": ("StorageBackend",),
    ".storage.file": ("FileStorage",),
    ".storage.memory": ("MemoryStorage",),
    ".storage.redis": ("RedisStorage",),
    ".watch.journal": ("MissedEvents", "SessionEvent"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}
"""Where each name lives; what is not here is one of the errors."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        found: Any = version("py-code-mode")
    elif name in __all__:
        found = getattr(importlib.import_module(_MODULES.get(name, ".errors"), __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext py_code_mode``: the magics."""
    from .jupyter.extension import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext py_code_mode``: their sessions end."""
    from .jupyter.extension import unload

    unload(shell)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
