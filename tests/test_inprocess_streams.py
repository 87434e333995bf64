"""What in-process code writes and reads: each run has its own streams, the process keeps its."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import sys
import threading
from pathlib import Path

import pytest

from py_code_mode.inprocess.cell import Cell
from py_code_mode.inprocess.gate import Gate
from py_code_mode.results import OutputCollector
from py_code_mode.session import Session

BARRIER = threading.Barrier(2)


@pytest.fixture
async def session(tmp_path: Path):
    async with Session.inprocess(tmp_path) as opened:
        yield opened


async def test_two_sessions_that_print_at_once_get_their_own(tmp_path: Path):
    async with Session.inprocess(tmp_path / "a") as a, Session.inprocess(tmp_path / "b") as b:
        for name, session in (("a", a), ("b", b)):
            await session.run(f"import sys, threading\nbarrier, name = [], {name!r}")
            (await session.run("barrier")).value.append(BARRIER)
        code = "barrier[0].wait(20)\nfor i in range(500):\n    print(name)\n    print(name, file=sys.stderr)"
        of_a, of_b = await asyncio.gather(a.run(code), b.run(code))
        assert (of_a.stdout, of_a.stderr) == ("a\n" * 500, "a\n" * 500)
        assert (of_b.stdout, of_b.stderr) == ("b\n" * 500, "b\n" * 500)


async def test_the_process_keeps_printing_to_its_own_stdout(session: Session, capsys: pytest.CaptureFixture[str]):
    await session.run("import threading\nbegun, go = threading.Event(), threading.Event()")
    begun, go = (await session.run("begun, go")).value
    run = asyncio.ensure_future(session.run("print('of the code')\nbegun.set()\ngo.wait(20)"))
    await asyncio.to_thread(begun.wait, 20)
    print("of the process")
    thread = threading.Thread(target=print, args=("of its thread",))
    thread.start()
    thread.join()
    go.set()
    assert (await run).stdout == "of the code\n"
    assert capsys.readouterr().out == "of the process\nof its thread\n"


async def test_threads_pools_and_tasks_print_for_the_run_that_started_them(session: Session):
    result = await session.run(
        "import asyncio, threading\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "thread = threading.Thread(target=print, args=('thread',))\nthread.start()\nthread.join()\n"
        "pool = ThreadPoolExecutor(1)\npool.submit(print, 'pool').result()\n"
        "async def task(): print('task')\nawait asyncio.create_task(task())\n"
        "await asyncio.to_thread(print, 'to_thread')"
    )
    assert result.stdout == "thread\npool\ntask\nto_thread\n"
    assert (await session.run("pool.submit(print, 'again').result()")).stdout == "again\n"


async def test_late_output_never_gets_into_a_later_run(session: Session, capfd: pytest.CaptureFixture[str]):
    await session.run(
        "import asyncio, threading\ngo = threading.Event()\n"
        "def late():\n    go.wait()\n    print('late from a thread')\n"
        "thread = threading.Thread(target=late)\nthread.start()\n"
        "async def later():\n    while not go.is_set(): await asyncio.sleep(0)\n    print('late from a task')\n"
        "task = asyncio.create_task(later())"
    )
    result = await session.run("print('mine')\ngo.set()\nthread.join()\nawait task\nprint('and mine')")
    assert (result.error, result.stdout) == (None, "mine\nand mine\n")
    assert capfd.readouterr().out == ""


PIECE = "x" * 300_000
"""Four of them are more than may wait for the engine."""


def flood(cell: Cell, threads: int, pieces: int) -> list[threading.Thread]:
    """Threads that write to ``cell``, which is one of this loop; they end after ``pieces`` each."""

    def write() -> None:
        for _ in range(pieces):
            cell.write("stdout", PIECE)

    started = [threading.Thread(target=write) for _ in range(threads)]
    for thread in started:
        thread.start()
    return started


async def test_threads_that_write_faster_than_is_read_are_held_back_and_lose_nothing():
    collector = OutputCollector(None, None)
    cell = Cell("", collector, Gate())
    threads = flood(cell, threads=3, pieces=50)
    for thread in threads:  # nothing is read before the loop goes on
        thread.join(0.02)
    assert [thread.is_alive() for thread in threads] == [True] * 3
    while any(thread.is_alive() for thread in threads):
        await asyncio.sleep(0)
    assert len(cell.outputs()["stdout"]) == 3 * 50 * len(PIECE)


async def test_threads_that_are_held_back_go_on_when_the_run_ends():
    cell = Cell("", OutputCollector(None, None), Gate())
    threads = flood(cell, threads=3, pieces=50)
    for thread in threads:
        thread.join(0.02)
    cell.end()
    for thread in threads:  # the loop does not go on meanwhile
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("end", ["timeout", "interrupt", "close"])
async def test_a_flood_is_ended_like_any_code_and_its_threads_go_on(session: Session, end: str):
    names = "import threading\nbegun, stop, threads = threading.Event(), threading.Event(), []\nbegun, stop, threads"
    begun, stop, threads = (await session.run(names)).value
    code = (
        "def flood():\n    while not stop.is_set(): print('thread' * 50_000)\n"
        "threads += [threading.Thread(target=flood) for _ in range(2)]\nfor thread in threads: thread.start()\n"
        "while True:\n    print('x' * 300_000)\n    begun.set()"
    )
    run = asyncio.ensure_future(session.run(code, timeout=0.2 if end == "timeout" else 20))
    if end != "timeout":
        await asyncio.to_thread(begun.wait, 20)
        if end == "interrupt":
            session.interrupt()
        else:
            await session.close()
    assert (await run).error_name == ("TimeoutError" if end == "timeout" else "KeyboardInterrupt")
    if end != "close":
        assert (await session.run("print('next'); len(threads)")).stdout == "next\n"
    stop.set()
    for thread in threads:
        await asyncio.to_thread(thread.join, 20)
    assert not any(thread.is_alive() for thread in threads)


async def test_a_forked_child_prints_where_the_process_does(session: Session, capfd: pytest.CaptureFixture[str]):
    code = (
        "import os, sys, warnings\n"
        "with warnings.catch_warnings():\n"
        "    warnings.simplefilter('ignore', DeprecationWarning)  # of the threads, which the child does not have\n"
        "    child = os.fork()\n"
        "if not child:\n"
        "    print('of the child ' * 200_000, flush=True)\n"
        "    os._exit(0)\n"
        "print('of the code')\n"
        "os.waitpid(child, 0)[1]"
    )
    result = await session.run(code)
    assert (result.stdout, result.value) == ("of the code\n", 0)
    assert capfd.readouterr().out == "of the child " * 200_000 + "\n"


async def test_any_text_and_bytes_can_be_written(session: Session):
    result = await session.run(
        r"import sys"
        "\n"
        r"print('\ud800 \0 ☃ 😀')"
        "\n"
        r"sys.stdout.buffer.write('ü'.encode())"
        "\n"
        r"sys.stdout.writelines(['a', 'b'])"
        "\n"
        r"sys.stdout.flush(); sys.stdout.close(); print('c')"
        "\n"
        r"sys.stdout.isatty()"
    )
    assert (result.stdout, result.value) == ("\\ud800 \0 ☃ 😀\nüabc\n", False)


async def test_code_can_redirect_its_own_output(session: Session):
    result = await session.run(
        "import contextlib, io\nbuffer = io.StringIO()\n"
        "with contextlib.redirect_stdout(buffer):\n    print('inside')\nprint('outside')\nbuffer.getvalue()"
    )
    assert (result.stdout, result.value) == ("outside\n", "inside\n")


async def test_what_code_left_in_the_place_of_stdout_does_not_spoil_later_runs(
    session: Session, capsys: pytest.CaptureFixture[str]
):
    before = sys.stdout
    await session.run("import sys, io\nsys.stdout = io.StringIO()\nsys.stderr = None")
    result = await session.run("print('there')\nprint('err', file=sys.stderr)")
    assert (result.stdout, result.stderr) == ("there\n", "err\n")
    sys.stdout = before


async def test_a_caller_that_redirects_its_output_still_gets_the_codes_apart(session: Session):
    with contextlib.redirect_stdout(io.StringIO()) as redirected:
        result = await session.run("print('of the code')")
        print("of the caller")
    assert (result.stdout, redirected.getvalue()) == ("of the code\n", "of the caller\n")


async def test_a_warning_in_the_log_goes_to_the_runs_stderr(session: Session):
    # lastResort is what writes where nothing is configured.
    result = await session.run("import logging\nlogging.lastResort.handle(logging.makeLogRecord({'msg': 'careful'}))")
    assert result.stderr == "careful\n"
    assert logging.lastResort is not None


@pytest.mark.parametrize(
    "code", ["input('name? ')", "import sys; sys.stdin.readline()", "next(iter(__import__('sys').stdin))"]
)
async def test_input_fails_at_once(session: Session, code: str):
    result = await session.run(code)
    assert result.error == (
        "StdinNotImplementedError: input() has nobody to ask in a session: put the value into the code"
    )


async def test_a_workflow_cannot_ask_either(session: Session):
    await session.add_workflow("asking", "async def run():\n    return input()\n", "Asks")
    assert (await session.run("workflows.asking()")).error_name == "StdinNotImplementedError"
