"""Many sessions, many loops, many threads."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

from py_code_mode.session import Session

from .sessions import open_session


@pytest.mark.timeout(120)
async def test_twenty_sessions_at_once_work(tmp_path):
    async def one(number: int) -> tuple[int, str]:
        async with open_session(tmp_path / str(number)) as session:
            await session.run(f"import os; n = {number}")
            result = await session.run("print(n); n * n, os.getpid()")
            assert result.stdout == f"{number}\n"
            return result.value

    results = await asyncio.gather(*(one(number) for number in range(20)))
    assert [square for square, _ in results] == [number * number for number in range(20)]
    assert len({pid for _, pid in results}) == 20


def test_one_session_serves_several_loops_and_threads(shared: Session):
    answers: dict[int, int] = {}

    def work(number: int) -> None:
        async def ask() -> None:
            answers[number] = (await shared.run(f"{number} + 1")).value

        asyncio.run(ask())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == {number: number + 1 for number in range(8)}


async def test_a_blocked_loop_of_the_caller_starves_nothing(session: Session, tmp_path):
    """The run, its tool calls and its timeout go on while the caller's loop stands still."""
    done = tmp_path / "done"
    run = asyncio.ensure_future(
        session.run(f"artifacts.save('a', 1); open({str(done)!r}, 'w').close()\nwhile True: pass", timeout=0.5)
    )
    await asyncio.sleep(0)
    blocked = time.monotonic()
    while time.monotonic() < blocked + 2:
        os.sched_yield()
    assert done.exists()
    result = await run
    assert result.timed_out
    assert result.execution_time_ms < 1500


async def test_requests_from_many_threads_of_the_code_are_answered(shared: Session):
    result = await shared.run(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    for n in pool.map(lambda n: artifacts.save(f't/{n}', n) and n, range(40)): pass\n"
        "    total = sum(pool.map(lambda n: artifacts.load(f't/{n}'), range(40)))\ntotal"
    )
    assert result.value == sum(range(40))


async def test_requests_from_forked_children_are_answered(shared: Session):
    result = await shared.run(
        "import multiprocessing as mp\nartifacts.save('shared', 7)\n"
        "def load(_): return artifacts.load('shared')\n"
        "with mp.get_context('fork').Pool(2) as pool: got = pool.map(load, range(4))\ngot"
    )
    assert result.value == [7, 7, 7, 7]


async def test_interrupted_requests_leave_the_link_usable(shared: Session):
    for delay_ms in range(0, 20, 2):
        run = asyncio.ensure_future(shared.run("while True: artifacts.exists('x')", timeout=None))
        asyncio.get_running_loop().call_later(delay_ms / 1000, shared.interrupt)
        assert (await run).error_name == "KeyboardInterrupt"
        assert (await shared.run("artifacts.exists('no')")).value is False
