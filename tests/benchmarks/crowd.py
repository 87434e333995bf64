"""``python -m tests.benchmarks.crowd ours|stock COUNT AT_ONCE``: many sessions, opened, used and closed.

In a process of its own, so that its memory is that of one side. Prints JSON: ``wall``, seconds for all of them
after one to warm up, and ``failures``, what went wrong in each that failed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from .bench import Bench
from .signals import run


async def measure(side: str, count: int, at_once: int) -> dict[str, Any]:
    """What the module prints."""
    failures: list[str] = []
    async with Bench() as bench:
        one = {"ours": _ours, "stock": _stock}[side]
        await one(bench)
        free = asyncio.Semaphore(at_once)

        async def in_turn() -> None:
            async with free:
                try:
                    await one(bench)
                except Exception as error:  # noqa: BLE001 - what fails is what is counted
                    failures.append(f"{type(error).__name__}: {error}")

        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(in_turn())
        return {"wall": time.perf_counter() - begun, "failures": failures}


async def _ours(bench: Bench) -> None:
    async with bench.session() as session:
        result = await session.run("1+1")
        result.raise_for_error()
        if result.value != 2:
            raise ValueError(f"1+1 is {result.value!r}")


async def _stock(bench: Bench) -> None:
    kernel = await bench.start_stock()
    try:
        messages = await kernel.run("1+1")
        if not any(message["content"].get("data", {}).get("text/plain") == "2" for message in messages):
            raise ValueError("1+1 has no result")
        await kernel.close()
    finally:
        await kernel.kill()


if __name__ == "__main__":
    print(json.dumps(run(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
