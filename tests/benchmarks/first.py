"""``python -m tests.benchmarks.first ours|stock FOLDER PYTHON``: the first session of a process.

Prints seconds as JSON, timed from inside: ``start``, from before the first import to the result of ``1+1``,
and ``close``.
"""

from __future__ import annotations

import time

_BEGUN = time.perf_counter()

import json  # noqa: E402 - the imports are part of what is timed
import sys  # noqa: E402
from pathlib import Path  # noqa: E402


async def _ours(folder: Path, python: Path) -> tuple[float, float]:
    from tests.sessions import open_session

    async with open_session(folder) as session:
        result = await session.run("1+1")
        ready = time.perf_counter()
        await session.close()
        assert result.value == 2, result
    return ready, time.perf_counter()


async def _stock(folder: Path, python: Path) -> tuple[float, float]:
    from .stock import StockKernel

    kernel = await StockKernel.start(python, folder)
    try:
        messages = await kernel.run("1+1")
        ready = time.perf_counter()
        await kernel.close()
        assert any(message["content"].get("data") for message in messages)
        return ready, time.perf_counter()
    finally:
        await kernel.kill()


if __name__ == "__main__":
    from .signals import run

    side = {"ours": _ours, "stock": _stock}[sys.argv[1]]
    ready, closed = run(side(Path(sys.argv[2]), Path(sys.argv[3])))
    print(json.dumps({"start": ready - _BEGUN, "close": closed - ready}))
