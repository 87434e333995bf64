"""Memory, large artifacts, and many sessions at once."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from py_code_mode.session import Session
from tests.memory import Peaks

from .bench import Bench
from .measure import Row, alternate, median_row, seconds

_GIGABYTE = 1_000_000_000


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


async def gigabyte(bench: Bench) -> list[Row]:
    """Bytes of 1 GB as an artifact: how long it takes, and by how much the host and the kernel grow meanwhile."""
    if not Path("/proc/self/clear_refs").exists():
        return []
    rounds = bench.count(3, 1)
    steps = {"save": "saved = artifacts.save('gigabyte', data)", "load": "data = artifacts.load('gigabyte')"}
    taken: dict[str, list[float]] = {step: [] for step in steps}
    grown: dict[tuple[str, str], list[float]] = {(step, side): [] for step in steps for side in ("host", "kernel")}
    async with bench.session(timeout=None) as session:
        await session.run(f"import os; data = os.urandom(1_000_000) * {_GIGABYTE // 1_000_000}")
        kernel = (await session.run("os.getpid()")).value
        for _ in range(rounds):
            for step, code in steps.items():
                if step == "load":
                    await session.run("del data")
                peaks = Peaks(os.getpid(), kernel)
                taken[step].append(await seconds(_run(session, code)))
                grown[step, "host"].append(peaks.of(os.getpid()))
                grown[step, "kernel"].append(peaks.of(kernel))
    rows = [median_row(f"artifact of 1 GB: {step}", taken[step], []) for step in steps]
    note = "beyond what it had before; of the kernel that loads, the value itself is 1 GB"
    for (step, side), samples in grown.items():
        what = f"artifact of 1 GB: growth of the {side} during {step}"
        rows.append(Row(what=what, ours=statistics.median(samples), stock=None, n=rounds, unit="B", note=note))
    return rows


async def _run(session: Session, code: str) -> None:
    (await session.run(code)).raise_for_error()


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
