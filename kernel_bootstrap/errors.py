"""The errors that both sides know: raised on the host, they arrive in the kernel as the same class.

    CodeModeError
    ├── ToolError
    │   ├── ToolNotFoundError        (AttributeError)  no such tool or recipe
    │   ├── ToolArgumentError        (TypeError)       arguments that do not fit the tool
    │   ├── ToolCommandError                           the command ended with a non-zero exit code
    │   ├── ToolTimeoutError         (TimeoutError)    the tool ran longer than its time limit
    │   ├── ToolOutputError                            more output than the tool's limit
    │   └── ToolDefinitionError      (ValueError)      a malformed tool file
    ├── WorkflowError
    │   ├── WorkflowNotFoundError    (AttributeError)
    │   ├── WorkflowInvalidError     (ValueError)      a source that cannot be a workflow
    │   ├── WorkflowArgumentError    (TypeError)       arguments that do not fit the workflow
    │   ├── WorkflowTestError                          a workflow whose tests fail
    │   └── WorkflowRecursionError   (RecursionError)  workflows that call each other without end
    ├── ArtifactError
    │   ├── ArtifactNotFoundError    (LookupError)
    │   ├── ArtifactNameError        (ValueError)      a name that is refused
    │   └── ArtifactFormatError      (TypeError)       a value that no artifact format can hold
    ├── DependencyError
    │   ├── RequirementError         (ValueError)      not a requirement that is accepted here
    │   ├── RuntimeDepsDisabledError                   deps.add / deps.remove under allow_runtime_deps=False
    │   └── InstallError                               the installer failed as a whole
    ├── StorageError                                   the storage is gone, full or read-only
    └── LinkError                    (ConnectionError) the kernel cannot reach its host

A class carries its details in the attributes that its ``fields`` name; they cross the link with it.
"""

from __future__ import annotations

from typing import Any, ClassVar


class CodeModeError(Exception):
    """Base of every error of py-code-mode.

    ``fields`` are the names of the keyword-only details that a class takes; each becomes an attribute,
    None where it was not given. Details are JSON values.
    """

    fields: ClassVar[tuple[str, ...]] = ()

    def __init__(self, message: str = "", /, **details: Any) -> None:
        super().__init__(message)
        unknown = details.keys() - set(self.fields)
        if unknown:
            raise TypeError(f"{type(self).__name__} takes no {', '.join(sorted(unknown))}")
        for name in self.fields:
            setattr(self, name, details.get(name))

    @property
    def message(self) -> str:
        """The text of the error."""
        return str(self.args[0]) if self.args else ""

    def details(self) -> dict[str, Any]:
        """The values of ``fields``, as they cross the link."""
        return {name: getattr(self, name) for name in self.fields}

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.details()))


def _rebuild(cls: type[CodeModeError], message: str, details: dict[str, Any]) -> CodeModeError:
    return cls(message, **details)


class ToolError(CodeModeError):
    """A tool could not be called, or failed. ``tool`` is its name."""

    fields: ClassVar[tuple[str, ...]] = ("tool",)
    tool: str | None


class ToolNotFoundError(ToolError, AttributeError):
    """No tool, or no recipe, of that name."""


class ToolArgumentError(ToolError, TypeError):
    """The arguments do not fit the tool's schema."""


class ToolCommandError(ToolError):
    """The command of a tool ended with a non-zero exit code."""

    fields: ClassVar[tuple[str, ...]] = ("tool", "exit_code", "stdout", "stderr")
    exit_code: int | None
    stdout: str | None
    stderr: str | None


class ToolTimeoutError(ToolError, TimeoutError):
    """The tool ran longer than its ``timeout`` (seconds)."""

    fields: ClassVar[tuple[str, ...]] = ("tool", "timeout")
    timeout: float | None


class ToolOutputError(ToolError):
    """The tool wrote more than its ``limit`` (bytes)."""

    fields: ClassVar[tuple[str, ...]] = ("tool", "limit")
    limit: int | None


class ToolDefinitionError(ToolError, ValueError):
    """A malformed tool definition. ``path`` names the file."""

    fields: ClassVar[tuple[str, ...]] = ("tool", "path")
    path: str | None


class WorkflowError(CodeModeError):
    """A workflow could not be used. ``workflow`` is its name."""

    fields: ClassVar[tuple[str, ...]] = ("workflow",)
    workflow: str | None


class WorkflowNotFoundError(WorkflowError, AttributeError):
    """No workflow of that name."""


class WorkflowInvalidError(WorkflowError, ValueError):
    """The name or source cannot be a workflow; the message says why."""


class WorkflowArgumentError(WorkflowError, TypeError):
    """The arguments do not fit the parameters of the workflow."""


class WorkflowTestError(WorkflowError):
    """The tests of a workflow fail. ``report`` is what ``workflow_tests.run_tests`` gave."""

    fields: ClassVar[tuple[str, ...]] = ("workflow", "report")
    report: dict[str, Any] | None


class WorkflowRecursionError(WorkflowError, RecursionError):
    """Workflows called each other too deeply."""


class ArtifactError(CodeModeError):
    """An artifact could not be saved or loaded. ``artifact`` is its name."""

    fields: ClassVar[tuple[str, ...]] = ("artifact",)
    artifact: str | None


class ArtifactNotFoundError(ArtifactError, LookupError):
    """No artifact of that name."""


class ArtifactNameError(ArtifactError, ValueError):
    """A name that artifacts cannot have."""


class ArtifactFormatError(ArtifactError, TypeError):
    """A value that no artifact format can hold, or content that its format cannot read."""


class DependencyError(CodeModeError):
    """A dependency could not be handled. ``requirement`` is its text."""

    fields: ClassVar[tuple[str, ...]] = ("requirement",)
    requirement: str | None


class RequirementError(DependencyError, ValueError):
    """Not a requirement that is accepted here."""


class RuntimeDepsDisabledError(DependencyError):
    """Adding and removing is off in this session (``allow_runtime_deps=False``)."""


class InstallError(DependencyError):
    """The installer could not run, or failed as a whole."""


class StorageError(CodeModeError):
    """The storage cannot be read or written."""


class LinkError(CodeModeError, ConnectionError):
    """The kernel cannot reach its host, or the host gave no answer."""


def _tree(cls: type[CodeModeError]) -> dict[str, type[CodeModeError]]:
    found = {cls.__name__: cls}
    for child in cls.__subclasses__():
        if child.__module__ == __name__:
            found |= _tree(child)
    return found


BY_NAME: dict[str, type[CodeModeError]] = _tree(CodeModeError)
"""Every class of this module by its name: what may cross the link."""
