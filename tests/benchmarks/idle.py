"""``python -m tests.benchmarks.idle ours|stock COUNT``: the memory of sessions that wait.

In a process of its own, where no earlier session has left freed memory behind. Prints bytes as JSON:
``kernels``, for each of COUNT sessions the ``pss`` and ``private`` memory of its own processes while all are open;
``common``, the same of the processes below the host that belong to no session; ``host``, what the host grew by for
all of them. The first session is not among them: it pays for the imports.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from contextlib import AsyncExitStack
from typing import Any

from tests.sessions import filled

from . import rollup
from .bench import Bench
from .signals import run


async def measure(side: str, count: int) -> dict[str, Any]:
    """What the module prints."""
    async with Bench() as bench, AsyncExitStack() as stack:

        async def open_one() -> int:
            if side == "ours":
                session = await stack.enter_async_context(bench.session())
                pid = int((await session.run("import os; os.getpid()")).value)
                await filled(session)
                return pid
            kernel = await stack.enter_async_context(bench.stock())
            await kernel.run("import os; os.getpid()")
            return kernel.pid

        first = await open_one()
        before = _of_host()["private"]
        pids = [await open_one() for _ in range(count)]
        host = _of_host()
        kernels = [rollup.of_tree(pid) for pid in pids]
        common = rollup.of_tree(os.getpid())
        for part in (host, rollup.of_tree(first), *kernels):
            common.subtract(part)
        return {"kernels": kernels, "common": common, "host": host["private"] - before}


def _of_host() -> dict[str, int]:
    gc.collect()
    return rollup.of(os.getpid())


if __name__ == "__main__":
    print(json.dumps(run(measure(sys.argv[1], int(sys.argv[2])))))
