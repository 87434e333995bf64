"""Memory, and many sessions at once."""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import time
from contextlib import AsyncExitStack
from pathlib import Path

from .bench import Bench
from .measure import Row, alternate, median_row


async def memory(bench: Bench) -> list[Row]:
    """Of an idle kernel that has run one cell, and of the host for each."""
    if not Path("/proc/self/smaps_rollup").exists():
        return []
    await bench.pair()
    count = bench.count(4, 2)

    async def ours() -> tuple[list[dict[str, int]], int]:
        async with AsyncExitStack() as stack:
            before = _memory(os.getpid())["Private"]
            pids = []
            for _ in range(count):
                session = await stack.enter_async_context(bench.session())
                pids.append((await session.run("import os; os.getpid()")).value)
            return [_memory(pid) for pid in pids], _memory(os.getpid())["Private"] - before

    async def stock() -> tuple[list[dict[str, int]], int]:
        async with AsyncExitStack() as stack:
            before = _memory(os.getpid())["Private"]
            kernels = [await stack.enter_async_context(bench.stock()) for _ in range(count)]
            for kernel in kernels:
                await kernel.run("import os; os.getpid()")
            found = [_memory(kernel.pid) for kernel in kernels]
            return found, _memory(os.getpid())["Private"] - before

    [(mine, host)], [(theirs, stock_host)] = await alternate(1, ours, stock)
    return [
        *(
            median_row(
                f"memory of an idle kernel: {what}",
                [item[key] for item in mine],
                [item[key] for item in theirs],
                unit="B",
            )
            for key, what in (("Pss", "PSS"), ("Private", "private"))
        ),
        Row(
            what="memory of the host for each", ours=host / count, stock=stock_host / count, n=count, unit="B"
        ),
    ]


def _memory(pid: int) -> dict[str, int]:
    """Bytes of a process: ``Pss``, and ``Private``, clean and dirty."""
    if pid == os.getpid():
        gc.collect()
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, amount, *_ = line.split()
        fields[name.rstrip(":")] = int(amount) * 1024
    return {"Pss": fields["Pss"], "Private": fields["Private_Clean"] + fields["Private_Dirty"]}


async def many(bench: Bench) -> list[Row]:
    """Sessions opened, used and closed at once."""
    await bench.pair()
    count = bench.count(20, 4)

    async def ours() -> None:
        async with bench.session(start_timeout=120.0) as session:
            (await session.run("1+1")).raise_for_error()

    async def stock() -> None:
        kernel = await bench.start_stock()
        try:
            await kernel.run("1+1")
            await kernel.close()
        finally:
            await kernel.kill()

    async def together(one: object) -> float:
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(one())  # type: ignore[operator]
        return time.perf_counter() - begun

    mine, theirs = await alternate(1, lambda: together(ours), lambda: together(stock))
    what = f"{count} sessions at once: start, `1+1`, close, wall time"
    return [Row(what=what, ours=statistics.median(mine), stock=statistics.median(theirs), n=1)]
