"""Imports, starts, resets and ends."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from tests.sessions import open_session

from .bench import Bench
from .measure import Row, alternate, median_row, seconds

_IMPORTS = {
    "`import py_code_mode`": "import py_code_mode",
    "`from py_code_mode import Session`": "from py_code_mode import Session",
}


async def imports(bench: Bench) -> list[Row]:
    """Beyond bare Python; the other side is ``import jupyter_client``."""

    def timer(code: str) -> Any:
        async def once() -> float:
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)  # noqa: ASYNC221 - nothing else is to run
            return time.perf_counter() - started

        return once

    sides = [timer(code) for code in ("pass", "import jupyter_client", *_IMPORTS.values())]
    await alternate(1, *sides)  # compiles what is not compiled
    bare, stock, *ours = await alternate(bench.count(15, 5), *sides)
    floor = median_row("", bare, []).ours
    beyond = [[sample - floor for sample in samples] for samples in (stock, *ours)]
    return [
        median_row(f"{what}, beyond bare Python", mine, beyond[0])
        for what, mine in zip(_IMPORTS, beyond[1:], strict=True)
    ]


async def first(bench: Bench) -> list[Row]:
    """In new processes that import, start and run ``1+1``."""
    venv = await bench.venv()

    async def ours() -> dict[str, float]:
        return await bench.child("first", "ours", str(bench.folder()), str(venv.python))

    async def stock() -> dict[str, float]:
        return await bench.child("first", "stock", str(bench.folder()), str(venv.python))

    await alternate(1, ours, stock)
    mine, theirs = await alternate(bench.count(7, 2), ours, stock)
    return [
        median_row(what, [taken[key] for taken in mine], [taken[key] for taken in theirs])
        for key, what in (
            ("start", "first session of a process: imports, start, `1+1`"),
            ("close", "`close()` of the last session"),
        )
    ]


async def following(bench: Bench) -> list[Row]:
    """In this process, which has an open session already."""
    await bench.pair()

    async def ours() -> tuple[float, float]:
        session = open_session(bench.folder())
        begun = time.perf_counter()
        try:
            await session.start()
            await session.run("1+1")
            started = time.perf_counter()
        finally:
            await session.close()
        return started - begun, time.perf_counter() - started

    async def stock() -> tuple[float, float]:
        begun = time.perf_counter()
        kernel = await bench.start_stock()
        try:
            await kernel.run("1+1")
            started = time.perf_counter()
            await kernel.close()
            closed = time.perf_counter()
        finally:
            await kernel.kill()
        return started - begun, closed - started

    await alternate(1, ours, stock)
    mine, theirs = await alternate(bench.count(9, 2), ours, stock)
    return [
        median_row(what, [taken[index] for taken in mine], [taken[index] for taken in theirs])
        for index, what in enumerate(("next session: start, `1+1`", "`close()`"))
    ]


async def reset(bench: Bench) -> list[Row]:
    """Until the new kernel is ready."""
    async with bench.session() as session, bench.stock() as kernel:
        mine, theirs = await alternate(
            bench.count(7, 2), lambda: seconds(session.reset()), lambda: seconds(kernel.restart())
        )
    return [median_row("`reset()`", mine, theirs, note="stock: `restart_kernel`, `wait_for_ready`")]
