"""From cells that were run to a workflow that is kept: drafted, called once, saved."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from typing import Any

from . import tracebacks
from .cells import Cells
from .compiled import execute, on_trial, run_of
from .doctests import give_way
from .errors import WorkflowInvalidError, WorkflowTestError
from .link import Link
from .loops import run_sync
from .promote import UNKNOWN, Draft, draft

_trying: ContextVar[bool] = ContextVar("promotion_trial", default=False)


def promoted(
    link: Link,
    names: dict[str, Any],
    cells: Cells,
    name: str,
    description: object,
    chosen: object,
    tags: Sequence[str] | None,
) -> dict[str, Any]:
    """What ``Workflows.promote`` gives. ``names`` are the globals of workflows, ``chosen`` the numbers of cells.

    A ``description`` that is no string, and ``chosen`` that cannot be chosen, are refused.
    """
    if _trying.get():
        told = f"{name!r} was to be made of cells while another workflow is: leave out the cell that does so"
        raise WorkflowInvalidError(told, workflow=name)
    if not isinstance(description, str):
        told = f"the description of a workflow is a string, not {type(description).__name__}"
        raise WorkflowInvalidError(told, workflow=name)
    sources = dict(cells.sources())
    numbers = _numbers(name, chosen, sources)
    taken = [sources[number] for number in numbers]
    earlier = [source for number, source in sorted(sources.items()) if number not in numbers]

    def drafted(result: Any) -> Draft:
        try:
            return draft(name, description, taken, earlier, cells.namespace, result=result)
        except ValueError as error:
            told = f"no workflow {name!r} can be made of these cells: {error}"
            raise WorkflowInvalidError(told, workflow=name) from None

    made = drafted(UNKNOWN)
    params = {"name": name, "description": description, "tags": tags}
    checked = link.request("workflows.check", source=made.source, **params)
    # The type of what it returns is known only now.
    made = drafted(_try(link, names, name, checked, made.arguments))
    link.request("workflows.create", source=made.source, **params)
    found: dict[str, Any] = link.request("workflows.get", name=name)
    return found | {"notes": [*made.notes]}


def _numbers(name: str, chosen: object, sources: dict[int, str]) -> list[int]:
    if not sources:
        raise WorkflowInvalidError("no cell has run here yet that a workflow could be made of", workflow=name)
    if chosen is None:
        return [max(sources)]
    if not isinstance(chosen, Iterable) or isinstance(chosen, str):
        raise WorkflowInvalidError(
            f"cells is a list of the numbers of cells, such as [{max(sources)}], not {chosen!r}", workflow=name
        )
    numbers = [*chosen]
    if not numbers:
        raise WorkflowInvalidError("cells is empty; name the cells to make a workflow of", workflow=name)
    for number in numbers:
        if not isinstance(number, int) or isinstance(number, bool) or number not in sources:
            raise WorkflowInvalidError(
                f"there is no cell {number!r} before this one; the last is {max(sources)}", workflow=name
            )
    return numbers


def _try(link: Link, names: dict[str, Any], name: str, checked: dict[str, Any], arguments: dict[str, Any]) -> Any:
    """What the workflow gives when it is called once, on copies where the values can be copied."""
    with on_trial(name, checked["path"]):
        token = _trying.set(True)
        try:
            run = run_of(execute(name, checked["source"], checked["path"], names), name)
            return run_sync(run(**{key: _copied(value) for key, value in arguments.items()}), link.release)
        except BaseException as error:  # noqa: BLE001 - whatever the code raises is its result
            give_way(error)
            told = tracebacks.plain(error, error.__traceback__)
        finally:
            _trying.reset(token)
    raise WorkflowTestError(
        f"the workflow {name!r} does not work on the values that its parameters have now, so it was not saved:\n"
        f"{told}\nIts source:\n{checked['source']}",
        workflow=name,
    )


def _copied(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - a copy is code of the value's class
        return value
