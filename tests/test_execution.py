"""What a cell gives back."""

from __future__ import annotations

import asyncio
import math

import pytest

from py_code_mode.errors import CodeModeError, ExecutionError
from py_code_mode.results import DisplayEvent, EndEvent, StreamEvent
from py_code_mode.session import Session


async def test_the_value_is_that_of_the_last_expression(shared: Session):
    result = await shared.run("x = 20\nx * 2 + 2")
    assert (result.value, result.error, result.is_ok) == (42, None, True)


async def test_a_cell_without_an_expression_has_no_value(shared: Session):
    assert (await shared.run("y = 1")).value is None


async def test_variables_stay_between_runs(shared: Session):
    await shared.run("kept = [1, 2]")
    assert (await shared.run("kept")).value == [1, 2]


@pytest.mark.parametrize(
    "source",
    [
        "{'a': (1, 2), 3: {4, 5}}",
        "b'\\x00\\xff' * 100_000",
        "'\\ud800 \\x00 \\U0001f600'",
        "10 ** 5000",
        "float('inf'), -0.0, 1 + 2j",
        "__import__('datetime').datetime(2026, 1, 2, tzinfo=__import__('datetime').timezone.utc)",
        "__import__('decimal').Decimal('1.10')",
        "__import__('pathlib').Path('/a/b')",
        "[[[]]], None",
        "range(10)",
    ],
)
async def test_a_value_keeps_its_type(shared: Session, source: str):
    result = await shared.run(source)
    assert result.value == eval(source)
    assert type(result.value) is type(eval(source))
    assert not result.value_is_repr
    assert not result.truncated


async def test_nan_crosses_as_nan(shared: Session):
    assert math.isnan((await shared.run("float('nan')")).value)


async def test_what_cannot_cross_comes_as_a_marked_repr(shared: Session):
    result = await shared.run("class Thing:\n    def __repr__(self): return '<a thing>'\n[1, Thing()]")
    assert result.value_is_repr
    assert result.value[0] == 1
    assert result.value[1] == "<a thing>"


async def test_a_value_of_fifty_megabytes_crosses_whole(shared: Session):
    result = await shared.run("'é' * 25_000_000")
    assert len(result.value) == 25_000_000
    assert not result.truncated


async def test_stdout_and_stderr_are_told_apart(shared: Session):
    result = await shared.run("import sys; print('out'); print('err', file=sys.stderr)")
    assert (result.stdout, result.stderr) == ("out\n", "err\n")


async def test_an_error_is_data(shared: Session):
    result = await shared.run("def f():\n    return 1 / 0\nf()")
    assert result.error == "ZeroDivisionError: division by zero"
    assert result.error_name == "ZeroDivisionError"
    assert not result.is_ok
    with pytest.raises(ExecutionError, match="ZeroDivisionError") as caught:
        result.raise_for_error()
    assert caught.value.result is result
    assert isinstance(caught.value, CodeModeError)


async def test_a_traceback_is_plain_text_with_the_users_frames_only(shared: Session):
    result = await shared.run("def f():\n    return 1 / 0\nf()")
    assert result.traceback is not None
    lines = result.traceback.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "return 1 / 0" in result.traceback
    assert "\x1b" not in result.traceback
    assert not any(part in result.traceback for part in ("IPython", "ipykernel", "kernel_bootstrap"))


async def test_a_syntax_error_shows_its_line(shared: Session):
    result = await shared.run("a = 1\nb = = 2")
    assert result.error_name == "SyntaxError"
    assert result.traceback is not None
    assert "b = = 2" in result.traceback


async def test_an_exception_whose_str_fails_is_still_reported(shared: Session):
    result = await shared.run("class Bad(Exception):\n    def __str__(self): raise ValueError\nraise Bad")
    assert result.error_name == "Bad"


async def test_chained_exceptions_and_groups_are_shown(shared: Session):
    result = await shared.run(
        "try:\n    1/0\nexcept Exception as e:\n    raise ExceptionGroup('many', [e, KeyError('k')]) from e"
    )
    assert result.error_name == "ExceptionGroup"
    assert "ZeroDivisionError" in (result.traceback or "")
    assert "KeyError" in (result.traceback or "")


async def test_top_level_await_and_gather_work(shared: Session):
    result = await shared.run(
        "import asyncio\nasync def f(x):\n    await asyncio.sleep(0.01)\n    return x\nawait asyncio.gather(f(1), f(2))"
    )
    assert result.value == [1, 2]


async def test_awaiting_a_plain_value_gives_the_value(shared: Session):
    assert (await shared.run("async def f():\n    return await 5\n(await 4, await f())")).value == (4, 5)


async def test_a_background_task_goes_on_between_runs(shared: Session):
    await shared.run("import asyncio\nhits = []\nasync def tick():\n    hits.append(1)\n    done.set()")
    await shared.run("done = asyncio.Event(); task = asyncio.create_task(tick())")
    assert (await shared.run("await done.wait(); len(hits)")).value == 1


async def test_threads_print_for_the_cell_that_started_them(shared: Session):
    first = await shared.run(
        "import threading\ngo, printed = threading.Event(), threading.Event()\n"
        "def work():\n    go.wait(); print('late'); printed.set()\n"
        "thread = threading.Thread(target=work); thread.start(); print('first')"
    )
    second = await shared.run("go.set(); printed.wait(5); thread.join(); print('second')")
    assert first.stdout == "first\n"
    assert second.stdout == "second\n"


async def test_a_pool_prints_for_the_cell_that_hands_it_work(shared: Session):
    await shared.run(
        "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(1)\npool.submit(print, 'one').result()"
    )
    result = await shared.run("pool.submit(print, 'two').result(); pool.shutdown()")
    assert result.stdout == "two\n"


async def test_a_child_prints_for_the_cell_that_started_it(shared: Session):
    first = await shared.run(
        "import subprocess, os\nr, w = os.pipe()\n"
        "child = subprocess.Popen('echo early; read x; echo late', shell=True, stdin=r)\nos.close(r)"
    )
    second = await shared.run("os.write(w, b'go\\n'); code = child.wait(); os.close(w); print('second', code)")
    assert second.stdout == "second 0\n"
    assert "late" not in first.stdout


async def test_what_children_and_c_code_write_arrives_with_its_cell(shared: Session):
    result = await shared.run(
        "import os, subprocess\nsubprocess.run(['echo', 'from a child'])\nos.write(1, 'é from fd 1\\n'.encode())\n"
        "os.write(2, b'from fd 2\\n')"
    )
    assert result.stdout == "from a child\né from fd 1\n"
    assert result.stderr == "from fd 2\n"


async def test_what_forked_children_print_arrives(shared: Session):
    result = await shared.run(
        "import os\npid = os.fork()\nif not pid:\n    print('from the fork'); os._exit(0)\nos.waitpid(pid, 0); print('parent')"
    )
    assert sorted(result.stdout.splitlines()) == ["from the fork", "parent"]


async def test_multiprocessing_works_and_prints(shared: Session):
    code = (
        "import multiprocessing as mp\ndef work(n):\n    print('n', n); return n * n\n"
        "with mp.get_context('fork').Pool(2) as workers:\n    squares = workers.map(work, range(4))\nsquares"
    )
    result = await shared.run(code)
    assert result.value == [0, 1, 4, 9]
    assert sorted(result.stdout.splitlines()) == ["n 0", "n 1", "n 2", "n 3"]


async def test_rich_outputs_come_in_order_as_mime_bundles(shared: Session):
    result = await shared.run(
        "from IPython.display import display, HTML, Markdown, Latex\n"
        "display(HTML('<b>x</b>')); display(Markdown('*y*'), Latex('$z$'))\nHTML('last')"
    )
    kinds = [next(kind for kind in output.data if kind != "text/plain") for output in result.outputs]
    assert kinds == ["text/html", "text/markdown", "text/latex", "text/html"]
    assert [output.kind for output in result.outputs] == ["display_data"] * 3 + ["execute_result"]


async def test_an_image_comes_as_base64_png(shared: Session):
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    result = await shared.run(f"import base64\nfrom IPython.display import Image\nImage(base64.b64decode({png!r}))")
    assert result.outputs[0].data["image/png"].replace("\n", "") == png
    assert "data:image/png;base64," in result._repr_mimebundle_()["text/html"]


async def test_update_display_replaces_and_clear_output_clears(shared: Session):
    result = await shared.run("h = display('a', display_id=True); h.update('b')")
    assert [output.data["text/plain"] for output in result.outputs] == ["'b'"]
    result = await shared.run(
        "from IPython.display import clear_output\nprint('gone'); display(1); clear_output(); print('kept')"
    )
    assert (result.stdout, result.outputs) == ("kept\n", ())


async def test_input_fails_at_once_and_says_why(shared: Session):
    result = await asyncio.wait_for(shared.run("input('name? ')"), 5)
    assert result.error is not None
    assert "input()" in result.error


@pytest.mark.parametrize("leave", ["exit()", "quit()", "import sys; sys.exit()", "raise SystemExit(0)"])
async def test_exit_ends_the_cell_and_not_the_kernel(shared: Session, leave: str):
    await shared.run("before = 1")
    result = await shared.run(f"print('a')\n{leave}\nprint('b')")
    assert (result.stdout, result.is_ok) == ("a\n", True)
    assert (await shared.run("before")).value == 1


async def test_a_non_zero_exit_is_an_error(shared: Session):
    result = await shared.run("import sys; sys.exit('nothing to do')")
    assert result.error == "SystemExit: nothing to do"


async def test_ipython_syntax_works(shared: Session):
    assert "Wall time" in (await shared.run("%time 1 + 1")).stdout
    assert "hello" in (await shared.run("!echo hello")).stdout
    assert (await shared.run("files = !echo a b\nfiles[0]")).value == "a b"
    assert (await shared.run("len?")).is_ok


async def test_the_execution_count_rises_and_the_time_is_measured(shared: Session):
    first = await shared.run("1")
    second = await shared.run("import time; time.sleep(0.05)")
    assert second.execution_count == (first.execution_count or 0) + 1
    assert 50 <= second.execution_time_ms < 1000


async def test_streaming_gives_events_as_they_come_and_the_result_last(shared: Session):
    code = "import sys\nprint('one'); sys.stdout.flush()\ndisplay(2)\n3"
    seen = [event async for event in shared.stream(code)]
    assert "".join(event.text for event in seen if isinstance(event, StreamEvent)) == "one\n"
    assert [event.data["text/plain"] for event in seen if isinstance(event, DisplayEvent)] == ["2", "3"]
    assert isinstance(seen[-1], EndEvent)
    assert seen[-1].result.value == 3


async def test_streamed_output_arrives_while_the_code_runs(shared: Session):
    stream = shared.stream("print('now', flush=True)\nimport threading; threading.Event().wait(20)", timeout=20)
    event = await asyncio.wait_for(anext(stream), 5)
    assert isinstance(event, StreamEvent)
    assert event.text.startswith("now")
    await stream.aclose()
    assert (await asyncio.wait_for(shared.run("'usable'"), 5)).value == "usable"


async def test_gather_on_a_plain_result_names_call_async(shared: Session):
    result = await shared.run("import asyncio\nawait asyncio.gather(tools.list())")
    assert "call_async" in (result.traceback or "")


async def test_runs_queue_in_their_order(shared: Session):
    await shared.run("order = []")
    await asyncio.gather(*(shared.run(f"order.append({n})") for n in range(10)))
    assert (await shared.run("order")).value == list(range(10))


async def test_code_that_is_no_text_and_bad_timeouts_are_refused(shared: Session):
    with pytest.raises(TypeError, match="code must be a str"):
        await shared.run(b"1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout"):
        await shared.run("1", timeout=0)
