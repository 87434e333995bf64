"""From cells that were run to a workflow that is kept: drafted, called once, saved."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from . import tracebacks
from .cells import Cells
from .compiled import execute, run_of
from .doctests import give_way
from .errors import WorkflowInvalidError, WorkflowTestError
from .link import Link
from .loops import run_sync
from .promote import UNKNOWN, Draft, draft


def promoted(
    link: Link,
    names: dict[str, Any],
    cells: Cells,
    name: str,
    description: str,
    chosen: Sequence[int] | None,
    tags: Sequence[str] | None,
) -> dict[str, Any]:
    """What ``Workflows.promote`` gives. ``names`` are the globals of workflows, ``chosen`` the numbers of cells."""
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


def _numbers(name: str, chosen: Sequence[int] | None, sources: dict[int, str]) -> list[int]:
    if not sources:
        raise WorkflowInvalidError("no cell has run here yet that a workflow could be made of", workflow=name)
    numbers = [max(sources)] if chosen is None else [*chosen]
    if not numbers:
        raise WorkflowInvalidError("cells is empty; name the cells to make a workflow of", workflow=name)
    for number in numbers:
        if isinstance(number, bool) or number not in sources:
            raise WorkflowInvalidError(
                f"there is no cell {number!r} before this one; the last is {max(sources)}", workflow=name
            )
    return numbers


def _try(link: Link, names: dict[str, Any], name: str, checked: dict[str, Any], arguments: dict[str, Any]) -> Any:
    """What the workflow gives when it is called once, on copies where the values can be copied."""
    try:
        run = run_of(execute(name, checked["source"], checked["path"], names), name)
        return run_sync(run(**{key: _copied(value) for key, value in arguments.items()}), link.release)
    except BaseException as error:  # noqa: BLE001 - whatever the code raises is its result
        give_way(error)
        told = tracebacks.plain(error, error.__traceback__)
        raise WorkflowTestError(
            f"the workflow {name!r} does not work on the values that its parameters have now, so it was not saved:\n"
            f"{told}\nIts source:\n{checked['source']}",
            workflow=name,
        ) from None


def _copied(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - a copy is code of the value's class
        return value
