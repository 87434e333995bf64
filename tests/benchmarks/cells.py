"""Cells: the round trip, the deadline, the output."""

from __future__ import annotations

import time
from functools import partial
from itertools import chain

from py_code_mode.session import Session
from tests.sessions import filled

from .bench import Bench
from .measure import Aim, Row, alternate, median_row, percentile_rows, seconds
from .stock import StockKernel

_BLOCK = 25

_DEADLINE = 0.5
_GRACE = 2.0

_STUCK = {
    "`while True: pass`": ("while True: pass", Aim(amount=0.05)),
    "a parked `await`": ("import asyncio\nawait asyncio.sleep(60)", Aim(amount=0.25)),
    # It sleeps, because CPython lets an interrupt at the jump of a busy loop escape from a ``try`` around it.
    "code that swallows KeyboardInterrupt": (
        "import time\nwhile True:\n    try: time.sleep(60)\n    except KeyboardInterrupt: pass",
        None,
    ),
}

_BY_HAND = (
    "stock: `execute_interactive(timeout=0.5)`, `interrupt_kernel`, the next cell; "
    f"a restart if that has no answer within the same grace, {_GRACE:g} s"
)

_LINE = 1024
_LINES = 50_000
_FLOOD = f"line = 'x' * {_LINE - 1}\nfor _ in range({_LINES}): print(line)"


async def run(bench: Bench) -> list[Row]:
    """``1+1``, against ``execute_interactive``."""
    async with bench.session() as session, bench.stock() as kernel:
        await filled(session)

        async def ours() -> list[float]:
            return [await seconds(session.run("1+1")) for _ in range(_BLOCK)]

        async def stock() -> list[float]:
            return [await seconds(kernel.run("1+1")) for _ in range(_BLOCK)]

        await alternate(1, ours, stock)
        mine, theirs = await alternate(bench.count(1000, 100) // _BLOCK, ours, stock)
    aim = Aim(ratio=1 / 2)
    return percentile_rows('`run("1+1")`', list(chain(*mine)), list(chain(*theirs)), aims=(aim, aim))


async def deadline(bench: Bench) -> list[Row]:
    """From the deadline of a stuck cell to the result of the next; stock by hand: interrupt, else restart."""
    rows = []
    async with bench.session(interrupt_grace=_GRACE) as session, bench.stock() as kernel:
        for what, (code, aim) in _STUCK.items():
            rounds = bench.count(2 if "swallows" in what else 5, 1)
            mine, theirs = await alternate(rounds, partial(_ours, session, code), partial(_stock, kernel, code))
            rows.append(median_row(f"deadline to usable: {what}", mine, theirs, aim=aim, note=_BY_HAND))
    return rows


async def _ours(session: Session, code: str) -> float:
    begun = time.perf_counter()
    stuck = await session.run(code, timeout=_DEADLINE)
    after = await session.run("1")
    taken = time.perf_counter() - begun - _DEADLINE
    if not stuck.timed_out or after.value != 1:
        raise RuntimeError(f"the cell was not stuck, or the next failed: {stuck!r}, {after!r}")
    return taken


async def _stock(kernel: StockKernel, code: str) -> float:
    begun = time.perf_counter()
    try:
        await kernel.run(code, timeout=_DEADLINE)
    except TimeoutError:
        await kernel.interrupt()
    try:
        await kernel.run("1", timeout=_GRACE)
    except TimeoutError:
        await kernel.restart(now=True)
        await kernel.run("1")
    return time.perf_counter() - begun - _DEADLINE


async def output(bench: Bench) -> list[Row]:
    """50 MB in lines of 1 KB, all of it kept by both."""
    size = _LINE * _LINES
    received: list[int] = []
    async with bench.session(max_output_bytes=None, timeout=120.0) as session, bench.stock() as kernel:

        async def ours() -> float:
            begun = time.perf_counter()
            result = await session.run(_FLOOD)
            taken = time.perf_counter() - begun
            if len(result.stdout) != size:
                raise RuntimeError(f"{len(result.stdout)} of {size} bytes arrived: {result.error}")
            return size / taken

        async def stock() -> float:
            begun = time.perf_counter()
            messages = await kernel.run(_FLOOD)
            texts = [item["content"]["text"] for item in messages if item["msg_type"] == "stream"]
            received.append(len("".join(texts)))
            return size / (time.perf_counter() - begun)

        mine, theirs = await alternate(bench.count(3, 1), ours, stock)
    lost = size - min(received)
    note = "more is better" + (f"; stock lost {lost / size:.0%} of it once" if lost else "")
    return [median_row("printing 50 MB in lines of 1 KB", mine, theirs, unit="B/s", note=note)]
