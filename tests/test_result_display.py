"""How a result shows itself, and what it tells about the outputs of its code."""

from __future__ import annotations

import asyncio

from py_code_mode.results import ExecutionResult
from py_code_mode.session import Session


async def test_a_result_shows_text_outputs_and_errors_in_a_notebook(shared: Session):
    result = await shared.run("from IPython.display import HTML\nprint('a < b'); display(HTML('<b>bold</b>'))\n1 / 0")
    shown = result._repr_mimebundle_()
    assert ">a &lt; b\n</pre>" in shown["text/html"]
    assert "<b>bold</b>" in shown["text/html"]
    assert shown["text/html"].index("<b>bold</b>") < shown["text/html"].index("ZeroDivisionError")
    assert shown["text/plain"].startswith("a < b\n")
    assert shown["text/plain"].endswith("ZeroDivisionError: division by zero")


def test_a_result_without_anything_is_ok_and_shows_nothing():
    result = ExecutionResult()
    assert (result.is_ok, result.error, result.traceback) == (True, None, None)
    assert result.raise_for_error() is result
    assert result._repr_mimebundle_() == {"text/plain": "", "text/html": ""}


async def test_clear_output_that_waits_clears_when_the_next_output_comes(shared: Session):
    result = await shared.run(
        "from IPython.display import clear_output\nfor n in range(3): clear_output(wait=True); print(n)"
    )
    assert result.stdout == "2\n"
    assert (await shared.run("print('kept'); clear_output(wait=True)")).stdout == "kept\n"


async def test_a_figure_of_its_own_repr_comes_with_every_mime_type(shared: Session):
    result = await shared.run(
        "class Rich:\n    def _repr_mimebundle_(self, **k): return {'text/html': '<i>r</i>', 'application/json': {'n': 1}}\n"
        "    def __repr__(self): return 'plain'\nRich()"
    )
    assert dict(result.outputs[0].data) == {
        "text/plain": "plain",
        "text/html": "<i>r</i>",
        "application/json": {"n": 1},
    }


async def test_a_run_after_an_error_is_not_aborted(shared: Session):
    failed, following = await asyncio.gather(shared.run("1 / 0"), shared.run("'ran'"))
    assert failed.error_name == "ZeroDivisionError"
    assert following.value == "ran"
