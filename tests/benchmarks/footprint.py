"""Memory, large artifacts, and many sessions at once."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
from pathlib import Path

from py_code_mode.session import Session
from tests.memory import Peaks

from . import rollup
from .bench import Bench
from .measure import Aim, Row, alternate, median_row, seconds

_GIGABYTE = 1_000_000_000

_SAMPLE_EVERY = 0.5
"""Adding up the memory of a tree costs it some milliseconds a process, seconds."""


async def memory(bench: Bench) -> list[Row]:
    """Of idle sessions that have run one cell, while all are open, and of what they share; see ``idle``."""
    if not rollup.AVAILABLE:
        return []
    await bench.venv()
    count = bench.count(8, 2)
    mine = await bench.child("idle", "ours", str(count))
    theirs = await bench.child("idle", "stock", str(count))
    rows = [
        median_row(
            f"memory of one more idle session, {what}",
            [kernel[key] for kernel in mine["kernels"]],
            [kernel[key] for kernel in theirs["kernels"]],
            unit="B",
            aim=Aim(ratio=1 / 3),
            note=f"of its own processes, {count + 1} open",
        )
        for key, what in (("private", "private"), ("pss", "PSS"))
    ]
    ours, stock = mine["host"] / count, theirs["host"] / count
    common = "supervisor, fork server and one spare kernel, however many sessions"
    return [
        *rows,
        Row(what="memory that sessions share, PSS", ours=mine["common"]["pss"], stock=None, n=1, unit="B", note=common),
        Row(what="memory of the host for each", ours=ours, stock=stock, n=count, unit="B"),
    ]


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
    """Sessions opened, used and closed, a number of them at a time; see ``crowd``."""
    if not rollup.AVAILABLE:
        return []
    await bench.venv()
    count, at_once = bench.count(100, 4), bench.count(20, 2)

    async def side(name: str) -> tuple[float, float, float]:
        peak = 0

        async def watch(pid: int) -> None:
            nonlocal peak
            while True:
                peak = max(peak, rollup.of_tree(pid)["pss"])
                await asyncio.sleep(_SAMPLE_EVERY)

        found = await bench.child("crowd", name, str(count), str(at_once), watch=watch)
        for failure in found["failures"]:
            print(f"{name}: {failure}", file=sys.stderr)
        return found["wall"], len(found["failures"]), float(peak)

    [mine], [theirs] = await alternate(1, lambda: side("ours"), lambda: side("stock"))
    what = f"{count} sessions, {at_once} at a time"
    note = "start, `1+1`, close; memory is the PSS of the host and all below it, the highest of two samples a second"
    return [
        Row(what=f"{what}: failures", ours=mine[1], stock=theirs[1], n=1, unit="", aim=Aim(amount=0), note=note),
        Row(what=f"{what}: wall time", ours=mine[0], stock=theirs[0], n=1, note=note),
        Row(what=f"{what}: peak memory", ours=mine[2], stock=theirs[2], n=1, unit="B", note=note),
    ]
