"""The four names, as code in the kernel uses them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from py_code_mode.session import Session

TOOL = """\
name: say
description: Say something on stdout
command: echo
tags: [text, demo]
schema:
  options:
    no-newline: {type: boolean, short: n, description: Leave the newline out}
  positional:
    - {name: words, type: array, required: true, description: What to say}
recipes:
  hello:
    description: Greet somebody
    params: {words: {default: [hello]}}
"""

SLOW = """\
name: slow
description: Sleep
command: sleep
schema:
  positional: [{name: seconds, type: number, required: true}]
"""

FAIL = """\
name: fail
description: Always fails
command: [sh, -c, 'echo partial; echo went wrong >&2; exit 3']
"""

FETCH = '''"""Say a greeting."""

async def run(name: str, times: int = 1) -> list:
    """Greet.

    name: whom
    """
    return [tools.say.hello(words=["hi", name]).strip() for _ in range(times)]
'''


@pytest.fixture(autouse=True, scope="module")
def files(shared: Session) -> None:
    base: Path = shared.storage.base_path
    for folder, name, text in (
        ("tools", "say.yaml", TOOL),
        ("tools", "slow.yaml", SLOW),
        ("tools", "fail.yaml", FAIL),
        ("workflows", "greet.py", FETCH),
    ):
        (base / folder).mkdir(exist_ok=True)
        (base / folder / name).write_text(text)


async def value(session: Session, code: str):
    return (await session.run(code)).raise_for_error().value


# -- tools ----------------------------------------------------------------------------------------------


async def test_tools_are_listed_and_found(shared: Session):
    listed = await value(shared, "tools.list()")
    assert {"name": "say", "description": "Say something on stdout", "tags": ["text", "demo"]} in [
        {**item, "tags": list(item["tags"])} for item in listed
    ]
    assert (await value(shared, "tools.search('saying')"))[0]["name"] == "say"
    assert [item["name"] for item in await value(shared, "tools.say.list()")] == ["hello"]


async def test_recipes_and_raw_calls_return_stdout(shared: Session):
    assert await value(shared, "tools.say.hello(words=['a', 'b'])") == "a b\n"
    assert await value(shared, "tools.say.hello()") == "hello\n"
    assert await value(shared, "tools.say(words=['x'], no_newline=True)") == "x"
    assert await value(shared, "tools.say(['x', 'y'])") == "x y\n"


async def test_tools_work_in_threads_and_coroutines_and_with_await(shared: Session):
    code = (
        "import asyncio, threading\n"
        "async def f(): return tools.say.hello(words=['in'])\n"
        "got = []\nt = threading.Thread(target=lambda: got.append(tools.say.hello(words=['thread']))); t.start(); t.join()\n"
        "[await f(), await tools.say.hello(words=['await']), *got]"
    )
    assert await value(shared, code) == ["in\n", "await\n", "thread\n"]


async def test_call_async_runs_tools_at_the_same_time(shared: Session):
    started = time.monotonic()
    await value(shared, "import asyncio; await asyncio.gather(*(tools.slow.call_async(seconds=0.5) for _ in range(8)))")
    assert time.monotonic() - started < 2.5


async def test_a_failing_command_raises_with_exit_code_and_stderr(shared: Session):
    code = "try:\n    tools.fail()\nexcept ToolError as e:\n    r = (type(e).__name__, e.exit_code, e.stdout, e.stderr, e.tool)\nr"
    assert await value(shared, code) == ("ToolCommandError", 3, "partial\n", "went wrong\n", "fail")


@pytest.mark.parametrize(
    ("call", "error", "names"),
    [
        ("tools.sey()", "ToolNotFoundError", "say"),
        ("tools.say.helo()", "ToolNotFoundError", "hello"),
        ("tools.say(wrds=['x'])", "ToolArgumentError", "words"),
        ("tools.say()", "ToolArgumentError", "words"),
        ("tools.say(words=5)", "ToolArgumentError", "list"),
    ],
)
async def test_wrong_names_and_arguments_are_told_with_the_right_ones(
    shared: Session, call: str, error: str, names: str
):
    result = await shared.run(call)
    assert result.error_name == error
    assert names in (result.error or "")


async def test_tools_have_help_signatures_completion_and_readable_reprs(shared: Session):
    assert await value(shared, "import inspect; str(inspect.signature(tools.say.hello))") == "(words: list = ['hello'])"
    assert "Greet somebody" in (await shared.run("help(tools.say.hello)")).stdout
    helped = (await shared.run("help(tools.say)")).stdout
    assert "Say something" in helped
    assert "Methods defined here" not in helped
    assert (await shared.run("tools.say.hello?")).is_ok
    assert await value(shared, "'say' in dir(tools) and 'hello' in dir(tools.say)")
    text = await value(shared, "repr(tools) + repr(tools.say) + repr(tools.say.hello)")
    assert "Say something on stdout" in text
    assert "tools.say.hello(words: list" in text
    html = await value(shared, "tools._repr_html_() + tools.say._repr_html_()")
    assert "<table" in html
    assert "nosuch" in await value(shared, "repr(tools.nosuch)")


async def test_names_complete_as_a_person_types(shared: Session):
    code = (
        "from IPython.core.completer import provisionalcompleter\nwith provisionalcompleter():\n"
        "    found = [c.text for c in get_ipython().Completer.completions('tools.s', 7)]\nfound"
    )
    assert {"say", "search", "slow"} <= {text.lstrip(".") for text in await value(shared, code)}


async def test_new_and_edited_tools_are_seen_by_a_running_session(shared: Session):
    path = shared.storage.base_path / "tools" / "fresh.yaml"
    path.write_text("name: fresh\ndescription: New\ncommand: [echo, one]\n")
    assert await value(shared, "tools.fresh()") == "one\n"
    path.write_text("name: fresh\ndescription: New\ncommand: [echo, another]\n")
    assert await value(shared, "tools.fresh()") == "another\n"
    path.unlink()
    assert (await shared.run("tools.fresh()")).error_name == "ToolNotFoundError"


async def test_one_bad_tool_file_does_not_hide_the_others(shared: Session):
    path = shared.storage.base_path / "tools" / "bad.yaml"
    path.write_text("name: bad\ncommand: [\n")
    assert "say" in [item["name"] for item in await value(shared, "tools.list()")]
    assert "bad.yaml" in ((await shared.run("tools.bad()")).error or "")
    (bad,) = [item for item in await shared.list_tools() if item["name"] == "bad"]
    assert "bad.yaml" in bad["broken"]
    assert "broken: " in await value(shared, "repr(tools)")
    assert "bad.yaml" in await value(shared, "tools._repr_html_()")
    path.unlink()
    assert not [item for item in await shared.list_tools() if "broken" in item]


# -- workflows ------------------------------------------------------------------------------------------


async def test_workflows_are_listed_found_got_and_called(shared: Session):
    assert [item["name"] for item in await value(shared, "workflows.list()")] == ["greet"]
    assert (await value(shared, "workflows.search('greeting')"))[0]["name"] == "greet"
    got = await value(shared, "workflows.get('greet')")
    assert got["source"] == FETCH
    assert [parameter["name"] for parameter in got["parameters"]] == ["name", "times"]
    assert await value(shared, "workflows.get('none')") is None
    assert await value(shared, "workflows.greet(name='Ada', times=2)") == ["hi Ada", "hi Ada"]
    assert await value(shared, "workflows.invoke('greet', name='Bo')") == ["hi Bo"]
    assert await value(shared, "await workflows.greet('Cy')") == ["hi Cy"]
    assert await value(
        shared, "import asyncio; await asyncio.gather(*(workflows.greet.call_async(n) for n in 'ab'))"
    ) == [
        ["hi a"],
        ["hi b"],
    ]


async def test_workflows_are_created_edited_and_deleted_at_run_time(shared: Session):
    create = "workflows.create(name='double', source='async def run(x: int) -> int:\\n    return x * 2\\n', description='Double a number')"
    assert (await value(shared, create))["name"] == "double"
    assert await value(shared, "workflows.double(x=4)") == 8
    path = shared.storage.base_path / "workflows" / "double.py"
    path.write_text(path.read_text().replace("x * 2", "x * 20"))
    assert await value(shared, "workflows.double(x=4)") == 80
    assert await value(shared, "workflows.delete('double'), workflows.delete('double')") == (True, False)
    assert (await shared.run("workflows.double(x=4)")).error_name == "WorkflowNotFoundError"


async def test_workflows_nest_inside_a_running_loop_and_tasks_survive(shared: Session):
    await shared.run(
        "workflows.create('inner', 'import asyncio\\nasync def run(x):\\n    await asyncio.sleep(0.01)\\n    return await asyncio.gather(*[one(i) for i in range(x)])\\nasync def one(i): return i\\n', 'Inner')\n"
        "workflows.create('outer', 'async def run(x):\\n    return [workflows.inner(x), await workflows.inner(x=x)]\\n', 'Outer')"
    )
    code = (
        "import asyncio\ntask = asyncio.create_task(asyncio.sleep(0.05, 'task'))\n"
        "async def f(): return workflows.outer(x=2)\n[await f(), workflows.outer(x=1), await task]"
    )
    assert await value(shared, code) == [[[0, 1], [0, 1]], [[0], [0]], "task"]
    await shared.run("workflows.delete('inner'); workflows.delete('outer')")


async def test_endless_recursion_of_workflows_ends_with_a_clear_error(shared: Session):
    await shared.run("workflows.create('again', 'async def run(): return workflows.again()', 'Recursive')")
    result = await shared.run("workflows.again()")
    assert result.error_name == "WorkflowRecursionError"
    assert "again" in (result.error or "")
    assert (await shared.run("1 + 1")).value == 2
    await shared.run("workflows.delete('again')")


async def test_a_traceback_through_a_workflow_shows_its_file_and_line(shared: Session):
    source = '"""Break."""\n\nasync def run():\n    broken = 1 / 0\n'
    await shared.run(f"workflows.create('breaks', {source!r}, 'Break')")
    traceback = (await shared.run("workflows.breaks()")).traceback or ""
    assert 'File "workflows/breaks.py", line ' in traceback
    assert "broken = 1 / 0" in traceback
    assert "kernel_bootstrap" not in traceback
    await shared.run("workflows.delete('breaks')")


async def test_a_broken_workflow_is_listed_with_its_reason_and_refused(shared: Session):
    path = shared.storage.base_path / "workflows" / "bad.py"
    path.write_text("def run(): pass\n")
    assert "async def run" in str(await value(shared, "[w for w in workflows.list() if w['name'] == 'bad']"))
    assert (await shared.run("workflows.bad()")).error_name == "WorkflowInvalidError"
    path.unlink()


async def test_workflows_have_signatures_docs_and_readable_reprs(shared: Session):
    assert (
        await value(shared, "import inspect; str(inspect.signature(workflows.greet))")
        == "(name: str, times: int = 1) -> list"
    )
    assert "Say a greeting." in (await shared.run("help(workflows.greet)")).stdout
    assert "greet(name" in await value(shared, "repr(workflows)")
    assert "<table" in await value(shared, "workflows._repr_html_()")
    assert await value(shared, "'greet' in dir(workflows)")
    assert (await shared.run("workflows.gret()")).error is not None
    assert "greet" in ((await shared.run("workflows.gret()")).error or "")


async def test_an_interrupt_reaches_a_workflow_in_the_running_loop(shared: Session):
    await shared.run(
        "workflows.create('waits', 'import asyncio\\nasync def run():\\n    await asyncio.sleep(60)\\n', 'Wait')"
    )
    result = await shared.run("workflows.waits()", timeout=0.5)
    assert result.timed_out
    assert not result.kernel_restarted
    assert "workflows/waits.py" in (result.traceback or "")
    await shared.run("workflows.delete('waits')")


# -- artifacts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "'text é'",
        "b'\\x00bytes'",
        "{'a': [1, 2.5, None, True]}",
        "(1, {2, 3})",
        "{1: 'one'}",
        "__import__('datetime').date(2026, 1, 2)",
        "'x' * 3_000_000",
        "b'y' * 30_000_000",
    ],
)
async def test_artifacts_come_back_as_they_were_saved(shared: Session, source: str):
    assert await value(
        shared,
        f"v = {source}\nartifacts.save('round/trip', v)\nloaded = artifacts.load('round/trip')\nloaded == v and type(loaded) is type(v)",
    )


async def test_artifacts_are_listed_described_and_deleted(shared: Session):
    await value(shared, "artifacts.save('report', {'n': 1}, description='Numbers', metadata={'k': 'v'})")
    found = next(item for item in await value(shared, "artifacts.list()") if item["name"] == "report")
    assert found["description"] == "Numbers"
    assert found["metadata"] == {"k": "v"}
    assert found["created_at"].startswith("20")
    assert Path(found["path"]).exists()
    assert await value(
        shared, "artifacts.exists('report'), artifacts.get('report')['name'], artifacts.get('none')"
    ) == (
        True,
        "report",
        None,
    )
    await value(shared, "artifacts.delete('report')")
    assert await value(shared, "artifacts.exists('report')") is False
    assert "report" in await value(shared, "artifacts.save('report2', 1); repr(artifacts) + artifacts._repr_html_()")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("artifacts.load('nothing')", "ArtifactNotFoundError"),
        ("artifacts.delete('nothing')", "ArtifactNotFoundError"),
        ("artifacts.save('../out', 1)", "ArtifactNameError"),
        ("artifacts.save('', 1)", "ArtifactNameError"),
        ("artifacts.save('f', lambda: 1)", "ArtifactFormatError"),
    ],
)
async def test_errors_of_artifacts_are_caught_by_name_in_the_kernel(shared: Session, code: str, error: str):
    assert await value(shared, f"try:\n    {code}\nexcept {error} as e:\n    name = type(e).__name__\nname") == error


async def test_a_file_that_a_person_puts_there_is_an_artifact(shared: Session):
    (shared.storage.base_path / "artifacts" / "by-hand.txt").write_text("hello")
    assert await value(shared, "artifacts.load('by-hand.txt')") == "hello"
