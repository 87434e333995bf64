"""The tests that a workflow brings: examples in docstrings and functions, run where its code runs."""

from __future__ import annotations

import ast
import asyncio
import json
import linecache
import sys
import textwrap
import threading
from typing import Any

import pytest

from kernel_bootstrap.errors import WorkflowArgumentError, WorkflowTestError
from kernel_bootstrap.workflow_tests import failed, find, run_tests
from py_code_mode.session import Session

DOUBLE = '''"""Double a number.

>>> await run(2)
4
>>> run(3)
6
>>> double(4)
8
>>> workflows.double(5) + workflows.invoke("double", 6)
22
"""


async def run(n: int) -> int:
    """Twice.

    >>> await helper(1)
    'helped 1'
    """
    return 2 * n


async def helper(n):
    return f"helped {n}"


def plain():
    """
    >>> x = 1
    >>> print("a"); x
    a
    1
    """


class Box:
    """A box.

    >>> Box().size
    3
    """

    size = 3

    def grow(self):
        """
        >>> Box().grow()
        4
        """
        return self.size + 1


def test_sync():
    assert asyncio.run(run(2)) == 4


async def test_async():
    assert await run(2) == 4


def test_default(n=2):
    return run(n)
'''
EVERY = ["docstring", "docstring of run", "docstring of plain", "docstring of Box", "docstring of Box.grow",
         "test_sync", "test_async", "test_default"]  # fmt: skip


class Others:
    """Stands for ``workflows`` of a session."""

    def invoke(self, workflow_name: str, /, *args: Any) -> Any:
        return f"invoked {workflow_name}"

    def stored(self) -> str:
        return "stored"


async def ran(source: str, name: str = "double", **names: Any) -> dict[str, Any]:
    names = {"asyncio": asyncio, "workflows": Others(), **names}
    report = await run_tests(name, textwrap.dedent(source), f"workflows/{name}.py", names)
    assert json.loads(json.dumps(report)) == report
    return report


async def failures(source: str, **names: Any) -> list[dict[str, Any]]:
    report = await ran(source, **names)
    assert report["failed"]
    return report["failures"]


def docstring(examples: str) -> str:
    return f'r"""\n{textwrap.dedent(examples).strip()}\n"""\nasync def run(n=1):\n    return n\n'


async def test_examples_and_functions_of_every_kind_are_found_and_run():
    assert find(ast.parse(DOUBLE)) == EVERY
    assert await ran(DOUBLE) == {"name": "double", "passed": len(EVERY), "failed": 0, "failures": []}


def test_what_only_looks_like_a_test_is_none():
    source = (
        'x = """\n>>> 1\n"""\ndef run():\n    """\n    >>> # a comment\n    >>>\n    """\n    def test_inner(): ...\n'
    )
    assert find(ast.parse(source)) == []


@pytest.mark.parametrize(
    "examples",
    [
        ">>> print('a ' * 3)  # doctest: +NORMALIZE_WHITESPACE\na   a\n  a",
        ">>> list(range(20))  # doctest: +ELLIPSIS\n[0, 1, ..., 19]",
        ">>> 1 / 0  # doctest: +SKIP\n1",
        ">>> print('a\\n\\nb')\na\n<BLANKLINE>\nb",
        ">>> 1 / 0\nTraceback (most recent call last):\n    ...\nZeroDivisionError: division by zero",
        ">>> 1 / 0  # doctest: +IGNORE_EXCEPTION_DETAIL\nTraceback (most recent call last):\nZeroDivisionError: by one",
        ">>> int('x')  # doctest: +ELLIPSIS\nTraceback (most recent call last):\nValueError: invalid ...",
        ">>> 1 +\nTraceback (most recent call last):\nSyntaxError: invalid syntax",
        ">>> raise Own('it')\nTraceback (most recent call last):\nWorkflowArgumentError: it",
        ">>> raise Own('it')\nTraceback (most recent call last):\nkernel_bootstrap.errors.WorkflowArgumentError: it",
        ">>> for x in range(2):\n...     x\n...     print(-x)\n0\n0\n1\n-1",
        ">>> for x in [run(3)]:\n...     await x\n3",
        ">>> None\n>>> _ = 5\n>>> 7\n7\n>>> _ + 1\n8",
        ">>> 'a' 'b'\n'ab'",
        ">>> def f():\n...     3\n...     return 4\n>>> f()\n4",
        ">>> import sys\n>>> print('x', end='', file=sys.stdout)\nx\n>>> sys.stdout.writelines(['a', 'b'])\nab",
        ">>> async def later():\n...     print('in a task')\n>>> await asyncio.create_task(later())\nin a task",
        ">>> await asyncio.to_thread(print, 'in a thread')\nin a thread",
        ">>> asyncio.run(run(4))\n4",
        ">>> workflows.stored(), workflows.invoke('other')\n('stored', 'invoked other')",
        ">>> asyncio.run(asyncio.wait_for(workflows.double.call_async(9), 5))\n9",
        ">>> workflows.double(m=1)  # doctest: +ELLIPSIS\nTraceback (most recent call last):\nWorkflowArgumentError: workflows.double: no argument 'm'...",
        ">>> await asyncio.get_running_loop().run_in_executor(None, int, '5')\n5",
        ">>> async with asyncio.Lock():\n...     1\n1",
    ],
)  # fmt: skip
async def test_an_example_means_what_it_means_to_doctest(examples):
    report = await ran(docstring(examples), Own=WorkflowArgumentError)
    assert report["failures"] == []
    assert report["passed"] == 1


async def test_a_failing_example_tells_where_it_is_what_was_expected_and_what_came():
    source = docstring("Text.\n\n>>> await run(2)\n3\n>>> print('b')\na\n>>> run(5)\n5")
    common = {"test": "docstring", "error": ""}
    assert await failures(source) == [
        {**common, "line": 4, "source": "await run(2)\n", "expected": "3\n", "got": "2\n"},
        {**common, "line": 6, "source": "print('b')\n", "expected": "a\n", "got": "b\n"},
    ]


@pytest.mark.parametrize(
    ("examples", "expected", "got", "error"),
    [
        (">>> 1 / 0\n1", "1\n", "", "ZeroDivisionError: division by zero"),
        (">>> run(2)\nTraceback (most recent call last):\nOSError: x", "Traceback (most recent call last):\nOSError: x\n", "2\n", ""),
        (">>> 1 / 0\nTraceback (most recent call last):\nOSError: x", "OSError: x\n", "ZeroDivisionError: division by zero\n", ""),
        (">>> 1 +", "", "", "SyntaxError: invalid syntax"),
        (">>> raise SystemExit(3)", "", "", "SystemExit: 3"),
        (">>> raise asyncio.CancelledError()", "", "", "asyncio.exceptions.CancelledError"),
        (">>>bad", "", "", "its examples cannot be read: line 2 of the docstring for docstring lacks blank after >>>: '>>>bad'"),
    ],
)  # fmt: skip
async def test_whatever_an_example_does_is_its_result(examples, expected, got, error):
    (failure,) = await failures(docstring(examples))
    assert (failure["expected"], failure["got"]) == (expected, got)
    assert failure["error"].endswith(error)
    assert "kernel_bootstrap" not in failure["error"]


async def test_a_group_of_examples_has_globals_of_its_own():
    source = '''
    """
    >>> n = seen = 1
    >>> items.append(1)
    """
    n, items = 5, []
    async def run():
        """
        >>> n, items, await run()
        (5, [1], 5)
        >>> seen
        Traceback (most recent call last):
        NameError: name 'seen' is not defined
        """
        return n
    '''
    assert (await ran(source))["failures"] == []


async def test_a_failing_group_ends_where_it_says_so():
    found = await failures(docstring(">>> 1  # doctest: +FAIL_FAST\n2\n>>> 3\n4"))
    assert [failure["source"].split()[0] for failure in found] == ["1"]


FAILING = """
async def run(n):
    if n < 0:
        raise ValueError(f"{n} is negative")
    return n

async def test_equal():
    print("looked")
    assert await run(2) == 3

def test_in():
    def check():
        x = 1
        assert x not in [1, 2]
    check()

async def test_raises():
    await run(-1)

def test_message():
    assert 1 == 2, "mine"

def test_fixture(tmp_path, *, other, given=1): ...
"""


async def test_a_failing_function_tells_the_line_and_what_was_compared():
    found = await failures(FAILING)
    assert [(f["test"], f["line"], f["source"].strip(), f["got"]) for f in found] == [
        ("test_equal", 9, "assert await run(2) == 3", "looked\n"),
        ("test_in", 15, "check()", ""),
        ("test_raises", 18, "await run(-1)", ""),
        ("test_message", 21, 'assert 1 == 2, "mine"', ""),
        ("test_fixture", 23, "def test_fixture(...)", ""),
    ]
    assert [f["error"].rpartition("\n")[2] for f in found] == [
        "AssertionError: assert 2 == 3",
        "AssertionError: assert 1 not in [1, 2]",
        "ValueError: -1 is negative",
        "AssertionError: mine",
        "test_fixture has parameters, and there is nothing to give for them: tmp_path, other",
    ]
    assert 'File "workflows/double.py", line 9, in test_equal' in found[0]["error"]
    assert "assert x not in [1, 2]" in found[1]["error"]


async def test_a_function_of_which_nothing_runs_does_not_pass():
    source = """
async def run(): ...

def test_yields(): yield 1 / 0
async def test_yields_later(): yield 1 / 0
def test_gone(): ...
del test_gone
"""
    report = await ran(source)
    assert (report["passed"], report["failed"]) == (0, 3)
    assert [(failure["line"], failure["error"]) for failure in report["failures"]] == [
        (4, "test_yields yields, so that a call runs none of it: let it return"),
        (5, "test_yields_later yields, so that a call runs none of it: let it return"),
        (6, "test_gone is not there any more: the file, or a test before it, has removed it"),
    ]


async def test_a_file_that_cannot_be_run_fails_all_its_tests():
    report = await ran(DOUBLE.replace("import asyncio", "") + "\n1 / 0\n")
    assert (report["passed"], report["failed"]) == (0, len(EVERY))
    (failure,) = report["failures"]
    assert (failure["test"], failure["line"]) == ("the file itself", DOUBLE.count("\n") + 2)
    assert failure["error"].endswith("ZeroDivisionError: division by zero")
    assert (await ran("def other(): ..."))["failed"] == 1


async def test_the_text_of_a_report_is_bounded():
    source = (
        docstring(">>> print('x' * 5_000_000)\n" + "y" * 100_000) + "def test_a():\n    raise ValueError('z' * 10**6)\n"
    )
    source += "".join(f"def test_{n}(): assert {n} is None\n" for n in range(50))
    report = await ran(source)
    assert report["failed"] == 52
    assert len(report["failures"]) == 20
    assert max(len(str(text)) for failure in report["failures"] for text in failure.values()) <= 2_010


@pytest.mark.parametrize("body", ["await started.wait()", ">>> await started.wait()"])
async def test_a_cancellation_ends_the_tests_at_once(body):
    where = (
        docstring(f">>> began.set()\n{body}")
        if ">>>" in body
        else f"async def run(): ...\nasync def test_it():\n    began.set()\n    {body}\n"
    )
    began, started = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(ran(where, began=began, started=started))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "_Stdout" not in type(sys.stdout).__name__


@pytest.mark.parametrize("source", [docstring(">>> raise KeyboardInterrupt"), "async def run(): ...\ndef test_it(): raise KeyboardInterrupt\n",
                                    "raise KeyboardInterrupt\n"])  # fmt: skip
async def test_an_interrupt_ends_the_tests_at_once(source):
    with pytest.raises(KeyboardInterrupt):
        await ran(source)


async def test_what_others_print_meanwhile_goes_where_it_always_does(capsys):
    source = docstring(">>> turn.set()\n>>> await other.wait()\nTrue\n>>> print('mine')\nmine")
    turn, other = asyncio.Event(), asyncio.Event()

    async def talk() -> None:
        await turn.wait()
        print("from a task")
        thread = threading.Thread(target=print, args=["from a thread"])
        thread.start()
        thread.join()
        other.set()

    talking = asyncio.create_task(talk())
    both = await asyncio.gather(ran(source, turn=turn, other=other), ran(source, turn=turn, other=other))
    await talking
    assert [report["failures"] for report in both] == [[], []]
    assert capsys.readouterr().out == "from a task\nfrom a thread\n"


async def test_the_lines_of_the_workflow_that_is_there_are_kept_for_tracebacks():
    linecache.cache["workflows/double.py"] = kept = (1, None, ["kept\n"], "workflows/double.py")
    await ran(DOUBLE)
    assert linecache.cache.pop("workflows/double.py") is kept
    await ran(DOUBLE)
    assert not [name for name in linecache.cache if "double" in name or "docstring" in name]


async def test_a_test_that_takes_the_event_loop_away_fails_like_any_other():
    source = """
import asyncio


async def run(): ...


async def test_none():
    asyncio._set_running_loop(None)
    raise ValueError("none")
"""
    report = await ran(source)
    assert [failure["error"].split("\n")[-1] for failure in report["failures"]] == ["ValueError: none"]
    await asyncio.sleep(0)


async def test_the_error_for_a_failing_workflow_shows_the_first_failures():
    report = await ran(docstring(">>> await run(2)\n3\n>>> print('a\\nb')\nc") + FAILING)
    error = failed(report)
    assert isinstance(error, WorkflowTestError)
    assert (error.workflow, error.report) == ("double", report)
    assert str(error).startswith(
        "6 of 6 tests of the workflow 'double' failed:\n"
        "\ndocstring, line 2: await run(2)\n  expected: 3\n  got: 2\n"
        "\ndocstring, line 4: print('a\\nb')\n  expected: c\n  got:\n    a\n    b\n"
        "\ntest_equal, line 17: assert await run(2) == 3\n  got: looked\n"
    )
    assert str(error).endswith("AssertionError: assert 2 == 3\n\n… and 4 more failures")


RUN_THERE = """
from kernel_bootstrap.workflow_tests import run_tests
report = await run_tests("double", source, "workflows/double.py", {**globals()})
print("after")
report
"""


@pytest.mark.parametrize("kind", ["kernel", "inprocess"])
async def test_tests_run_in_a_kernel_and_in_process(shared: Session, tmp_path, kind):
    session = shared if kind == "kernel" else Session.inprocess(tmp_path)
    if session is not shared:
        await session.start()
    try:
        used = (
            DOUBLE.replace("import asyncio", "")
            + '\ndef test_artifacts():\n    artifacts.save("n", 1)\n    print(len(artifacts.list()))\n'
        )
        result = await session.run(f"import asyncio\nsource = {used!r}\n{RUN_THERE}")
        assert result.raise_for_error().value == {"name": "double", "passed": 9, "failed": 0, "failures": []}
        assert result.stdout == "after\n"
        bad = docstring(">>> while True: pass")
        result = await session.run(f"source = {bad!r}\n{RUN_THERE}", timeout=0.5)
        assert result.error_name != "AssertionError"
        assert result.timed_out
        assert not result.kernel_restarted
        assert (await session.run("print('free')")).stdout == "free\n"
    finally:
        if session is not shared:
            await session.close()
