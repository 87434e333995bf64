"""The documentation: every notebook runs, and shows what it promises."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from py_code_mode.jupyter import kernelspec

from .frontends import jupyter_path
from .notebooks import FOLDER, MADE, paths, stripped

WORKSPACE, ORDINARY = "notebooks", "python3"
"""The kernels that notebooks name: the workspace's own, which `py-code-mode lab --base notebooks` has, and any Python."""

SHOWN = {
    "quick-start": {
        "tools-call": ("text/plain", "23"),
        "artifacts-get": ("text/html", "<table"),
        "workflows-call": ("image/svg+xml", "<svg"),
    },
    "tools": {
        "define-one": ("text/html", "tools.station.quick"),
        "call-july": ("text/plain", "'34.4'"),
        "call-async": ("stdout", "150 mm"),
        "errors-command": ("stdout", "404"),
        "errors-name": ("error", "did you mean 'station'?"),
        "broken-call": ("error", "dates.yaml:5"),
    },
    "workflows": {
        "show": ("text/html", "async"),
        "call": ("text/plain", "2012-07-21"),
        "errors": ("error", "WorkflowArgumentError"),
        "errors-inside": ("error", "ValueError: not enough values to unpack"),
        "broken-file": ("text/html", "mean.py:1"),
    },
    "workflows-as-software": {
        "about": ("text/plain", "'tags': ['energy', 'weather']"),
        "versions-edit": ("text/html", "session "),
        "versions-diff": ("text/plain", "-async def run(year: int, base: float = 18.0)"),
        "tests": ("error", "got: 112.5"),
        "tests-pass": ("text/plain", "'passed': 2"),
        "promote": ("text/html", "How hot a month was"),
        "promote-call": ("text/plain", "'days': 124"),
        "stats": ("text/html", "workflows.month_heat"),
        "stubs": ("stdout", "def month_heat("),
    },
    "artifacts-and-dependencies": {
        "deps-add": ("text/plain", "'installed': ['matplotlib>=3.8']"),
        "plot": ("image/png", "iVBOR"),
        "formats-picture": ("text/html", "data:image/png"),
        "formats-array": ("text/plain", "float32"),
        "all": ("text/html", "seattle/frost.json"),
    },
    "timeouts-and-recovery": {
        "timeout": ("text/html", "while True"),
        "timeout-after": ("text/plain", "(True, False, {'Seattle': 3, 'Oslo': 5})"),
        "died": ("text/html", "SIGSEGV"),
        "died-next": ("text/plain", "45"),
        "flood": ("text/plain", "(True, "),
        "close": ("text/plain", "False"),
    },
    "watching-a-session": {
        "look-variables": ("stdout", "found        dict"),
        "look-stack": ("stdout", "<cell 1>"),
        "result": ("text/plain", "('done', ('2012', '2013'))"),
        "join-events": ("stdout", "by other: StreamEvent"),
        "notebook": ("stdout", "by other"),
    },
    "exploring-a-workspace": {
        "look-workflows": ("text/html", "publish.py:1"),
        "look-picture": ("text/html", "data:image/svg+xml"),
        "look-table": ("text/html", "2015-12-11"),
        "repair": ("text/plain", "'begin': '2015-06-30', 'days': 6"),
        "live-list": ("stdout", "idle"),
        "live-join": ("stdout", "44 waves"),
        "live-new": ("text/plain", "('2015-06-30', 6)"),
    },
    "magics": {
        "cell-picture": ("image/svg+xml", "<svg"),
        "cell-out-here": ("text/plain", "07 December 2013"),
        "cell-error": ("error", "TimeoutError"),
        "lists-tools": ("text/html", "tools.grep"),
        "state": ("text/html", "idle"),
        "here": ("text/plain", "'35.6'"),
    },
}
"""Of each notebook, by the ids of cells: what has to be seen there."""


def outputs(cell: dict[str, Any]) -> dict[str, str]:
    """What a cell shows: texts by MIME type, streams by name, and the error."""
    found: dict[str, str] = {}
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            found[output["name"]] = found.get(output["name"], "") + output["text"]
        elif output["output_type"] == "error":
            found["error"] = f"{output['ename']}: {output['evalue']}"
        else:
            found |= output["data"]
    return found


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def made_by_runs(folder: str, names: list[str]) -> set[str]:
    """What earlier runs have left in the folder, as its .gitignore has it."""
    if Path(folder).name == "artifacts":
        return set(names) - {"seattle-weather.csv"}
    return set(names) & (MADE - {"artifacts"} | {".ipynb_checkpoints"})


@pytest.mark.parametrize("name", SHOWN)
def test_a_notebook_runs_shows_what_it_promises_and_leaves_nothing_beside_it(name, tmp_path):
    folder = shutil.copytree(FOLDER, tmp_path / "notebooks", ignore=made_by_runs)
    before = files(folder)
    kernelspec.write(tmp_path / "jupyter/kernels" / WORKSPACE, folder, "notebooks (py-code-mode)")
    notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    with jupyter_path(tmp_path / "jupyter"):
        NotebookClient(notebook, timeout=50, resources={"metadata": {"path": str(folder)}}).execute()
    seen = {cell["id"]: outputs(cell) for cell in notebook["cells"] if cell["cell_type"] == "code"}
    for cell, (kind, text) in SHOWN[name].items():
        assert text in seen[cell].get(kind, ""), (cell, seen[cell])
    failed = {cell for cell, shown in seen.items() if "error" in shown}
    assert failed == {
        cell["id"] for cell in notebook["cells"] if "raises-exception" in cell["metadata"].get("tags", ())
    }
    assert {cell: shown["stderr"] for cell, shown in seen.items() if "stderr" in shown} == {}
    made = files(folder) - before
    assert {path.parts[1 if path.parts[0] == "workflows" else 0] for path in made} <= MADE


def test_every_notebook_is_run():
    assert {path.stem for path in paths()} == set(SHOWN)


@pytest.mark.parametrize("path", paths(), ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs_and_says_which_kernel_it_needs(path):
    text = path.read_text("utf-8")
    assert text == stripped(text), "strip it with: python -m tests.notebooks"
    notebook = json.loads(text)
    nbformat.validate(notebook)
    assert len(notebook["cells"]) < 32
    first, *_ = notebook["cells"]
    name = notebook["metadata"]["kernelspec"]["name"]
    assert f"`{'notebooks (py-code-mode)' if name == WORKSPACE else ORDINARY}`" in "".join(first["source"])
