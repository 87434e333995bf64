"""All groups of figures, in the order of the table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from . import cells, footprint, links, starts
from .bench import Bench
from .measure import Row

GROUPS: dict[str, Callable[[Bench], Awaitable[list[Row]]]] = {
    "import": starts.imports,
    "first": starts.first,
    "next": starts.following,
    "demand": starts.on_demand,
    "nothing": starts.from_nothing,
    "reset": starts.reset,
    "run": cells.run,
    "link": links.link,
    "tool": links.tool,
    "workflow": links.workflow,
    "deadline": cells.deadline,
    "memory": footprint.memory,
    "many": footprint.many,
    "artifacts": links.artifacts,
    "gigabyte": footprint.gigabyte,
    "output": cells.output,
}
