"""Deadlines and interrupts of in-process sessions: what can be stopped is, what cannot is left behind."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from py_code_mode.executors.inprocess import InProcessConfig, InProcessExecutor
from py_code_mode.results import EndEvent, StreamEvent
from py_code_mode.session import Session
from py_code_mode.storage.memory import MemoryStorage

from .sessions import is_alive

SLEEPER = """\
name: sleeper
description: Writes its pid, then sleeps
command: sh
schema:
  options:
    c: {type: string, short: c}
"""

WAITING = '''\
"""Waits."""


async def run() -> None:
    """For long."""
    import asyncio

    await asyncio.sleep(60)
'''


CALL_IN_THREAD = """\
def call():
    try:
        tools.sleeper(c='sleep 60')
    except CodeModeError:
        print('cancelled')
thread = threading.Thread(target=call)
thread.start()
while True:
    await asyncio.sleep(0.01)
"""

CLEANS_UP = """\
try:
    print('begun')
    while True: pass
except KeyboardInterrupt:
    print('clean')
    kept = 'cleaned'
"""

SWALLOWS = """\
def spin():
    while not leave.is_set(): pass
print('begun')
while not leave.is_set():
    try:
        spin()
    except BaseException:
        pass
"""

FINALLY = """\
try:
    started.set()
    while True: pass
finally:
    kept = 2
"""


@pytest.fixture
async def session(tmp_path: Path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "sleeper.yaml").write_text(SLEEPER)
    async with Session.inprocess(tmp_path) as opened:
        first = await opened.run("import asyncio, threading, time\nkept = 1\nstarted = threading.Event()")
        first.raise_for_error()
        yield opened


def quick(grace: float = 0.3) -> Session:
    """A session that gives up early on code that does not stop."""
    return Session(MemoryStorage(), InProcessExecutor(InProcessConfig(interrupt_grace=grace)))


async def started(session: Session) -> threading.Event:
    """The event that code sets when it has begun."""
    found = (await session.run("started")).value
    assert isinstance(found, threading.Event)
    return found


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 20)


def wait_for_the_end(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "while True: print('x' * 1000)",
        "while True: tools.list()",
        "await asyncio.sleep(60)",
        "await asyncio.Event().wait()",
        "await asyncio.gather(asyncio.sleep(60), asyncio.to_thread(lambda: None))",
        "while True: await asyncio.sleep(0)",
        "async def spin():\n    while True: pass\nawait asyncio.gather(spin(), asyncio.sleep(60))",
        "async def spin():\n    while True: pass\nt = asyncio.create_task(spin())\nawait asyncio.sleep(60)",
        "import re\nwhile True: re.sub('a', 'b', 'a' * 1000)",
        "tools.sleeper(c='sleep 60')",
        "await tools.sleeper.call_async(c='sleep 60')",
        CALL_IN_THREAD,
        "workflows.create(name='waiting', source=WAITING)\nworkflows.waiting()",
        "workflows.create(name='waiting', source=WAITING)\nawait workflows.waiting.call_async()",
        "class Slow:\n    def __repr__(self):\n        while True: pass\nSlow()",
    ],
)
async def test_at_the_deadline_code_is_interrupted_and_keeps_its_variables(session: Session, code: str):
    await session.run(f"WAITING = {WAITING!r}")
    began = time.monotonic()
    result = await session.run(f"print('before')\n{code}", timeout=0.3)
    assert time.monotonic() - began < 1.5
    assert result.error == "TimeoutError: the code ran longer than 0.3 s and was interrupted"
    assert (result.error_name, result.timed_out, result.kernel_restarted) == ("TimeoutError", True, False)
    assert result.stdout.startswith("before\n")
    after = await session.run("print('after')\nkept")
    assert (after.stdout, after.value, after.kernel_restarted) == ("after\n", 1, False)


async def test_the_error_shows_where_the_code_stood(session: Session):
    running = await session.run("def spin():\n    while True: pass\nspin()", timeout=0.2)
    assert running.traceback is not None
    assert running.traceback.splitlines()[1:4] == [
        "It stood at (most recent call last):",
        '  File "<cell 2>", line 3, in <module>',
        "    spin()",
    ]
    waiting = await session.run("await asyncio.sleep(60)", timeout=0.2)
    assert waiting.traceback is not None
    assert waiting.traceback.splitlines()[2:4] == [
        '  File "<cell 3>", line 1, in <module>',
        "    await asyncio.sleep(60)",
    ]


async def test_a_cleanup_of_the_code_runs_to_its_end(session: Session):
    result = await session.run(CLEANS_UP, timeout=0.2)
    assert result.timed_out
    assert result.stdout == "begun\nclean\n"
    assert (await session.run("kept")).value == "cleaned"


async def test_a_blocking_call_is_left_behind_and_ends_later(capfd: pytest.CaptureFixture[str]):
    async with quick() as session:
        await session.run("import threading\ngo = threading.Event()\nold = threading.current_thread()\nx = 1")
        go, old = (await session.run("go, old")).value
        stuck = await session.run("print('begun')\ngo.wait()\nprint('too late')\nx = 2", timeout=0.2)
        assert (stuck.timed_out, stuck.kernel_restarted, stuck.stdout) == (True, True, "begun\n")
        assert "it did not react and still runs in its thread" in (stuck.error or "")
        assert "    go.wait()" in (stuck.traceback or "")
        after = await session.run("x")
        assert (after.error_name, after.kernel_restarted) == ("NameError", True)
        assert not (await session.run("1")).kernel_restarted
        go.set()
        await asyncio.to_thread(old.join, 10)
        assert not old.is_alive()  # stopped as soon as it came back to Python
        assert (await session.run("print('mine')")).stdout == "mine\n"
    assert capfd.readouterr().out == ""


async def test_code_that_is_left_behind_prints_nowhere_after_the_session(capfd: pytest.CaptureFixture[str]):
    async with quick() as session:
        await session.run("import threading\nleave, old = threading.Event(), threading.current_thread()")
        leave, old = (await session.run("leave, old")).value
        await session.run(SWALLOWS + "print('too late')", timeout=0.2)
    leave.set()
    await asyncio.to_thread(old.join, 10)
    assert not old.is_alive()
    assert capfd.readouterr().out == ""


async def test_code_that_swallows_every_interrupt_is_left_behind():
    async with quick() as session:
        await session.run("import threading\nleave, old = threading.Event(), threading.current_thread()")
        leave, old = (await session.run("leave, old")).value
        result = await session.run(SWALLOWS, timeout=0.2)
        assert (result.timed_out, result.kernel_restarted, result.stdout) == (True, True, "begun\n")
        assert (await session.run("1 + 1")).value == 2
        leave.set()
        await asyncio.to_thread(old.join, 10)
        assert not old.is_alive()


async def test_a_timeout_in_a_tool_ends_its_process(session: Session, tmp_path: Path):
    pid_file = tmp_path / "pid"
    result = await session.run(f"tools.sleeper(c='echo $$ > {pid_file}; exec sleep 60')", timeout=1)
    assert result.timed_out
    wait_for_the_end(int(pid_file.read_text()))


@pytest.mark.parametrize("code", ["while True: pass", "await asyncio.sleep(60)", "tools.sleeper(c='sleep 60')"])
async def test_an_interrupt_from_another_thread_ends_the_run(session: Session, code: str):
    event = await started(session)
    run = asyncio.ensure_future(session.run(f"started.set()\n{code}"))
    await until(event)
    began = time.monotonic()
    await asyncio.to_thread(session.interrupt)
    result = await run
    assert time.monotonic() - began < 1
    assert (result.error, result.timed_out) == ("KeyboardInterrupt: the run was interrupted", False)
    assert (await session.run("kept")).value == 1


async def test_an_interrupt_without_a_run_does_nothing(session: Session):
    session.interrupt()
    assert (await session.run("kept")).value == 1


# An interrupt that comes up in the callback of a weakref is reported as ignored; the next one hits.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_interrupts_at_any_moment_of_short_runs_hit_them_or_nothing(session: Session):
    for n in range(60):
        run = asyncio.ensure_future(session.run("for i in range(200): print(i)\nkept"))
        await asyncio.sleep(n * 0.00005)
        session.interrupt()
        result = await run
        assert result.value == 1 or result.error_name == "KeyboardInterrupt"
        assert not result.kernel_restarted
        assert (await session.run("print('whole')\nkept")).stdout == "whole\n"


async def test_an_interrupt_never_hits_a_thread_that_is_just_being_started(session: Session):
    begun = (await session.run("import threading\nbegun = threading.Event()\nbegun")).value
    for _ in range(100):
        begun.clear()
        run = asyncio.ensure_future(session.run("while True:\n    threading.Thread(target=begun.set).start()"))
        await asyncio.to_thread(begun.wait, 20)
        session.interrupt()
        result = await run
        assert (result.error_name, result.kernel_restarted) == ("KeyboardInterrupt", False)


async def test_a_cancelled_caller_interrupts_the_code(session: Session):
    event = await started(session)
    run = asyncio.ensure_future(session.run(FINALLY))
    await until(event)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert (await session.run("kept")).value == 2


async def test_leaving_a_stream_interrupts_the_code(session: Session):
    stream = session.stream("print('first')\nwhile True: pass")
    async for event in stream:
        assert event == StreamEvent("stdout", "first\n")
        break
    await stream.aclose()  # type: ignore[attr-defined]
    assert (await session.run("kept")).value == 1


async def test_a_background_task_that_blocks_costs_one_run_its_time(session: Session):
    await session.run("async def block():\n    while True: pass\ntask = asyncio.create_task(block())")
    result = await session.run("kept = 2", timeout=0.3)
    assert result.timed_out
    assert "an earlier run held the thread for 0.3 s, so this code was not run" in (result.error or "")
    assert "    while True: pass" in (result.traceback or "")
    assert (await session.run("kept")).value == 1


async def test_closing_ends_a_run_under_way(tmp_path: Path):
    session = quick()
    await session.start()
    run = asyncio.ensure_future(session.run("import asyncio\nawait asyncio.sleep(60)"))
    stream = session.stream("1")
    queued = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    await session.close()
    assert (await run).error_name == "KeyboardInterrupt"
    with pytest.raises(Exception, match="closed"):
        await queued


async def test_the_end_event_of_an_interrupted_stream_has_the_result(session: Session):
    events = [event async for event in session.stream("print('x')\nawait asyncio.sleep(60)", timeout=0.2)]
    assert events[0] == StreamEvent("stdout", "x\n")
    assert isinstance(events[-1], EndEvent)
    assert events[-1].result.timed_out


async def test_code_that_stops_its_event_loop_only_stops_itself(session: Session):
    result = await session.run("asyncio.get_running_loop().stop()\nawait asyncio.sleep(0.01)\nkept")
    assert result.value == 1  # the loop just goes on
