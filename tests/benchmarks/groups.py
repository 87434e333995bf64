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
    "reset": starts.reset,
    "run": cells.run,
    "link": links.link,
    "tool": links.tool,
    "deadline": cells.deadline,
    "memory": footprint.memory,
    "artifacts": links.artifacts,
    "gigabyte": footprint.gigabyte,
    "output": cells.output,
    "many": footprint.many,
}
