"""Sessions in this very process: the namespaces, results, variables and packages."""

from __future__ import annotations

import asyncio
import linecache
import sys
import threading
from pathlib import Path

import pytest

from py_code_mode.errors import RuntimeDepsDisabledError, SessionClosedError
from py_code_mode.executors.inprocess import InProcessConfig, InProcessExecutor
from py_code_mode.results import DisplayEvent, EndEvent, ExecutionResult, StreamEvent
from py_code_mode.session import Session
from py_code_mode.storage.memory import MemoryStorage

from .venvs import make_wheel, use_only

ECHO = """\
name: say
description: Says it
command: echo
schema:
  positional:
    - {name: text, type: string, required: true}
recipes:
  hello:
    description: Says hello
    preset: {text: hello}
"""

NESTED = '''\
"""Calls another."""


async def run(x: int) -> int:
    """Twice what the other gives."""
    import asyncio

    await asyncio.sleep(0)
    return 2 * workflows.inner(x=x)
'''

INNER = '''\
"""Divides."""


async def run(x: int) -> float:
    """Ten over x."""
    return 10 / x
'''


@pytest.fixture
async def session(tmp_path: Path):
    async with Session.inprocess(tmp_path) as opened:
        yield opened


async def value(session: Session, code: str) -> object:
    """The value of ``code``, which must not fail."""
    return (await session.run(code)).raise_for_error().value


async def test_the_value_is_the_very_object(session: Session):
    result = await session.run("class Thing: pass\nthing = Thing()\nthing")
    assert result.value is await value(session, "thing")
    assert not result.value_is_repr


async def test_the_last_value_is_kept_and_a_semicolon_hides_it(session: Session):
    assert await value(session, "6 * 7") == 42
    assert await value(session, "_ + 1") == 43
    hidden = await session.run("'not shown';  # really")
    assert (hidden.value, hidden.outputs) == (None, ())
    assert await value(session, "_") == 43
    assert await value(session, "x = 5") is None


async def test_variables_imports_and_future_flags_stay(session: Session):
    await session.run("from __future__ import annotations\nimport math\nx = 1")
    assert await value(session, "def f(a: NotThere): ...\nmath.floor(x + 0.5), f.__annotations__") == (
        1,
        {"a": "NotThere"},
    )


async def test_top_level_await_tasks_and_context_variables_work_across_runs(session: Session):
    await session.run(
        "import asyncio, contextvars\n"
        "seen, go = [], asyncio.Event()\n"
        "async def later():\n    await go.wait()\n    seen.append(1)\n"
        "task = asyncio.create_task(later())\n"
        "variable = contextvars.ContextVar('variable')\nvariable.set('kept')"
    )
    assert await value(session, "go.set()\nawait task\nseen, variable.get()") == ([1], "kept")
    assert await value(session, "await 5") == 5  # a plain value: what a tool call gives


async def test_rich_outputs_come_in_order(session: Session):
    result = await session.run(
        "class Rich:\n"
        "    def _repr_html_(self): return '<b>rich</b>'\n"
        "    def _repr_png_(self): return b'PNG'\n"
        "    def _repr_latex_(self): raise ValueError\n"
        "    def __repr__(self): return 'plain'\n"
        "handle = display('first', display_id='one')\n"
        "handle.update('second')\n"
        "Rich()"
    )
    assert result.outputs == (
        DisplayEvent("display_data", {"text/plain": "'second'"}, {}, "one"),
        DisplayEvent("execute_result", {"text/plain": "plain", "text/html": "<b>rich</b>", "image/png": "UE5H"}),
    )
    cleared = await session.run("print('gone')\nclear_output(wait=True)\nprint('there')")
    assert cleared.stdout == "there\n"


async def test_long_values_are_shown_short_and_kept_whole(session: Session):
    result = await session.run("list(range(5000))")
    assert len(result.value) == 5000
    assert result.outputs[0].data["text/plain"].endswith("998, 999]… [5000 in all]")
    assert not result.truncated
    broken = await session.run("class Broken:\n    def __repr__(self): return 1 / 0\nBroken()")
    assert broken.is_ok
    assert "whose repr failed: ZeroDivisionError" in broken.outputs[0].data["text/plain"]


async def test_a_traceback_shows_the_lines_of_the_users_code_only(session: Session):
    await session.run("def fail():\n    return 1 / 0")
    result = await session.run("fail()")
    assert result.error == "ZeroDivisionError: division by zero"
    assert result.traceback is not None
    lines = result.traceback.splitlines()
    assert [line for line in lines if set(line) - set(" ~^")] == [
        "Traceback (most recent call last):",
        '  File "<cell 2>", line 1, in <module>',
        "    fail()",
        '  File "<cell 1>", line 2, in fail',
        "    return 1 / 0",
        "ZeroDivisionError: division by zero",
    ]


async def test_two_sessions_show_their_own_lines(tmp_path: Path):
    async with Session.inprocess(tmp_path / "a") as a, Session.inprocess(tmp_path / "b") as b:
        await a.run("def f():\n    raise ValueError('of a')")
        await b.run("def f():\n    raise ValueError('of b')")
        failed = await a.run("f()")
        assert failed.traceback is not None
        assert "raise ValueError('of a')" in failed.traceback
    assert not [name for name in linecache.cache if name.startswith("<cell")]


async def test_a_syntax_error_shows_its_line(session: Session):
    result = await session.run("x = 1\nx = = 2")
    assert result.error == "SyntaxError: invalid syntax (<cell 1>, line 2)"
    assert result.traceback == '  File "<cell 1>", line 2\n    x = = 2\n        ^\nSyntaxError: invalid syntax'


@pytest.mark.parametrize("code", ["%time 1", "!ls", "files = !ls", "%%bash\nls", "len?", "?len"])
async def test_ipython_syntax_says_that_it_needs_the_kernel(session: Session, code: str):
    result = await session.run(code)
    assert result.error_name == "SyntaxError"
    assert "needs the kernel executor" in (result.error or "")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("exit()", None),
        ("quit()", None),
        ("import sys; sys.exit(0)", None),
        ("import sys; sys.exit('why')", "SystemExit: why"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
async def test_exit_ends_the_run_and_not_the_process(session: Session, code: str, error: str | None):
    await session.run("kept = 1")
    assert (await session.run(f"{code}\nkept = 2")).error == error
    assert await value(session, "kept") == 1


async def test_tools_are_called_on_the_host(tmp_path: Path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "say.yaml").write_text(ECHO)
    async with Session.inprocess(tmp_path) as session:
        assert await value(session, "tools.say(text='hi')") == "hi\n"
        assert await value(session, "await tools.say.hello()") == "hello\n"
        assert await value(
            session,
            "import asyncio\nawait asyncio.gather(*(tools.say.call_async(text=str(i)) for i in range(3)))",
        ) == ["0\n", "1\n", "2\n"]
        assert await value(
            session,
            "from concurrent.futures import ThreadPoolExecutor\n"
            "with ThreadPoolExecutor() as pool:\n"
            "    found = list(pool.map(lambda i: tools.say(text=str(i)), range(3)))\nfound",
        ) == ["0\n", "1\n", "2\n"]
        assert await value(session, "[tool['name'] for tool in tools.list()]") == ["say"]


async def test_errors_are_the_same_classes_without_frames_of_the_host(session: Session):
    caught = await session.run(
        "try:\n    tools.missing()\nexcept ToolNotFoundError as error:\n    found = error.tool\nfound"
    )
    assert caught.raise_for_error().value == "missing"
    failed = await session.run("artifacts.load('missing')")
    assert failed.error_name == "ArtifactNotFoundError"
    assert failed.traceback is not None
    assert failed.traceback.count("  File ") == 1


async def test_workflows_nest_and_a_traceback_names_their_files(session: Session):
    await session.add_workflow("inner", INNER, "Divides")
    await session.add_workflow("outer", NESTED, "Calls another")
    assert await value(session, "workflows.outer(x=5)") == 4.0
    assert await value(session, "await workflows.outer.call_async(x=2)") == 10.0
    failed = await session.run("workflows.outer(x=0)")
    assert failed.traceback is not None
    lines = [line.strip() for line in failed.traceback.splitlines() if "File" in line]
    assert lines == [
        'File "<cell 3>", line 1, in <module>',
        'File "workflows/outer.py", line 9, in run',
        'File "workflows/inner.py", line 6, in run',
    ]


async def test_workflows_that_call_themselves_end_with_their_own_error(session: Session):
    await session.add_workflow("again", "async def run():\n    return workflows.again()\n", "Endless")
    assert (await session.run("workflows.again()")).error_name == "WorkflowRecursionError"


async def test_artifacts_are_shared_with_the_session_and_do_not_alias_values(session: Session):
    await session.run("data = {'a': [1, 2]}\nartifacts.save('report', data, description='d')\ndata['a'].append(3)")
    assert await session.load_artifact("report") == {"a": [1, 2]}
    await session.save_artifact("blob", b"\x00" * 100_000)
    assert await value(session, "len(artifacts.load('blob')), artifacts.exists('blob')") == (100_000, True)


async def test_the_four_names_are_put_back(session: Session):
    await session.run("tools = workflows = artifacts = deps = None\ndel ToolError")
    assert await value(session, "artifacts.list(), deps.list(), workflows.list(), tools.list()") == (
        [],
        [],
        [],
        [],
    )
    assert (await session.run("ToolError")).is_ok


async def test_the_namespace_is_the_sessions_own(tmp_path: Path):
    async with Session.inprocess(tmp_path / "a") as a, Session.inprocess(tmp_path / "b") as b:
        await a.run("x = 'of a'")
        assert (await b.run("x")).error_name == "NameError"
        assert await value(a, "__name__") == "__main__"
    assert not hasattr(sys.modules["__main__"], "x")


async def test_reset_forgets_the_variables_and_keeps_the_names(session: Session):
    await session.run("x = 1\nimport asyncio\ntask = asyncio.create_task(asyncio.sleep(60))")
    await session.reset()
    after = await session.run("x")
    assert (after.error_name, after.execution_count, after.kernel_restarted) == ("NameError", 1, False)
    assert await value(session, "artifacts.list()") == []


async def test_runs_queue_in_their_order(session: Session):
    await session.run("import asyncio\nseen = []")
    await asyncio.gather(
        *(session.run(f"await asyncio.sleep(0)\nseen.append({n})\nawait asyncio.sleep(0)") for n in range(8))
    )
    assert await value(session, "seen") == list(range(8))


async def test_a_stream_yields_outputs_as_they_come(session: Session):
    threading_event = threading.Event()
    await session.run("import threading\nbox = []")
    (await value(session, "box")).append(threading_event)  # type: ignore[attr-defined]
    seen = []
    async for event in session.stream("print('one')\nbox[0].wait(20)\n6"):
        seen.append(event)
        if isinstance(event, StreamEvent):
            threading_event.set()  # the code goes on only when its first line has arrived
    assert seen[0] == StreamEvent("stdout", "one\n")
    assert isinstance(seen[-1], EndEvent)
    assert seen[-1].result.value == 6


async def test_twenty_sessions_at_once(tmp_path: Path):
    sessions = [Session(MemoryStorage(), InProcessExecutor()) for _ in range(20)]
    await asyncio.gather(*(session.start() for session in sessions))
    try:
        results: list[ExecutionResult] = await asyncio.gather(
            *(
                session.run(f"artifacts.save('n', {n})\nfor i in range(50): print({n})\nartifacts.load('n') + {n}")
                for n, session in enumerate(sessions)
            )
        )
        assert [result.value for result in results] == [2 * n for n in range(20)]
        assert [result.stdout for result in results] == [f"{n}\n" * 50 for n in range(20)]
    finally:
        await asyncio.gather(*(session.close() for session in sessions))


async def test_close_leaves_no_thread_and_puts_everything_back(tmp_path: Path):
    before = (
        set(threading.enumerate()),
        sys.stdin,
        sys.stdout,
        sys.stderr,
        list(sys.path),
        threading.Thread.start,
    )
    session = Session.inprocess(tmp_path)
    await session.start()
    await session.run("import asyncio\ntask = asyncio.create_task(asyncio.sleep(60))\nprint(1)")
    await session.run("await asyncio.to_thread(print, 2)")
    await session.close()
    await session.close()
    for thread in set(threading.enumerate()) - before[0]:
        if not thread.name.startswith("asyncio_"):  # of this test's own loop
            thread.join(5)
            assert not thread.is_alive()
    assert (sys.stdin, sys.stdout, sys.stderr, list(sys.path), threading.Thread.start) == before[1:]
    with pytest.raises(SessionClosedError):
        await session.run("1")


async def test_only_what_is_true_is_claimed(session: Session):
    assert session.supported_capabilities() == {"reset", "deps_install"}
    assert not session.supports("timeout")
    assert not session.supports("process_isolation")


async def test_packages_are_installed_beside_the_environment_of_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PY_CODE_MODE_CACHE", str(tmp_path / "cache"))
    use_only(tmp_path / "wheels", monkeypatch)
    make_wheel(tmp_path / "wheels", "pcm_beside", "1.5")
    async with Session.inprocess(tmp_path / "base") as session:
        assert await value(session, "deps.add('pcm_beside')") == {
            "installed": ["pcm_beside"],
            "already_present": [],
            "failed": [],
        }
        where = await value(session, "import pcm_beside\npcm_beside.VERSION, pcm_beside.__file__")
        assert where[0] == "1.5"  # type: ignore[index]
        assert Path(where[1]).is_relative_to(tmp_path / "cache")  # type: ignore[index]
        assert sys.path[-1] == str(Path(where[1]).parent)  # type: ignore[index]
        assert await session.list_deps() == ["pcm_beside"]
        assert (await session.remove_dep("pcm_beside"))["removed"] == ["pcm_beside"]
    sys.modules.pop("pcm_beside")


async def test_what_this_process_has_is_used_and_never_replaced(tmp_path: Path):
    async with Session.inprocess(tmp_path) as session:
        there = await session.add_dep("pytest>=8")
        assert there["already_present"] == ["pytest>=8"]
        other = await session.add_dep("pytest<2")
        assert other["failed"] == ["pytest<2"]
        assert "its own environment" in other["errors"]["pytest<2"]
        assert (await session.remove_dep("pytest"))["failed"] == ["pytest"]


async def test_runtime_deps_can_be_off(tmp_path: Path):
    async with Session.inprocess(tmp_path, allow_runtime_deps=False) as session:
        assert (await session.run("deps.add('pytest')")).error_name == "RuntimeDepsDisabledError"
        with pytest.raises(RuntimeDepsDisabledError):
            await session.add_dep("pytest")
        assert await value(session, "deps.list()") == []


async def test_output_past_the_limit_is_cut_and_said_so(tmp_path: Path):
    executor = InProcessExecutor(InProcessConfig(max_output_bytes=10_000))
    async with Session(MemoryStorage(), executor) as session:
        result = await session.run("for i in range(300): print('x' * 1_000_000)\nprint('end')")
        assert result.truncated
        assert result.stdout.startswith("xxx")
        assert result.stdout.endswith("x\nend\n")
        assert len(result.stdout) < 11_000
