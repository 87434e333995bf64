"""Memory, and many sessions at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from .bench import Bench
from .measure import Row, alternate, median_row


async def memory(bench: Bench) -> list[Row]:
    """Of idle kernels that have run one cell, and of their host; see ``idle``."""
    if not Path("/proc/self/smaps_rollup").exists():
        return []
    await bench.venv()
    count = bench.count(5, 2)
    mine = await bench.child("idle", "ours", str(count))
    theirs = await bench.child("idle", "stock", str(count))
    rows = [
        median_row(
            f"memory of one more idle kernel, {what}",
            [kernel[key] for kernel in mine["kernels"]],
            [kernel[key] for kernel in theirs["kernels"]],
            unit="B",
        )
        for key, what in (("pss", "PSS"), ("private", "private"))
    ]
    ours, stock = mine["host"] / count, theirs["host"] / count
    return [*rows, Row(what="memory of the host for each", ours=ours, stock=stock, n=count, unit="B")]


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

    mine, theirs = await alternate(1, partial(_together, ours, count), partial(_together, stock, count))
    return [median_row(f"{count} sessions at once: start, `1+1`, close, wall time", mine, theirs)]


async def _together(one: Callable[[], Coroutine[Any, Any, None]], count: int) -> float:
    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(one())
    return time.perf_counter() - begun
