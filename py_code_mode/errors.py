"""Every exception that py-code-mode raises.

The tree of ``kernel_bootstrap.errors`` (shared with the kernel), and below CodeModeError on the host only:

    CodeModeError
    ├── SessionError
    │   ├── SessionClosedError       the session is not started, or closed
    │   └── CapabilityError          the executor cannot do that
    ├── KernelError
    │   ├── KernelStartError         the kernel did not come up; the message has the last of its stderr
    │   └── ProcessError             a process could not be launched, or its supervisor is gone
    ├── VenvError                    the virtualenv cannot be built
    │   └── PythonNotFoundError      no interpreter of the version asked for
    └── ExecutionError               raised by ``ExecutionResult.raise_for_error()`` only
        ├── ExecutionTimeoutError    (TimeoutError)
        └── KernelDiedError
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_bootstrap.errors import (
    BY_NAME,
    ArtifactError,
    ArtifactFormatError,
    ArtifactNameError,
    ArtifactNotFoundError,
    CodeModeError,
    DependencyError,
    InstallError,
    LinkError,
    RequirementError,
    RuntimeDepsDisabledError,
    StorageError,
    ToolArgumentError,
    ToolCommandError,
    ToolDefinitionError,
    ToolError,
    ToolNotFoundError,
    ToolOutputError,
    ToolTimeoutError,
    WorkflowArgumentError,
    WorkflowError,
    WorkflowInvalidError,
    WorkflowNotFoundError,
    WorkflowRecursionError,
    WorkflowTestError,
)

if TYPE_CHECKING:
    from .results import ExecutionResult

__all__ = [
    "ArtifactError",
    "ArtifactFormatError",
    "ArtifactNameError",
    "ArtifactNotFoundError",
    "CapabilityError",
    "CodeModeError",
    "DependencyError",
    "ExecutionError",
    "ExecutionTimeoutError",
    "InstallError",
    "KernelDiedError",
    "KernelError",
    "KernelStartError",
    "LinkError",
    "ProcessError",
    "PythonNotFoundError",
    "RequirementError",
    "RuntimeDepsDisabledError",
    "SessionClosedError",
    "SessionError",
    "StorageError",
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
]


class SessionError(CodeModeError):
    """The session cannot do what was asked of it."""


class SessionClosedError(SessionError):
    """The session is not started yet, or closed already."""


class CapabilityError(SessionError):
    """The executor of this session has no such capability."""


class KernelError(CodeModeError):
    """Something about the kernel's process."""


class KernelStartError(KernelError):
    """The kernel did not come up."""


class ProcessError(KernelError):
    """A process could not be launched, or the supervisor is gone."""


class VenvError(CodeModeError):
    """The virtualenv of the workspace cannot be built or used."""


class PythonNotFoundError(VenvError):
    """No interpreter of the version that was asked for is installed."""


class ExecutionError(CodeModeError):
    """What the code did, as an exception: see ``ExecutionResult.raise_for_error``.

    ``result`` is the whole result, ``name`` the class name of the error inside the kernel.
    """

    def __init__(self, message: str, result: ExecutionResult) -> None:
        super().__init__(message)
        self.result = result
        self.name = result.error_name


class ExecutionTimeoutError(ExecutionError, TimeoutError):
    """The code ran longer than its timeout."""


class KernelDiedError(ExecutionError):
    """The code ended its kernel."""


def shared_error(result: ExecutionResult) -> CodeModeError | None:
    """The error that the code of ``result`` ended with, if it is one of those that both sides know."""
    name = result.error_name or ""
    cls = BY_NAME.get(name)
    return None if cls is None else cls((result.error or "").removeprefix(f"{name}: "))
