"""What a session did, as a notebook that opens and runs again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from py_code_mode import Session, StorageError
from py_code_mode.jupyter import kernelspec
from py_code_mode.watch import journal

from .frontends import add_kernelspec, jupyter_path
from .sessions import SharedVenvStorage, open_session

CELLS = (
    "import sys\nprint('out')\nprint('err', file=sys.stderr)\nprint('more')\n6 * 7",
    "from IPython.display import HTML, display, clear_output\ndisplay(HTML('<b>bold</b>'), {'a': 1})",
    "print('gone')\nclear_output()\nprint('stays')",
    "shown = display('first', display_id='d')\nshown.update('second')",
    "1 / 0",
    "import time; time.sleep(30)",
)


def read(path: Path) -> Any:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


async def test_a_saved_notebook_has_the_code_outputs_errors_and_timings(session, tmp_path):
    for code in CELLS[:-1]:
        await session.run(code)
    await session.run(CELLS[-1], timeout=0.1)
    path = await session.save_notebook(tmp_path / "made" / "run.ipynb")
    assert path == tmp_path / "made" / "run.ipynb"
    notebook = read(path)
    assert [cell.source for cell in notebook.cells] == list(CELLS)
    first, second, third, fourth, failed, late = (cell.outputs for cell in notebook.cells)
    assert [(o.name, o.text) for o in first if o.output_type == "stream"] in (
        [("stdout", "out\n"), ("stderr", "err\n"), ("stdout", "more\n")],
        [("stdout", "out\nmore\n"), ("stderr", "err\n")],
    )
    assert (first[-1].output_type, first[-1].data["text/plain"], first[-1].execution_count) == (
        "execute_result",
        "42",
        1,
    )
    assert [o.data.get("text/html") for o in second] == ["<b>bold</b>", None]
    assert [o.text for o in third] == ["stays\n"]
    assert fourth[0].data["text/plain"] == "'second'"
    assert (failed[0].output_type, failed[0].ename, failed[0].evalue) == (
        "error",
        "ZeroDivisionError",
        "division by zero",
    )
    assert failed[0].traceback[0] == "Traceback (most recent call last):"
    assert late[0].ename == "TimeoutError"
    about = [cell.metadata.py_code_mode for cell in notebook.cells]
    assert {a.by for a in about} == {"session"}
    assert about[-1].timed_out
    assert about[-1].execution_time_ms >= 90
    times = notebook.cells[0].metadata.execution
    assert times["iopub.execute_input"] <= times["shell.execute_reply"]
    assert [cell.execution_count for cell in notebook.cells] == [1, 2, 3, 4, 5, 6]


async def test_odd_outputs_and_clocks_leave_the_notebook_valid(session, tmp_path):
    await session.run("display({'text/plain': 5, 'image/png': None, 'text/html': ['a', 6]}, raw=True)")
    await session.run("import time; time.perf_counter = iter([0.0, 1e300]).__next__")
    await session.run("1", timeout=10)
    await session.run("display({'application/json': {'n': float('nan')}}, raw=True)")
    path = await session.save_notebook(tmp_path / "run.ipynb")
    notebook = read(path)
    shown = notebook.cells[0].outputs[0].data
    assert {kind: json.loads(text) for kind, text in shown.items()} == {
        "text/plain": 5,
        "image/png": None,
        "text/html": ["a", 6],
    }
    assert all(cell.metadata.py_code_mode.execution_time_ms < 60_000 for cell in notebook.cells)
    json.loads(path.read_text(), parse_constant=pytest.fail)


async def test_the_notebook_runs_again_on_the_workspaces_kernel(tmp_path):
    base = tmp_path / "Sales Data"
    async with open_session(base) as session:
        await session.run("artifacts.save('n', 20)")
        await session.run("artifacts.load('n') + 1")
        path = await session.save_notebook(tmp_path / "run.ipynb")
    notebook = read(path)
    assert notebook.metadata.kernelspec.name == kernelspec.default_name(Path("tests"))
    with jupyter_path(tmp_path / "jupyter"):
        add_kernelspec(tmp_path / "jupyter", notebook.metadata.kernelspec.name, base=str(base))
        await NotebookClient(notebook, timeout=60).async_execute()
    assert notebook.cells[1].outputs[0].data["text/plain"] == "21"


async def test_a_notebook_names_the_kernelspec_that_is_installed_for_the_workspace(tmp_path):
    base = tmp_path / "Sales Data"
    async with Session.inprocess(base) as session:
        await session.run("1")
        notebook = read(await session.save_notebook(tmp_path / "a.ipynb"))
    assert notebook.metadata.kernelspec.name == kernelspec.default_name(base) == "sales-data"
    assert notebook.metadata.kernelspec.display_name == kernelspec.default_display_name(base)
    assert notebook.metadata.py_code_mode.workspace == str(base)


async def test_cells_of_other_clients_are_in_it_and_marked(session, tmp_path):
    from .test_joined_kernel import execute, joined

    client = await joined(session)
    await session.run("x = 1")
    await execute(client, "x + 1")
    client.stop_channels()
    notebook = read(await session.save_notebook(tmp_path / "a.ipynb"))
    assert [(cell.source, cell.metadata.py_code_mode.by) for cell in notebook.cells] == [
        ("x = 1", "session"),
        ("x + 1", "other"),
    ]
    assert notebook.cells[1].outputs[0].data["text/plain"] == "2"


async def test_what_notebooks_cannot_hold_is_written_all_the_same(session, tmp_path):
    await session.run("print('\\ud800 lone')\n'\\ud800'")
    await session.run("print('\ud800')")
    await session.run("display({'application/x-odd': b'bytes'}, raw=True)")
    await session.run("x = '</script>\\x00\\x1b[31m'; print(x); x")
    assert len(read(await session.save_notebook(tmp_path / "a.ipynb")).cells) == 4


async def test_a_notebook_that_cannot_be_written_says_where(session, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write the notebook at .*file/a\.ipynb: File exists"):
        await session.save_notebook(tmp_path / "file" / "a.ipynb")


async def test_a_long_session_keeps_its_latest_cells_and_says_so(session, tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "KEPT_BYTES", 22_000)
    for number in range(20):
        await session.run(f"print('{number}' + 'x' * 1000)")
    notebook = read(await session.save_notebook(tmp_path / "a.ipynb"))
    note, *cells = notebook.cells
    assert len(cells) == 9
    assert note.source == "*11 earlier cells are not in this notebook: the session keeps the latest only.*"
    assert cells[-1].outputs[0].text.startswith("19x")


async def test_a_value_is_not_kept_for_the_notebook(tmp_path):
    import gc
    import weakref

    class Big:
        pass

    async with Session.inprocess(tmp_path) as session:
        result = await session.run("class Big: pass\nBig()")
        gone = weakref.ref(result.value)
        del result
        await session.run("del _\n1")
        gc.collect()
        assert gone() is None


# -- record -----------------------------------------------------------------------------------------------


async def test_a_record_follows_the_session_as_it_goes(tmp_path):
    path = tmp_path / "record.ipynb"
    async with Session(SharedVenvStorage(tmp_path), record=path) as session:
        for number in range(5):
            await session.run(f"print({number})")
            while not path.exists() or len(read(path).cells) <= number:
                await asyncio.sleep(0)
    assert [cell.source for cell in read(path).cells] == [f"print({n})" for n in range(5)]


async def test_the_record_is_whole_when_the_session_is_closed(tmp_path):
    path = tmp_path / "record.ipynb"
    async with Session(SharedVenvStorage(tmp_path), record=path) as session:
        await asyncio.gather(*(session.run(f"print('x' * 10_000, {n})") for n in range(60)))
    assert len(read(path).cells) == 60
    assert [p.name for p in tmp_path.iterdir() if "record" in p.name] == ["record.ipynb"]


async def test_a_record_that_cannot_be_written_does_not_stop_the_session_and_is_told_at_the_end(tmp_path):
    (tmp_path / "file").write_text("")
    session = Session(SharedVenvStorage(tmp_path), record=tmp_path / "file" / "r.ipynb")
    await session.start()
    assert (await session.run("1 + 1")).value == 2
    with pytest.warns(RuntimeWarning, match="the record of the session is not whole: cannot write the notebook at"):
        await session.close()


@pytest.mark.parametrize("make", [Session.from_base, Session.subprocess, Session.inprocess])
async def test_every_constructor_takes_a_record(tmp_path, make, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with make(tmp_path / "workspace", record="r.ipynb") as session:
        await session.run("5")
    assert json.loads((tmp_path / "r.ipynb").read_text())["cells"][0]["source"] == "5"
