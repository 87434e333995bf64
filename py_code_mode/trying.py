"""What a session does about workflows by running code: testing them, and making one of what was just run."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from .asking import AsksWorkspace
from .errors import WorkflowInvalidError, shared_error
from .results import ExecutionResult
from .watch.journal import Journal

_OWN = ("workflows.promote(", "workflows.test(")
"""How cells begin that this module runs, and people: nobody means these when a workflow is made of the last cell."""


class TriesWorkflows(AsksWorkspace):
    """The methods of a Session about workflows that run as code of the session, behind what is queued."""

    _journal: Journal
    _forgotten: int
    """The number of the last cell of the journal whose variables a reset has cleared."""

    @abstractmethod
    async def run(self, code: str, timeout: float | None = None) -> ExecutionResult:
        """Run ``code``."""

    async def test_workflow(
        self, name: str, source: str | None = None, *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Run the tests of a workflow: the examples (>>>) in its docstrings, and its functions ``test_...``.

        ``source`` is tested in place of what is saved, and ``timeout`` is as in ``run``. Returns ``name``, ``passed``
        and ``failed`` (how many) and ``failures``, a list of dicts with ``test``, ``line``, ``source``, ``expected``,
        ``got`` and ``error``. Raises WorkflowNotFoundError, WorkflowInvalidError, and ExecutionError where the tests do
        not end.
        """
        arguments = _text("name", name) if source is None else f"{_text('name', name)}, {_text('source', source)}"
        report: dict[str, Any] = await self._value(f"workflows.test({arguments})", timeout)
        return report

    async def promote(
        self,
        name: str,
        description: str,
        cells: Sequence[int] | None = None,
        *,
        tags: Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Make a workflow of code that was just run, and keep it.

        ``cells`` are the ``execution_count`` of the results to take, in order; None: the last one.
        Names that the cells use and do not set become parameters, imports and functions of earlier cells come along,
        and the value of the last expression is returned. It is called once on the values that the parameters have now
        (copies where they can be copied), and kept only if that works. ``timeout`` is as in ``run``, for that call.

        Returns what ``get_workflow`` does, with ``notes`` (list of str): what is worth knowing about the source.
        Raises WorkflowTestError when the call fails, WorkflowInvalidError when no workflow can be made of the cells.
        """
        chosen = self._last_cell() if cells is None else _listed(cells)
        given = f"{_text('name', name)}, {_text('description', description)}"
        code = f"workflows.promote({given}, cells={chosen!r}, tags={_listed(tags)!r})"
        made: dict[str, Any] = await self._value(code, timeout)
        return made

    async def _prove(self, name: str, source: str) -> None:
        report = await self.test_workflow(name, source)
        if report["failed"] or not report["passed"]:
            from kernel_bootstrap.workflow_tests import failed

            raise failed(report)

    async def _value(self, code: str, timeout: float | None) -> Any:
        result = await self.run(code, timeout)
        if (error := shared_error(result)) is not None:
            raise error
        result.raise_for_error()
        return result.value

    def _last_cell(self) -> list[int]:
        """The number of the cell that was run last. Raises ValueError when it failed, or its variables are gone."""
        ended, _ = self._journal.cells()
        for cell in reversed(ended):
            if cell.number <= self._forgotten or cell.result is None:
                break
            if cell.by != "session" or cell.code.startswith(_OWN):
                continue
            count, error = cell.result.execution_count, cell.result.error
            if error is not None or count is None:
                raise WorkflowInvalidError(
                    f"the last cell did not end well ({error}); name the cells to take with cells=[...]"
                )
            return [count]
        raise WorkflowInvalidError("no cell of this session has run since its variables were last cleared")


def _text(what: str, value: Any) -> str:
    """A string as it is written in code."""
    if not isinstance(value, str):
        raise WorkflowInvalidError(f"the {what} of a workflow is a string, not {type(value).__name__}")
    return repr(str(value))


def _listed(items: Any) -> Any:
    """As a list, which can be written down as code; what is none is refused there, with the reason."""
    return [*items] if isinstance(items, Iterable) and not isinstance(items, str) else items
