"""Looking in while code runs: variables, one of them, the stack, events, and runs that go on by themselves."""

from __future__ import annotations

import asyncio
import math
import os
import select
import signal
import time

import pytest

from py_code_mode import KernelError, Session, SessionClosedError
from py_code_mode.results import BeginEvent, DisplayEvent, EndEvent, StreamEvent
from py_code_mode.watch import journal

from .sessions import open_session


async def running(session: Session, code: str, **options: float):
    """A run of ``code`` that has begun."""
    run = session.start_run(code, **options)
    while run.status == "queued":
        await asyncio.sleep(0)
    return run


async def described(session: Session, code: str) -> dict[str, object]:
    await session.run(code)
    (found,) = [found for found in await session.variables() if found["name"] == "x"]
    return found


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x = 5", {"type": "int", "shape": None, "repr": "5"}),
        ("x = 10 ** 100_000", {"type": "int", "repr": "<int of 332193 bits>"}),
        ("x = 'a' * 10 ** 6", {"type": "str", "shape": [1_000_000]}),
        ("x = list(range(10 ** 6))", {"type": "list", "shape": [1_000_000], "repr": "[0, 1, 2, 3, 4, 5, …]"}),
        ("x = {n: n for n in range(10 ** 5)}", {"shape": [100_000], "repr": "{0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, …}"}),
        ("x = set()", {"type": "set", "shape": [0], "repr": "set()"}),
        ("x = (1,)", {"type": "tuple", "repr": "(1,)"}),
        ("x = frozenset({1})", {"type": "frozenset", "repr": "frozenset({1})"}),
        ("x = []; x.append(x)", {"type": "list", "repr": "[[[[…]]]]"}),
        (
            "class C:\n    def __repr__(self): raise ValueError\nx = C()",
            {"type": "__main__.C", "repr": "<C, whose repr fails: ValueError>"},
        ),
        ("class C:\n    def __repr__(self): return 'r' * 10 ** 6\nx = C()", {"repr": "r" * 119 + "…"}),
        ("class C:\n    def __len__(self): return -1\n    def __sizeof__(self): return -1\nx = C()", {"shape": None}),
        ("x = '\\ud800<b>\\n'", {"repr": "'\\ud800<b>\\n'"}),
        ("globals()[5] = 1; x = 2", {"repr": "2"}),
        ("class C:\n    def __repr__(self): return '\\ud800'\nx = C()", {"repr": "\\ud800"}),
        ("class C:\n    def __repr__(self): raise SystemExit\nx = C()", {"repr": "<C, whose repr fails: SystemExit>"}),
        ("class C:\n    nbytes = 10 ** 5000\n    shape = (10 ** 5000,)\nx = C()", {"shape": None}),
        (
            "class M(type):\n    @property\n    def __module__(cls): 1 / 0\nclass C(metaclass=M): pass\nx = C()",
            {"type": "?"},
        ),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
async def test_a_variable_is_described_in_short(shared, code, expected):
    found = await described(shared, code)
    assert {name: found[name] for name in expected} == expected
    assert isinstance(found["size"], int)
    assert len(str(found["repr"])) <= 120


async def test_arrays_and_tables_have_their_shape_and_the_size_of_their_data(tmp_path):
    import numpy as np
    import pandas as pd

    session = Session.inprocess(tmp_path)
    async with session:
        await session.run("import numpy as np, pandas as pd")
        await session.run("a = np.zeros((1000, 1000)); t = pd.DataFrame({'n': range(10), 's': 'x'})")
        found = {variable["name"]: variable for variable in await session.variables()}
    assert (found["a"]["shape"], found["a"]["size"]) == ([1000, 1000], np.zeros((1000, 1000)).nbytes)
    assert found["a"]["type"] == "numpy.ndarray"
    assert (found["t"]["shape"], found["t"]["repr"]) == ([10, 2], "columns n, s")
    assert found["t"]["type"] == f"{pd.DataFrame.__module__}.DataFrame"


async def test_the_four_names_and_what_ipython_adds_are_no_variables(session):
    await session.run("_hidden = 1; b = 2; a = 1")
    assert [found["name"] for found in await session.variables()] == ["a", "b"]


async def test_at_most_so_many_variables_are_told(session):
    await session.run("for n in range(1000): globals()[f'v{n:04}'] = n")
    assert [found["name"] for found in await session.variables(3)] == ["n", "v0000", "v0001"]
    assert len(await session.variables()) == 200
    with pytest.raises(ValueError, match="limit must be 0 or more, not -1"):
        await session.variables(-1)


async def test_one_variable_is_shown_at_length(session):
    await session.run("def double(n: int) -> int:\n    'Twice n.'\n    return 2 * n\nfacts = {'deep': list(range(50))}")
    found = await session.inspect("double")
    assert (found["signature"], found["doc"], found["type"]) == ("(n: int) -> int", "Twice n.", "function")
    assert (await session.inspect("double.__name__"))["repr"] == "'double'"
    with pytest.raises(KernelError, match="there is no variable 'missing'"):
        await session.inspect("missing")
    with pytest.raises(KernelError, match=r"'facts\.x' cannot be read: AttributeError"):
        await session.inspect("facts.x")


async def test_variables_are_seen_while_code_runs(session):
    run = await running(session, "import threading; gate = threading.Event(); n = 41\ngate.wait()\nn")
    while "n" not in {found["name"] for found in await session.variables()}:
        pass
    assert run.status == "running"
    session.interrupt()
    assert (await run.result()).error_name == "KeyboardInterrupt"


async def test_the_stack_tells_where_the_code_stands(session):
    assert await session.stack() == ""
    run = await running(session, "import time\ndef inner():\n    time.sleep(30)\ninner()")
    while "inner" not in (stack := await session.stack()):
        pass
    assert stack.splitlines()[-1].strip() in ("time.sleep(30)", "inner()") or "time.sleep(30)" in stack
    assert "kernel_bootstrap" not in stack
    session.interrupt()
    await run.result()
    assert await session.stack() == ""


async def test_the_stack_of_a_parked_await_is_that_of_its_coroutine(session):
    run = await running(session, "import asyncio\nasync def waits():\n    await asyncio.sleep(30)\nawait waits()")
    while "in waits" not in await session.stack():
        pass
    run.cancel()
    await run.result()


async def test_a_c_call_that_lets_nobody_run_is_shown_by_its_stack_and_has_no_variables(tmp_path):
    async with open_session(tmp_path) as session:
        run = await running(session, "def busy():\n    return sum(range(10 ** 11))\nbusy()", timeout=60)
        while "busy" not in await session.stack():
            pass
        started = time.monotonic()
        with pytest.raises(KernelError, match="did not answer within 5 s: a C call or a repr of its code blocks it"):
            await session.variables()
        assert time.monotonic() - started < 7
        run.cancel()
        assert (await run.result()).error_name == "KeyboardInterrupt"
        assert await session.variables() == []


async def test_a_repr_that_hangs_costs_the_look_and_nothing_else(session):
    await session.run("import time\nclass Slow:\n    def __repr__(self): time.sleep(600)\nx = Slow()")
    with pytest.raises(KernelError, match="did not answer within 5 s"):
        await session.variables()
    assert (await session.run("del x; 5")).value == 5
    assert [found["name"] for found in await session.variables()] == ["Slow", "time"]


async def test_looks_at_once_share_one_thread_of_the_kernel(session):
    count = "import threading; threading.active_count()"
    before = (await session.run(count)).value
    await asyncio.gather(*(session.variables() for _ in range(10)))
    assert (await session.run(count)).value == before + 1


async def test_a_look_at_a_kernel_that_has_died_unseen_starts_the_next_and_the_run_after_it_says_so(session):
    kernel = os.pidfd_open((await session.run("import os; x = 1; os.getpid()")).value)
    first = session.connection_file
    signal.pidfd_send_signal(kernel, signal.SIGKILL)
    select.select([kernel], [], [])
    os.close(kernel)
    assert await session.variables() == []
    assert not first.exists()
    result = await session.run("'x' in globals()")
    assert (result.value, result.kernel_restarted) == (False, True)


async def test_looking_at_a_namespace_that_changes_all_the_time(session):
    code = "import time\nend = time.monotonic() + 2\nn = 0\nwhile time.monotonic() < end:\n    n += 1\n    globals()[f'v{n % 50}'] = [n] * (n % 9)\n    globals().pop(f'v{(n * 7) % 50}', None)"
    run = await running(session, code)
    looks = 0
    while run.status == "running":
        assert len(await session.variables()) <= 200
        looks += 1
    assert (await run.result()).error is None
    assert looks > 5


async def test_an_inprocess_session_is_looked_at_the_same_way(tmp_path):
    async with Session.inprocess(tmp_path) as session:
        events = session.events()
        await session.run("n = [1]; print('hi')")
        assert [(v["name"], v["repr"]) for v in await session.variables()] == [("n", "[1]")]
        assert (await session.inspect("n"))["doc"]
        run = await running(session, "import time\nwhile True: time.sleep(0.01)")
        while "time.sleep" not in await session.stack():
            pass
        run.cancel()
        assert (await run.result()).error_name == "KeyboardInterrupt"
        with pytest.raises(KernelError, match="there is no variable 'm'"):
            await session.inspect("m")
    kinds = [type(event.event) async for event in events]
    assert kinds[:3] == [BeginEvent, StreamEvent, EndEvent]


# -- started runs -----------------------------------------------------------------------------------------


async def test_a_started_run_goes_on_by_itself_and_gives_its_result(session):
    run = session.start_run("print('working')\n6 * 7")
    result = await run.result()
    assert (result.value, result.stdout, run.status) == (42, "working\n", "done")
    assert await run.result() is result


async def test_the_events_of_a_started_run_are_heard_from_the_first_on_by_each_reader(session):
    run = session.start_run("for n in range(3): print(n, flush=True)")
    first = [event async for event in run.events()]
    second = [event async for event in run.events()]
    assert first == second
    assert "".join(event.text for event in first if isinstance(event, StreamEvent)) == "0\n1\n2\n"
    assert first[-1] == EndEvent(await run.result())


async def test_started_runs_queue_and_the_queue_can_be_left(session):
    first = await running(session, "import time; time.sleep(30)")
    second, third = session.start_run("never = 1"), session.start_run("'third'")
    assert (first.status, second.status) == ("running", "queued")
    second.cancel()
    result = await second.result()
    assert (result.error, second.status) == ("KeyboardInterrupt: the run was cancelled before it began", "cancelled")
    first.cancel()
    assert (await third.result()).value == "third"
    assert (await session.run("'never' in globals()")).value is False


async def test_a_run_that_is_cancelled_at_once_tells_truly_whether_it_began(session):
    unbegun = []
    for number in range(30):
        run = session.start_run(f"v{number} = 1")
        run.cancel()
        result = await run.result()
        assert (result.error_name, run.status) == ("KeyboardInterrupt", "cancelled")
        if "before it began" in result.error:
            unbegun.append(f"v{number}")
    assert unbegun
    assert (await session.run(f"[name for name in {unbegun} if name in globals()]")).value == []


async def test_a_run_that_is_cancelled_twice_is_waited_for_all_the_same(session):
    code = "import time\nwhile True:\n    try: time.sleep(1)\n    except BaseException: pass"
    run = await running(session, code, timeout=math.inf)
    run.cancel()
    while run.status != "cancelled":
        await asyncio.sleep(0)
    run.cancel()
    await run.result()
    assert (await session.run("'next'")).value == "next"


async def test_cancelling_a_run_whose_session_is_closed_does_nothing(tmp_path):
    async with open_session(tmp_path) as session:
        run = session.start_run("5")
        await run.result()
    run.cancel()
    assert run.status == "done"


async def test_who_comes_late_to_a_progress_bar_hears_of_its_present_state_only(session):
    code = (
        "from IPython.display import clear_output, display\nprint('old')\nclear_output()\n"
        "bar = display('0', display_id='bar')\nfor n in range(50): bar.update(str(n))"
    )
    run = session.start_run(code)
    await run.result()
    events = [event async for event in run.events()]
    assert [event.data["text/plain"] for event in events if isinstance(event, DisplayEvent)] == ["'0'", "'49'"]
    assert not any(isinstance(event, StreamEvent) for event in events)


async def test_a_cancelled_run_gives_what_it_had_printed(session):
    run = session.start_run("import time\nprint('so far', flush=True)\ntime.sleep(30)")
    async for event in run.events():
        if isinstance(event, StreamEvent):
            run.cancel()
    result = await run.result()
    assert (result.stdout, result.error) == ("so far\n", "KeyboardInterrupt: the run was cancelled")
    run.cancel()
    assert (await session.run("2")).value == 2


async def test_giving_up_the_wait_for_a_result_leaves_the_run_alone(session):
    run = session.start_run("import time; time.sleep(0.3); 'done'")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(run.result(), 0.05)
    assert (await run.result()).value == "done"


async def test_a_run_can_be_started_without_a_limit(tmp_path):
    async with open_session(tmp_path, timeout=0.2) as session:
        assert (await session.start_run("import time; time.sleep(0.5); 1").result()).timed_out
        assert (await session.start_run("import time; time.sleep(0.5); 1", timeout=math.inf).result()).value == 1


def test_a_run_is_started_from_any_thread_and_read_on_another_loop(tmp_path):
    async def main() -> Session:
        session = open_session(tmp_path)
        await session.start()
        return session

    session = asyncio.run(main())
    run = session.start_run("'from no loop at all'")
    assert asyncio.run(run.result()).value == "from no loop at all"
    asyncio.run(session.close())
    with pytest.raises(SessionClosedError):
        session.start_run("1")

    async def read() -> list[object]:
        return [event async for event in run.events()]

    assert isinstance(asyncio.run(read())[-1], EndEvent)


async def test_a_session_that_closes_ends_its_started_runs(tmp_path):
    async with open_session(tmp_path) as session:
        run = await running(session, "import time; time.sleep(60)", timeout=math.inf)
        waiting = session.start_run("1")
    result = await run.result()
    assert result.error_name in ("KeyboardInterrupt", "KernelDiedError")
    with pytest.raises(SessionClosedError):
        await waiting.result()


# -- events -----------------------------------------------------------------------------------------------


async def test_events_come_from_the_moment_they_are_asked_for_until_the_session_closes(tmp_path):
    async with open_session(tmp_path) as session:
        await session.run("1")
        events, others = session.events(), session.events()
        await session.run("print('a'); big = bytes(10 ** 6); big")
        await session.run("1 / 0")
    heard = [event async for event in events]
    assert heard == [event async for event in others]
    assert [event.cell for event in heard if isinstance(event.event, BeginEvent)] == [2, 3]
    ends = [event.event.result for event in heard if isinstance(event.event, EndEvent)]
    assert [end.error_name for end in ends] == [None, "ZeroDivisionError"]
    assert ends[0].stdout == "a\n"
    assert ends[0].value is None
    assert [event async for event in events] == []


async def test_a_reader_that_is_too_slow_hears_how_much_it_missed(session, monkeypatch):
    monkeypatch.setattr(journal, "_WAITING_EVENTS", 5)
    events = session.events()
    await session.run("for n in range(20): print(n, flush=True)")
    heard = [await anext(events) for _ in range(5)]
    await session.run("1")
    missed = await anext(events)
    assert all(isinstance(event, journal.SessionEvent) for event in heard)
    assert isinstance(missed, journal.MissedEvents)
    assert missed.count > 10


async def test_a_reader_that_does_not_read_does_not_fill_the_host(session, monkeypatch):
    monkeypatch.setattr(journal, "_WAITING_BYTES", 1_000_000)
    events = session.events()
    for _ in range(10):
        await session.run("print('x' * 600_000)")
    await session.close()
    heard = [event async for event in events]
    held = sum(len(e.event.text) for e in heard if isinstance(getattr(e, "event", None), StreamEvent))
    assert 0 < held <= 1_800_000
    assert isinstance(heard[-1], journal.MissedEvents)


async def test_events_of_a_session_that_is_not_open_are_refused(tmp_path):
    session = open_session(tmp_path)
    with pytest.raises(SessionClosedError):
        session.events()
