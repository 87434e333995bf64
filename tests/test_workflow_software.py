"""Workflows as software, from the side of the code and of its session: versions, checks, tests, packages, uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from py_code_mode import FileStorage, MemoryStorage
from py_code_mode.errors import (
    WorkflowArgumentError,
    WorkflowInvalidError,
    WorkflowNotFoundError,
    WorkflowTestError,
)
from py_code_mode.executors.inprocess import InProcessConfig, InProcessExecutor
from py_code_mode.session import Session

from .sessions import open_session
from .venvs import make_wheel, use_only

DOUBLE = '''"""Double a number.

>>> double(2)
4
"""


async def run(x: int) -> int:
    """Double it.

    Args:
        x: the number
    """
    return 2 * x
'''


@pytest.fixture(params=["kernel", "in-process"])
async def session(request, shared, tmp_path):
    """A session whose workspace has no workflow of the names that the tests use, on either executor."""
    if request.param == "in-process":
        async with Session(MemoryStorage(), InProcessExecutor()) as opened:
            yield opened
        return
    yield shared
    for workflow in await shared.list_workflows():
        await shared.remove_workflow(workflow["name"])


async def value(session: Session, code: str):
    return (await session.run(code)).raise_for_error().value


def double(by: int) -> str:
    return DOUBLE.replace("2 * x", f"{by} * x")


async def test_a_workflow_tells_what_it_is_needs_and_where_it_comes_from(session):
    source = (
        '"""Fetch."""\n# /// script\n# dependencies = ["pcm-none>=1"]\n# ///\nimport numpy, json\n\n\n'
        "async def run(url: str, limit: int = 3) -> dict[str, int]:\n"
        "    return workflows.double(x=len(tools.curl.get(url=url)))\n"
    )
    await session.add_workflow("fetch", source, "", tags=["net", "json"])
    made = await session.get_workflow("fetch")
    assert made["signature"] == "fetch(url: str, limit: int = 3) -> dict[str, int]"
    assert (made["returns"], made["tags"], made["version"]) == ("dict[str, int]", ["json", "net"], 1)
    assert made["requires"] == {
        "tools": ["curl"],
        "workflows": ["double"],
        "packages": ["numpy"],
        "dependencies": ["pcm-none>=1"],
    }
    assert made["author"] == f"session {session.id}"
    assert made["created"] == made["updated"] == (await session.workflow_history("fetch"))[-1]["created"]
    assert [item["name"] for item in await session.search_workflows("net")] == ["fetch"]
    assert await value(session, "workflows.get('fetch')") == made


async def test_versions_are_listed_read_compared_and_brought_back(session):
    for by in (2, 3, 4):
        await session.add_workflow("double", double(by), "")
    assert await value(session, "workflows.double(5)") == 20
    history = await session.workflow_history("double")
    assert [(each["version"], each["change"]) for each in history] == [(1, "saved"), (2, "saved"), (3, "saved")]
    assert await value(session, "workflows.history('double')") == history
    assert (await session.get_workflow("double", 1))["source"] == double(2)
    assert await value(session, "workflows.get('double', version=2)['source']") == double(3)
    difference = await session.diff_workflow("double", 1, 2)
    assert "-    return 2 * x\n+    return 3 * x\n" in difference
    assert await value(session, "workflows.diff('double', 1, 2)") == difference
    await session.rollback_workflow("double", 2)
    assert await value(session, "workflows.double(5)") == 15
    await value(session, "workflows.delete('double'); workflows.rollback('double', 1)")
    assert await value(session, "workflows.double(5)") == 10
    about = await session.get_workflow("double")
    assert (about["version"], about["created"]) == (6, about["updated"])  # a new life
    with pytest.raises(WorkflowNotFoundError, match="no version 9"):
        await session.get_workflow("double", 9)
    assert (await session.run("workflows.rollback('dubble', 1)")).error_name == "WorkflowNotFoundError"


async def test_versions_and_differences_show_themselves(session):
    for by in (2, 3):
        await session.add_workflow("shown", double(by), "")
    page = await value(session, "workflows.history('shown')._repr_html_()")
    assert page.index(">2<") < page.index(">1<")
    assert f"session {session.id}" in page
    shown = await session.run("workflows.diff('shown')")
    assert shown.outputs[-1].data["text/plain"].rstrip() == shown.value.rstrip()
    assert shown.value.startswith("--- workflows/shown.py (version 1)\n")
    assert "never" in await value(session, "workflows.stats()._repr_html_()")


async def test_arguments_that_do_not_fit_are_refused_before_anything_runs(session):
    await session.add_workflow("double", DOUBLE + "\nprint('loaded')\n", "")
    for call, told in (
        ("workflows.double()", "x: int"),
        ("workflows.double(y=1)", "'y'"),
        ("workflows.double('2')", "int"),
        ("workflows.invoke('double', x=[1])", "int"),
    ):
        failed = await session.run(call)
        assert failed.error_name == "WorkflowArgumentError"
        assert told in failed.error
        assert "double(x: int) -> int" in failed.error
    assert await value(session, "workflows.double(True), workflows.double(x=3)") == (2, 6)


async def test_calls_failures_and_last_use_are_counted(session):
    await session.add_workflow("counted", DOUBLE, "")
    await session.add_workflow("never", DOUBLE, "")
    await session.run("workflows.counted(1)")
    await session.run("workflows.counted('x')")
    await session.run("import asyncio; await asyncio.gather(*(workflows.counted.call_async(n) for n in range(3)))")
    await session.run("workflows.countid(1)")
    await session.run("[workflows._link.request('workflows.failed', name=n) for n in ('forged', 'never', '../x')]")
    await session.run(
        "str(workflows.counted) + str(help(workflows.counted)); import inspect; inspect.signature(workflows.counted)"
    )
    rows = {row["name"]: row for row in await session.workflow_stats()}
    assert (rows["counted"]["calls"], rows["counted"]["failures"]) == (5, 1)
    assert rows["counted"]["last_used"].startswith("20")
    assert rows["never"] == {"name": "never", "calls": 0, "failures": 0, "last_used": None}
    assert set(rows) == {"counted", "never"}
    assert await value(session, "workflows.stats('counted')") == [rows["counted"]]
    with pytest.raises(WorkflowNotFoundError, match="did you mean 'counted'"):
        await session.workflow_stats("countid")


async def test_uses_are_written_down_by_the_time_a_session_is_closed(tmp_path):
    async with Session.inprocess(tmp_path) as one:
        await one.add_workflow("double", DOUBLE, "")
        await one.run("workflows.double(1); workflows.double(2)")
    assert FileStorage(tmp_path).get_workflow_library().stats() == [
        {
            "name": "double",
            "calls": 2,
            "failures": 0,
            "last_used": FileStorage(tmp_path).get_workflow_library().uses()["double"].last,
        }
    ]


async def test_a_workspace_that_cannot_be_written_to_still_runs_its_workflows(tmp_path):
    folder = tmp_path / "workflows"
    folder.mkdir()
    (folder / "double.py").write_text(DOUBLE)
    (folder / ".history").write_text("no folder can be made here")
    async with Session.inprocess(tmp_path) as session:
        assert await value(session, "workflows.double(4)") == 8


async def test_the_tests_of_a_workflow_run_where_the_code_runs(session):
    await session.add_workflow(
        "double", DOUBLE + "\n\ndef test_zero():\n    assert double_zero() == 0\n\ndef double_zero(): return 1\n", ""
    )
    report = await session.test_workflow("double")
    assert (report["passed"], report["failed"]) == (1, 1)
    (failure,) = report["failures"]
    assert (failure["test"], failure["line"]) == ("test_zero", 18)
    assert await value(session, "workflows.test('double')") == report
    assert await session.test_workflow("double", DOUBLE) == {"name": "double", "passed": 1, "failed": 0, "failures": []}
    with pytest.raises(WorkflowNotFoundError, match="no workflow 'dubble'"):
        await session.test_workflow("dubble")
    with pytest.raises(WorkflowInvalidError, match="does not parse"):
        await session.test_workflow("double", "def (")


async def test_a_workflow_whose_tests_fail_is_not_saved_when_it_is_to_be_tested(session):
    await session.add_workflow("double", DOUBLE, "", test=True)
    with pytest.raises(WorkflowTestError, match=r"expected: 4\n  got: 6") as caught:
        await session.add_workflow("double", double(3), "", test=True)
    assert caught.value.report["failed"] == 1
    with pytest.raises(WorkflowTestError, match="has no tests: give it examples"):
        await session.add_workflow("bare", "async def run(): pass", "Bare", test=True)
    with pytest.raises(WorkflowInvalidError, match="no description"):
        await session.add_workflow("bare", "async def run(): pass", "", test=True)
    assert [item["name"] for item in await session.list_workflows()] == ["double"]
    assert (await session.get_workflow("double"))["source"] == DOUBLE
    failed = await session.run(f"workflows.create('double', {double(3)!r}, test=True)")
    assert failed.error_name == "WorkflowTestError"
    assert (
        await value(session, f"workflows.create('twice', {DOUBLE.replace('double(', 'twice(')!r}, test=True)['name']")
        == "twice"
    )


async def test_the_examples_in_a_source_reach_the_workflow_as_they_were_written(session):
    source = 'async def run(x: int) -> int:\n    """\n    >>> one(1)\n    1\n    """\n    return x\n'
    code = f"source = '''{source}'''\nworkflows.create('one', source, 'One', test=True)\nsource"
    assert await value(session, code) == source


async def test_prompts_that_are_pasted_before_code_are_taken_off(shared):
    assert await value(shared, ">>> x = [\n...     1,\n... ]\n>>> x\n") == [1]
    assert await value(shared, "\n    >>> 6 * 7") == 42
    assert await value(shared, "text = '''a\n    >>> b\n'''\ntext") == "a\n    >>> b\n"


async def test_tests_that_do_not_end_are_stopped_and_nothing_is_saved(session):
    source = DOUBLE + "\n\nasync def test_hangs():\n    import asyncio\n    await asyncio.sleep(60)\n"
    with pytest.raises(TimeoutError):
        await session.test_workflow("double", source, timeout=0.5)
    assert await session.list_workflows() == []


async def test_packages_that_a_workflow_declares_are_installed_when_it_is_called(tmp_path, monkeypatch):
    base = tmp_path / "base"
    source = (
        '"""Use it."""\n# /// script\n# dependencies = ["pcm_flow>=2"]\n# ///\n\n\n'
        "async def run() -> str:\n    import pcm_flow\n\n    return pcm_flow.VERSION\n"
    )
    async with open_session(base, cache_venv=False) as session:
        use_only(tmp_path / "wheels", monkeypatch)
        make_wheel(tmp_path / "wheels", "pcm_flow", "2.1")
        await session.add_workflow("use", source, "")
        await session.add_workflow("cannot", source.replace("pcm_flow>=2", "pcm_flow>=9"), "")
        assert await value(session, "workflows.use()") == "2.1"
        assert await session.list_deps() == []  # the workflow says it, not the workspace
        failed = await session.run("workflows.cannot()")
        assert failed.error_name == "InstallError"
        assert "workflow 'cannot' needs pcm_flow>=9, which cannot be installed" in failed.error
        assert await value(session, "workflows.use()") == "2.1"


async def test_a_session_that_may_not_install_says_what_a_workflow_lacks(tmp_path):
    source = '"""U."""\n# /// script\n# dependencies = ["pcm_absent", "pip"]\n# ///\nasync def run(): return 1\n'
    storage = MemoryStorage()
    async with Session(storage, InProcessExecutor(InProcessConfig(allow_runtime_deps=False))) as session:
        await session.add_workflow("use", source, "")
        failed = await session.run("workflows.use()")
        assert failed.error_name == "RuntimeDepsDisabledError"
        assert "workflow 'use' needs pcm_absent" in failed.error
        assert "requirements.txt" in failed.error


# -- promote ------------------------------------------------------------------------------------------------


async def test_the_last_cell_becomes_a_workflow_with_its_free_variables_as_parameters(session):
    await session.run("import math\nsides = [3, 4]\ndef square(n): return n * n")
    await session.run("total = sum(map(square, sides))\nmath.sqrt(total)")
    made = await session.promote("length", "Length of a vector", tags=["geometry"])
    assert made["signature"] == "length(sides: list[int]) -> float"
    assert (made["tags"], made["version"], made["description"]) == (["geometry"], 1, "Length of a vector")
    assert made["author"] == f"session {session.id}"
    assert await value(session, "workflows.length([6, 8]), sides, total") == (10.0, [3, 4], 25)
    await session.reset()
    assert await value(session, "workflows.length(sides=[5, 12])") == 13.0


async def test_chosen_cells_become_a_workflow_in_their_order(session):
    first = await session.run("text = 'b a'")
    second = await session.run("words = text.split()")
    third = await session.run("words.sort()")
    fourth = await session.run("words")
    cells = [result.execution_count for result in (second, third, fourth)]
    made = await session.promote("sorted_words", "Sort the words of a text", cells)
    assert made["signature"] == "sorted_words(text: str) -> list[str]"
    assert await value(session, "workflows.sorted_words(text='z y x')") == ["x", "y", "z"]
    made = await value(
        session, f"workflows.promote('again', 'Again', cells={[first.execution_count, *cells]})['signature']"
    )
    assert made.startswith("again() -> list")


async def test_what_does_not_work_on_the_values_that_are_there_is_not_saved(session):
    await session.run("items = [3, 2, 1]")
    await session.run("smallest = items[-1]\nitems.clear()\nsmallest")
    with pytest.raises(WorkflowTestError, match="IndexError") as caught:
        await session.promote("smallest_of", "The last one")
    assert "items: list" in str(caught.value)
    assert await session.get_workflow("smallest_of") is None


async def test_trying_a_workflow_changes_no_variable_of_the_session(session):
    await session.run("items = [3, 2, 1]")
    await session.run("items.append(0)\nlen(items)")
    await session.promote("grow", "Append")
    assert await value(session, "items") == [3, 2, 1, 0]


async def test_cells_that_cannot_be_a_workflow_are_refused_with_the_reason(session):
    await session.run("x = 1")
    with pytest.raises(WorkflowInvalidError, match="no cell 999 before this one"):
        await session.promote("none", "None", [999])
    with pytest.raises(WorkflowInvalidError, match="cells is empty"):
        await session.promote("none", "None", [])
    with pytest.raises(WorkflowInvalidError, match="try 'run_2nd'"):
        await session.promote("2nd", "None")
    with pytest.raises(WorkflowInvalidError, match="no description"):
        await session.promote("second", "")
    for given, told in (
        ((Path("a"), "None"), "the name of a workflow is a string, not PosixPath"),
        (("none", 5), "the description of a workflow is a string, not int"),
        (("none", "None", 1), r"cells is a list of the numbers of cells, such as \[\d+\], not 1"),
        (("none", "None", "1"), "cells is a list of the numbers of cells"),
        (("none", "None", [[1]]), r"no cell \[1\] before this one"),
    ):
        with pytest.raises(WorkflowInvalidError, match=told):
            await session.promote(*given)
    with pytest.raises(WorkflowInvalidError, match="tags are a list of strings"):
        await session.promote("none", "None", tags="none")
    assert (await session.run("workflows.promote('none', 5)")).error_name == "WorkflowInvalidError"
    assert await session.list_workflows() == []


WAITS = '"""Wait.\n\n>>> workflows.waits()\n"""\nimport asyncio\nasync def run(): await asyncio.sleep(60)\n'


async def test_what_waits_in_a_trial_is_interrupted_nothing_is_saved_and_the_next_run_is_fine(session):
    await session.run("import asyncio; seconds, kept = 0, 1")
    waited = (await session.run("await asyncio.sleep(seconds)")).execution_count
    await session.run("seconds = 60")
    for trial in (
        f"workflows.promote('waits', 'Wait', [{waited}])",
        f"workflows.create('waits', {WAITS!r}, '', test=True)",
    ):
        result = await session.run(trial, timeout=0.2)
        assert (result.timed_out, result.kernel_restarted) == (True, False)
        assert await value(session, "kept") == 1
    assert await session.list_workflows() == []


async def test_a_cell_that_promotes_is_not_promoted(session):
    await session.run("41 + 1")
    await session.run("workflows.promote('answer', 'The answer')")
    await session.add_workflow("makes", "async def run(): return workflows.promote('inner', 'Inner')", "Makes one")
    count = (await session.run("x = 0; workflows.makes()")).execution_count
    with pytest.raises(WorkflowTestError, match="leave out the cell that does so") as caught:
        await session.promote("outer", "Outer", [count])
    assert len(str(caught.value)) < 3000


async def test_a_promotion_in_a_thread_that_fails_says_why(session):
    await session.run("x, by = 1, 0")
    await session.run("import asyncio")
    await session.run("if by: x / by")
    failed = await session.run("by = 0\nx / 0")
    assert failed.error_name == "ZeroDivisionError"
    count = failed.execution_count
    tried = await session.run(f"await asyncio.to_thread(workflows.promote, 'none', 'None', [{count}])")
    assert tried.error_name == "WorkflowTestError"


@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
async def test_the_dataclasses_of_a_workflow_are_made_and_found_whenever_that_is(session, future):
    source = (
        f'"""A point."""\n{future}import typing\nfrom dataclasses import dataclass\n\n\n'
        "@dataclass\nclass Point:\n    x: int\n    next: 'Point | None' = None\n\n\n"
        "async def run(x: int) -> int:\n"
        "    @dataclass\n    class Inner:\n        y: int\n\n"
        "    typing.get_type_hints(Point)\n"
        "    return Point(x).x + Inner(1).y\n\n\n"
        "def test_point():\n    assert Point(1).x == 1\n"
    )
    await session.add_workflow("point", source, "", test=True)
    assert await value(session, "workflows.point(x=2)") == 3
    assert (await session.test_workflow("point", source.replace("x == 1", "x == 2")))["failed"] == 1
    assert await value(session, "workflows.point(x=3)") == 4
    assert await value(session, "import sys; hasattr(sys.modules['workflows.point'], 'Point')") is False


async def test_the_last_cell_is_not_passed_over_because_it_failed(session):
    await session.run("'good'")
    await session.run("1 / 0")
    with pytest.raises(WorkflowInvalidError, match=r"did not end well \(ZeroDivisionError.*name the cells"):
        await session.promote("none", "None")
    assert await session.list_workflows() == []


async def test_cells_keep_their_numbers_after_one_that_exits(session):
    await session.run("exit()") if session.supports("process_isolation") else await session.run("raise SystemExit")
    second = await session.run("'second'")
    await session.run("'third'")
    await session.promote("pick", "Pick", [second.execution_count])
    assert await value(session, "workflows.pick()") == "second"


async def test_a_promotion_without_a_cell_since_the_last_reset_is_refused(tmp_path):
    async with Session.inprocess(tmp_path) as session:
        for prepare in ("x = 1", "1 / 0"):
            await session.run(prepare)
            await session.reset()
            with pytest.raises(WorkflowInvalidError, match="no cell of this session has run since"):
                await session.promote("none", "None")
        await session.run("41 + 1")
        await session.test_workflow("none", "async def run(): pass")
        assert (await session.promote("answer", "The answer"))["signature"] == "answer() -> int"


async def test_what_the_namespaces_give_has_the_type_that_people_know_it_by(session):
    await session.run("name = 'x'")
    await session.run("workflows.search(name)")
    assert (await session.promote("find", "Find"))["signature"] == "find(name: str) -> list"


async def test_ipython_syntax_is_refused_with_its_line(shared):
    await shared.run("x = 1\n!true")
    with pytest.raises(WorkflowInvalidError, match="no workflow 'shell' can be made of these cells"):
        await shared.promote("shell", "Runs a command")


RUBBISH = """
def asked(method, **params):
    try:
        return workflows._link.request(method, **params)
    except CodeModeError as error:
        return str(error)

good = {"name": "double", "version": None, "old": None, "query": "", "limit": 1, "tags": None, "wanted_by": "x"}
good |= {"source": "async def run(): ...", "description": "d", "known": "", "requirements": []}
asks = {"list": [], "search": ["query", "limit"], "get": ["name", "version"], "code": ["name", "known"],
        "failed": ["name"], "history": ["name"], "diff": ["name", "old"], "stats": ["name"],
        "check": ["name", "source", "description", "tags"], "create": ["name", "source", "description", "tags"],
        "rollback": ["name", "version"], "delete": ["name"]}
told = []
for method, names in {**{f"workflows.{key}": asks[key] for key in asks}, "deps.provide": ["requirements", "wanted_by"]}.items():
    for name in names:
        for rubbish in (0, -1.5, b"x", [], [1], {1}, {"a": 1}, "\\ud800", "\\0"):
            told.append(asked(method, **{key: good[key] for key in names} | {name: rubbish}))
told.append(asked("workflows.get", nam="double"))
told
"""


async def test_rubbish_that_a_kernel_asks_with_is_answered_with_an_error_and_nothing_else(tmp_path, caplog):
    async with Session.inprocess(tmp_path) as session:
        await session.add_workflow("double", DOUBLE, "")
        told = await value(session, RUBBISH)
        assert sum(isinstance(answer, str) and "has to be" in answer for answer in told) > 50
        assert "no argument 'nam' (did you mean 'name'?); missing 'name' (str)" in told[-1]
        assert [record.getMessage() for record in caplog.records] == []
        with pytest.raises(WorkflowArgumentError, match=r"search: 'query' has to be str, not None\. It takes: .*limit"):
            await session.search_workflows(None)
