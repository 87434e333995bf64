"""Imports, starts, resets and ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from py_code_mode.executors.kernel import SubprocessExecutor
from py_code_mode.kernel.venv import VenvSpec, ensure_venv, release_venv
from py_code_mode.kernel.venv_layout import cache_root, identity_name
from py_code_mode.session import Session
from py_code_mode.storage.file import FileStorage
from tests.sessions import filled, open_session

from .bench import Bench
from .measure import Aim, Row, alternate, median_row, seconds

_IMPORTS = {
    "`import py_code_mode`": ("import py_code_mode", Aim(amount=0.04)),
    "`from py_code_mode import Session`": ("from py_code_mode import Session", None),
}


async def imports(bench: Bench) -> list[Row]:
    """Beyond bare Python; the other side is ``import jupyter_client``."""

    def timer(code: str) -> Any:
        async def once() -> float:
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)  # noqa: ASYNC221 - nothing else is to run
            return time.perf_counter() - started

        return once

    sides = [timer(code) for code in ("pass", "import jupyter_client", *(code for code, _ in _IMPORTS.values()))]
    await alternate(1, *sides)  # compiles what is not compiled
    bare, stock, *ours = await alternate(bench.count(15, 5), *sides)
    floor = median_row("", bare, []).ours
    beyond = [[sample - floor for sample in samples] for samples in (stock, *ours)]
    return [
        median_row(f"{what}, beyond bare Python", mine, beyond[0], aim=aim, note="stock: `import jupyter_client`")
        for (what, (_, aim)), mine in zip(_IMPORTS.items(), beyond[1:], strict=True)
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
        median_row(what, [taken[key] for taken in mine], [taken[key] for taken in theirs], aim=aim)
        for key, what, aim in (
            ("start", "first session of a process: imports, start, `1+1`", Aim(ratio=1 / 2)),
            ("close", "`close()` of the last session", None),
        )
    ]


async def following(bench: Bench) -> list[Row]:
    """In this process, which has an open session and a spare kernel: in the same virtualenv, and in workspaces of
    their own."""
    async with bench.session() as open_already:

        async def following() -> tuple[float, float]:
            folder = bench.folder()
            await filled(open_already)
            return await _ours(lambda: open_session(folder))

        async def another() -> tuple[float, float]:
            folder = bench.folder()
            await release_venv(await ensure_venv(VenvSpec(identity=FileStorage(folder).identity)))
            await filled(open_already)
            return await _in_own(folder)

        async def new() -> tuple[float, float]:
            folder = bench.folder() / "new"
            await filled(open_already)
            return await _in_own(folder)

        sides = following, another, new, lambda: _stock(bench)
        await alternate(1, *sides)
        *mine, theirs = await alternate(bench.count(9, 2), *sides)
    whats = (
        ("next session, a spare ready: start, `1+1`", Aim(ratio=1 / 40)),
        ("first session of another workspace that has its virtualenv", Aim(ratio=1 / 5)),
        ("a new workspace, from nothing", Aim(ratio=1)),
    )
    starts = [start for start, _ in theirs]
    rows = [
        median_row(what, [start for start, _ in samples], starts, aim=aim)
        for (what, aim), samples in zip(whats, mine, strict=True)
    ]
    return [*rows, median_row("`close()`", [close for _, close in mine[0]], [close for _, close in theirs])]


async def on_demand(bench: Bench) -> list[Row]:
    """The next session where no spare kernels are kept."""
    async with bench.session(spares=0):

        async def ours() -> float:
            folder = bench.folder()
            return (await _ours(lambda: open_session(folder, spares=0)))[0]

        async def stock() -> float:
            return (await _stock(bench))[0]

        await alternate(1, ours, stock)
        mine, theirs = await alternate(bench.count(9, 2), ours, stock)
    return [median_row("next session, forked on demand", mine, theirs, aim=Aim(ratio=1 / 10))]


async def from_nothing(bench: Bench) -> list[Row]:
    """The very first workspace of a machine, but for what uv has downloaded; stock has its virtualenv."""

    async def ours() -> float:
        with _empty_cache(bench.folder()):
            return (await _in_own(bench.folder() / "new"))[0]

    async def stock() -> float:
        return (await _stock(bench))[0]

    await alternate(1, ours, stock)
    mine, theirs = await alternate(bench.count(2, 1), ours, stock)
    return [median_row("a new workspace where the base virtualenv is made as well", mine, theirs, aim=Aim(ratio=1))]


async def reset(bench: Bench) -> list[Row]:
    """Until the new kernel is ready."""
    async with bench.session() as session, bench.stock() as kernel:

        async def ours() -> float:
            await filled(session)
            return await seconds(session.reset())

        async def stock() -> float:
            return await seconds(kernel.restart())

        await alternate(1, ours, stock)
        mine, theirs = await alternate(bench.count(7, 2), ours, stock)
    note = "stock: `restart_kernel`, `wait_for_ready`"
    return [median_row("`reset()`, a spare ready", mine, theirs, aim=Aim(ratio=1 / 40), note=note)]


async def _in_own(base: Path) -> tuple[float, float]:
    """``_ours`` in a workspace with a virtualenv of its own, which is removed."""
    try:
        return await _ours(lambda: Session(FileStorage(base), SubprocessExecutor()))
    finally:
        shutil.rmtree(cache_root(None) / identity_name(FileStorage(base).identity))


async def _ours(make: Callable[[], Session]) -> tuple[float, float]:
    """Seconds until the first result, and of close."""
    begun = time.perf_counter()
    session = make()
    try:
        await session.start()
        result = await session.run("1+1")
        started = time.perf_counter()
    finally:
        await session.close()
    closed = time.perf_counter()
    result.raise_for_error()
    return started - begun, closed - started


async def _stock(bench: Bench) -> tuple[float, float]:
    """The same of a stock kernel."""
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


@contextmanager
def _empty_cache(folder: Path) -> Iterator[None]:
    before = os.environ["PY_CODE_MODE_CACHE"]
    os.environ["PY_CODE_MODE_CACHE"] = str(folder)
    try:
        yield
    finally:
        os.environ["PY_CODE_MODE_CACHE"] = before
        shutil.rmtree(folder)
