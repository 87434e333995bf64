"""Deadlines, interrupts and cancellation: a run always ends, and the next one works."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from py_code_mode.errors import ExecutionTimeoutError
from py_code_mode.results import ExecutionResult
from py_code_mode.session import Session

from .sessions import is_alive, open_session

SWALLOW = "import time\nwhile True:\n    try:\n        time.sleep(0.01)\n    except BaseException:\n        pass"
STUCK_IN_C = "sum(range(10**11))"


async def _timed(awaitable) -> tuple[ExecutionResult, float]:
    started = time.monotonic()
    return await awaitable, time.monotonic() - started


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time; time.sleep(60)",
        "import asyncio; await asyncio.sleep(60)",
        "import asyncio; await asyncio.Event().wait()",
        "import asyncio; await asyncio.gather(asyncio.sleep(60), asyncio.sleep(60))",
        "async def spin():\n    while True: pass\nawait spin()",
        "import asyncio\nasync def spin():\n    while True: pass\nawait asyncio.gather(spin(), asyncio.sleep(60))",
        "import asyncio, time; await asyncio.to_thread(time.sleep, 3)",
        "import subprocess; subprocess.run(['sleep', '60'])",
        "!sleep 60",
        "import threading; threading.Event().wait()",
        "import socket; a, b = socket.socketpair(); a.recv(1)",
    ],
)
async def test_the_deadline_interrupts_and_keeps_the_variables(shared: Session, code: str):
    await shared.run("kept = 'here'")
    result, seconds = await _timed(shared.run(f"print('before')\n{code}", timeout=0.3))
    assert result.timed_out
    assert result.error_name == "TimeoutError"
    assert not result.kernel_restarted
    assert result.stdout.startswith("before\n")
    assert seconds < 2
    assert (await shared.run("kept")).value == "here"


@pytest.mark.parametrize(
    "code",
    [
        SWALLOW,
        STUCK_IN_C,
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
    ],
)
async def test_code_that_cannot_be_interrupted_is_ended_by_a_restart(session: Session, code: str):
    await session.run("gone = 1")
    result, seconds = await _timed(session.run(f"print('before', flush=True)\n{code}", timeout=0.3))
    assert result.timed_out
    assert result.kernel_restarted
    assert result.stdout == "before\n"
    assert "restarted" in (result.error or "")
    assert seconds < 0.3 + 2.0 + 1.0
    following, seconds = await _timed(session.run("print('clean'); 'gone' in globals(), tools.list()"))
    assert following.value == (False, [])
    assert following.stdout == "clean\n"
    assert following.kernel_restarted
    assert seconds < 3
    assert not (await session.run("1")).kernel_restarted


@pytest.mark.parametrize(
    "code", ["def deep():\n    while True: pass\ndeep()", "def deep():\n    sum(range(10**11))\ndeep()"]
)
async def test_a_timeout_shows_where_the_code_stood(session: Session, code: str):
    result = await session.run(code, timeout=0.3)
    assert "in deep" in (result.traceback or "")
    assert "kernel_bootstrap" not in (result.traceback or "")


async def test_a_timeout_shows_where_a_coroutine_waited(shared: Session):
    result = await shared.run(
        "import asyncio\nasync def inner():\n    await asyncio.sleep(60)\nawait inner()", timeout=0.3
    )
    assert "in inner" in (result.traceback or "")


async def test_the_timeout_of_the_session_applies_and_a_run_overrides_it(tmp_path):
    async with open_session(tmp_path, timeout=0.3) as session:
        assert (await session.run("while True: pass")).timed_out
        assert (await session.run("while True: pass", timeout=None)).timed_out
        assert (await session.run("import time; time.sleep(0.6); 'done'", timeout=5)).value == "done"


async def test_a_session_without_a_timeout_has_no_limit(tmp_path):
    async with open_session(tmp_path, timeout=None) as session:
        assert (await session.run("import time; time.sleep(0.6); 'done'")).value == "done"


async def test_raise_for_error_tells_a_timeout(shared: Session):
    result = await shared.run("while True: pass", timeout=0.2)
    with pytest.raises(ExecutionTimeoutError):
        result.raise_for_error()
    with pytest.raises(TimeoutError):
        result.raise_for_error()


async def test_the_clock_of_a_queued_run_starts_when_it_begins(shared: Session):
    first, second = await asyncio.gather(
        shared.run("import time; time.sleep(0.6)", timeout=5), shared.run("'ran'", timeout=0.4)
    )
    assert first.is_ok
    assert second.value == "ran"


async def test_a_timeout_inside_a_tool_ends_the_process_of_the_tool(session: Session, tmp_path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "hang.yaml").write_text(
        "name: hang\ndescription: Hang\ncommand: sh\nschema:\n  options:\n    c: {type: string, short: c}\n"
    )
    pid_file = tmp_path / "pid"
    result, seconds = await _timed(session.run(f"tools.hang(c='echo $$ > {pid_file}; exec sleep 60')", timeout=0.5))
    assert result.timed_out
    assert not result.kernel_restarted
    assert seconds < 2
    await asyncio.wait_for(_until(lambda: not is_alive(int(pid_file.read_text()))), 2)


async def _until(condition):
    while not condition():
        await asyncio.sleep(0)


async def test_threads_of_the_kernel_wait_a_millisecond_for_code_that_computes(shared: Session):
    # Whatever ends or shows that code needs several turns; measured by the benchmark "deadline to usable".
    assert (await shared.run("import sys; sys.getswitchinterval()")).value == 0.001


async def test_a_cell_that_is_out_of_time_asks_for_nothing_more(shared: Session):
    code = (
        "import time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    pass\n"
        "for ask in (lambda: artifacts.exists('a'), artifacts.list):\n"
        "    try:\n        ask()\n    except CodeModeError as error:\n        print(error)"
    )
    result = await shared.run(code, timeout=0.2)
    assert result.timed_out
    assert result.stdout == "the cell of this request was interrupted\n" * 2
    assert (await shared.run("artifacts.exists('a')")).value is False


async def test_an_interrupt_ends_the_run(shared: Session):
    await shared.run("kept = 1")
    stream = shared.stream("print('begun', flush=True)\nwhile True: pass")
    await anext(stream)
    shared.interrupt()
    *_, last = [event async for event in stream]
    assert last.result.error_name == "KeyboardInterrupt"
    assert (await shared.run("kept")).value == 1


@pytest.mark.parametrize("delay_ms", [0, 1, 2, 3, 5, 8, 13, 21])
async def test_an_interrupt_at_any_moment_ends_the_run(shared: Session, delay_ms: int):
    await shared.run("kept = 1")
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(shared.run("while True: pass", timeout=20))
    loop.call_later(0, lambda: loop.call_later(delay_ms / 1000, shared.interrupt))
    result, seconds = await _timed(task)
    assert result.error_name == "KeyboardInterrupt"
    assert seconds < 1
    assert not result.kernel_restarted
    assert (await shared.run("kept")).value == 1


async def test_an_interrupt_while_the_kernel_still_starts_ends_the_run(session: Session):
    await session.run("import os; os._exit(1)")
    task = asyncio.ensure_future(session.run("while True: pass"))
    await asyncio.sleep(0)
    session.interrupt()
    result, seconds = await _timed(task)
    assert result.error_name == "KeyboardInterrupt"
    assert seconds < 1
    assert (await session.run("1 + 1")).value == 2


async def test_an_interrupt_without_a_run_does_nothing(shared: Session):
    shared.interrupt()
    assert (await shared.run("1 + 1")).value == 2


async def test_an_interrupt_from_another_thread_works(shared: Session):
    timer = threading.Timer(0.2, shared.interrupt)
    timer.start()
    result = await shared.run("while True: pass")
    timer.join()
    assert result.error_name == "KeyboardInterrupt"


async def test_an_interrupt_hits_the_run_under_way_and_not_the_queued_one(shared: Session):
    stream = shared.stream("print('begun', flush=True)\nwhile True: pass")
    await anext(stream)
    queued = asyncio.ensure_future(shared.run("'ran'"))
    await asyncio.sleep(0)
    shared.interrupt()
    async for _ in stream:
        pass
    assert (await queued).value == "ran"


@pytest.mark.parametrize("delay_ms", [0, 1, 3, 10, 100])
async def test_cancelling_a_run_interrupts_the_kernel_and_keeps_the_session(shared: Session, delay_ms: int):
    await shared.run("kept = 1")
    task = asyncio.ensure_future(shared.run("import time; time.sleep(30)", timeout=None))
    asyncio.get_running_loop().call_later(delay_ms / 1000, task.cancel)
    started = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await shared.run("kept")).value == 1
    assert time.monotonic() - started < 2


async def test_wait_for_around_a_run_works(shared: Session):
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(shared.run("while True: pass", timeout=None), 0.2)
    assert (await shared.run("'usable'")).value == "usable"
