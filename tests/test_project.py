"""What people expect to find in the repository, and what its documents promise."""

from __future__ import annotations

import ast
import stat
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import click
import pytest

from py_code_mode.cli.app import COMMANDS, App, app

ROOT = Path(__file__).parent.parent
README = " ".join((ROOT / "README.md").read_text("utf-8").split())
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def commands(group: click.Command, path: str = "") -> dict[str, click.Command]:
    """Every command that can be called, with its words."""
    if not isinstance(group, click.Group):
        return {path: group}
    context = click.Context(group)
    found: dict[str, click.Command] = {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found |= commands(command, f"{path} {name}".strip())
    return found


def test_the_files_of_a_project_are_where_people_look_for_them():
    expected = "LICENSE CHANGELOG.md README.md ARCHITECTURE.md pyproject.toml .editorconfig .pre-commit-config.yaml"
    expected += " .gitignore .github/workflows/ci.yml .ci/run py_code_mode/py.typed kernel_bootstrap/py.typed"
    assert [name for name in expected.split() if not (ROOT / name).is_file()] == []
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    assert not (ROOT / "docs").exists()
    assert not (ROOT / "examples").exists()


def test_ci_runs_what_anybody_can_run():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    assert "run: .ci/run" in (ROOT / ".github/workflows/ci.yml").read_text()
    text = script.read_text()
    for command in ("README.md", "ruff check", "ruff format --check", "mypy"):
        assert command in text


def test_the_configuration_is_strict():
    pytest_options = CONFIG["tool"]["pytest"]["ini_options"]
    assert pytest_options["filterwarnings"] == ["error"]
    assert pytest_options["timeout"] <= 60
    assert CONFIG["tool"]["mypy"]["strict"] is True
    assert {"ASYNC", "B", "BLE", "PT", "RUF", "SIM", "UP"} <= set(CONFIG["tool"]["ruff"]["lint"]["select"])
    assert CONFIG["build-system"]["build-backend"] == "hatchling.build"


def test_no_test_module_waits_by_sleeping_in_the_program_that_tests():
    """A sleep as synchronisation is slow where it works, and fails where the machine is slow."""
    found = []
    for path in (ROOT / "tests").glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "asyncio.sleep", "sleep")):
                continue
            (seconds,) = node.args
            # Giving way between two looks, and a delay that is what the test is about, are no synchronisation.
            if isinstance(seconds, ast.Constant) and seconds.value > 0.02:
                found.append(f"{path.name}:{node.lineno}")
    assert found == []


def test_the_architecture_is_told_on_two_pages():
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    assert len(text.split()) <= 1300
    for part in ("kernel_bootstrap", "Session", "Invariants", "Reasons"):
        assert part in text


@pytest.mark.parametrize(
    "promise",
    [
        "a bare `Session(storage)` run on the kernel executor",
        "They cannot end a call into C that blocks",
    ],
)
def test_the_readme_says_what_a_user_has_to_know(promise):
    assert promise in README


def test_the_first_screen_of_the_readme_has_an_example_and_the_two_commands():
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()[:36]
    assert "```python" in lines
    assert sum(line.startswith(("python3 -m venv", ".venv/bin/pip")) for line in lines) == 2


# `attach` becomes another program, which talks with a person.
@pytest.mark.parametrize("path", sorted(commands(app).keys() - {"attach"}))
def test_a_command_prints_json_for_programs(path):
    assert "--json" in {option for parameter in commands(app)[path].params for option in parameter.opts}


def test_the_commands_of_the_four_names_are_those_that_make_sense():
    assert isinstance(app, App)
    found = set(commands(app))
    assert {"init", "run", "demo", "doctor"} <= found & set(COMMANDS)
    for words in (
        "tools list",
        "tools show",
        "tools search",
        "workflows list",
        "workflows show",
        "workflows search",
        "workflows add",
        "workflows rm",
        "artifacts list",
        "artifacts show",
        "artifacts add",
        "artifacts rm",
        "deps list",
        "deps add",
        "deps rm",
    ):
        assert words in found


def test_the_script_of_the_package_is_installed():
    script = Path(sysconfig.get_path("scripts")) / "py-code-mode"
    done = subprocess.run([sys.executable, script, "--version"], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout.split()[0]) == (0, "py-code-mode"), done.stderr


def test_every_figure_that_is_asked_for_has_its_group_in_the_benchmark():
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    groups = (
        "import first next demand nothing reset run link tool workflow deadline memory artifacts gigabyte output many"
    )
    for group in groups.split():
        assert group in done.stdout
