"""``python -m tests.benchmarks.idle ours|stock COUNT``: the memory of sessions that wait.

In a process of its own, where no earlier session has left freed memory behind. Prints bytes as JSON:
``kernels``, for each of COUNT kernels its ``pss`` and ``private`` memory, and ``host``, what the host grew by
for all of them. The first session is not among them: it pays for the imports.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from .bench import Bench
from .signals import run


async def measure(side: str, count: int) -> dict[str, Any]:
    """What the module prints."""
    async with Bench() as bench, AsyncExitStack() as stack:

        async def open_one() -> int:
            if side == "ours":
                session = await stack.enter_async_context(bench.session())
                return int((await session.run("import os; os.getpid()")).value)
            kernel = await stack.enter_async_context(bench.stock())
            await kernel.run("import os; os.getpid()")
            return kernel.pid

        await open_one()
        before = _memory(os.getpid())["private"]
        pids = [await open_one() for _ in range(count)]
        host = _memory(os.getpid())["private"] - before
        return {"kernels": [_memory(pid) for pid in pids], "host": host}


def _memory(pid: int) -> dict[str, int]:
    gc.collect()
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, amount, *_ = line.split()
        fields[name.rstrip(":")] = int(amount) * 1024
    return {"pss": fields["Pss"], "private": fields["Private_Clean"] + fields["Private_Dirty"]}


if __name__ == "__main__":
    print(json.dumps(run(measure(sys.argv[1], int(sys.argv[2])))))
