"""What code in the kernel asks of its host: a link request, a tool, artifacts. Timed in the kernel."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq

from py_code_mode.session import Session

from . import in_kernel
from .bench import Bench
from .measure import Aim, Row, alternate, median_row, percentile_rows

_FRAMES = (200, 60)
"""Bytes of the frames that are echoed: those of a small request."""

_TOOL = 'name: noop\ndescription: Do nothing\ncommand: "true"\n'

_WORKFLOW = "async def run() -> None:\n    pass\n"

_BULK = 100_000_000


async def link(bench: Bench) -> list[Row]:
    """``artifacts.exists`` against a bare echo between the same two processes."""
    count = bench.count(1000, 300)
    async with bench.session() as session:
        await _prepare(session)
        with _echo_server(f"ipc://{bench.folder()}/echo") as endpoint:
            calls = f"lambda: artifacts.exists('x'), echo({endpoint!r}, {_FRAMES!r})"
            mine, theirs = await _value(session, f"interleaved({count}, 50, {calls})")
    note = "against a bare DEALER/ROUTER echo over ipc between the same two processes"
    return percentile_rows("link request `artifacts.exists`", mine, theirs, aims=(Aim(ratio=2), None), note=note)


async def workflow(bench: Bench) -> list[Row]:
    """What running a workflow costs, beside asking whether it has changed."""
    count = bench.count(1000, 300)
    async with bench.session() as session:
        await _prepare(session)
        await _value(session, f"workflows.create('empty', {_WORKFLOW!r}, 'Do nothing')")
        calls = "workflows.empty, lambda: artifacts.exists('x')"
        mine, request = await _value(session, f"interleaved({count}, 50, {calls})")
    beyond = statistics.median(mine) - statistics.median(request)
    what = "workflow call of an empty `async def run`, beyond one link request"
    return [Row(what=what, ours=beyond, stock=None, n=count, aim=Aim(amount=0.0005))]


async def tool(bench: Bench) -> list[Row]:
    """A tool that runs ``true``, against ``subprocess.run`` where the code is and where the tool is run."""
    async with bench.session() as session:
        folder = Path(await _value(session, "import os; os.getcwd()")) / "tools"
        folder.mkdir()
        (folder / "noop.yaml").write_text(_TOOL)
        await _prepare(session)

        async def in_session() -> list[list[float]]:
            found: list[list[float]] = await _value(session, "interleaved(10, 10, tools.noop, bare_run)")
            return found

        async def on_host() -> list[list[float]]:
            return in_kernel.interleaved(10, 10, in_kernel.bare_run)

        blocks, outside = await alternate(bench.count(20, 5), in_session, on_host)
    mine, inside = ([second for block in blocks for second in block[side]] for side in (0, 1))
    what, aim = "CLI tool that runs `true`", Aim(ratio=1.2)
    call = '`subprocess.run(["true"], capture_output=True)`'
    return [
        median_row(what, mine, inside, aim=aim, note=f"against {call} in the same kernel"),
        median_row(
            what, mine, [second for [block] in outside for second in block], aim=aim, note=f"against {call} on the host"
        ),
    ]


async def artifacts(bench: Bench) -> list[Row]:
    """100 MB, against a plain file that is written and read in the kernel."""
    rounds = bench.count(5, 1)
    rows = []
    async with bench.session(timeout=120.0) as session:
        await _prepare(session)
        await _value(session, f"data = os.urandom(1_000_000) * {_BULK // 1_000_000}", "import os")
        for kind in ("bytes", "bytearray"):
            taken = await _value(session, f"bulk(artifacts, {kind}(data), {rounds}, 'plain')")
            note = "against a plain file, written and read in the same kernel"
            rows.append(median_row(f"artifact of 100 MB: save {kind}", taken["save"], taken["write"], note=note))
            if kind == "bytes":
                rows.append(median_row("artifact of 100 MB: load", taken["load"], taken["read"], note=note))
    return rows


async def _prepare(session: Session) -> None:
    await _value(session, Path(in_kernel.__file__).read_text())


async def _value(session: Session, *cells: str) -> Any:
    """The value of the first cell, after the others."""
    for code in (*cells[1:], cells[0]):
        result = await session.run(code)
        result.raise_for_error()
    return result.value


@contextmanager
def _echo_server(endpoint: str) -> Iterator[str]:
    context: zmq.Context[Any] = zmq.Context()
    router: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
    router.linger = 0
    router.bind(endpoint)

    def serve() -> None:
        try:
            while True:
                router.send_multipart(router.recv_multipart())
        except zmq.ContextTerminated:
            router.close()

    thread = threading.Thread(target=serve, name="echo")
    thread.start()
    try:
        yield endpoint
    finally:
        context.term()
        thread.join()
