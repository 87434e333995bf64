"""Finding the Python of a virtualenv: real interpreters and shell scripts that play broken ones."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from py_code_mode.errors import PythonNotFoundError, VenvError
from py_code_mode.kernel import interpreters
from py_code_mode.kernel.interpreters import find_interpreter, parse_request, running_interpreter

RUNNING = ".".join(map(str, sys.version_info[:3]))


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def pretend(path: Path, version: str, level: str = "final") -> Path:
    """A script that answers like a Python of ``version``."""
    return script(path, f"echo {version}; echo {level}; echo {path}")


@pytest.fixture
def only_path(monkeypatch, tmp_path):
    """A machine where Pythons are on PATH only, in tmp_path/bin."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    for name in ("PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    return tmp_path / "bin"


@pytest.mark.parametrize("asked", [None, "3", f"3.{sys.version_info[1]}", RUNNING, f">={RUNNING}"])
async def test_the_running_python_is_used_when_it_satisfies_the_request(asked):
    found = await find_interpreter(parse_request(asked))
    assert found == running_interpreter()
    assert found.version == RUNNING


def test_the_running_python_is_the_one_outside_of_any_virtualenv():
    running = running_interpreter()
    assert running is not None
    assert not (running.path.parent.parent / "pyvenv.cfg").exists()
    assert running.path == running.path.resolve()


async def test_another_version_is_found_on_the_path(only_path):
    python = pretend(only_path / "python3.97", "3.97.4")
    found = await find_interpreter(parse_request("3.97"))
    assert (found.path, found.version) == (python, "3.97.4")


@pytest.mark.parametrize(
    ("variable", "place"),
    [("PYENV_ROOT", "versions/3.97.4/bin"), ("UV_PYTHON_INSTALL_DIR", "cpython-3.97.4-linux-x86_64-gnu/bin")],
)
async def test_a_python_of_pyenv_or_uv_is_found_without_being_on_the_path(
    only_path, tmp_path, monkeypatch, variable, place
):
    monkeypatch.setenv(variable, str(tmp_path / "managed"))
    python = pretend(tmp_path / "managed" / place / "python3.97", "3.97.4")
    assert (await find_interpreter(parse_request("3.97"))).path == python


async def test_an_exact_version_is_found_behind_another_of_the_same_minor(only_path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    pretend(only_path / "python3.97", "3.97.1")
    wanted = pretend(tmp_path / "pyenv/versions/3.97.2/bin/python3.97", "3.97.2")
    assert (await find_interpreter(parse_request("3.97.2"))).path == wanted


async def test_a_specifier_gets_the_newest_that_fits(only_path):
    pretend(only_path / "python3.95", "3.95.0")
    wanted = pretend(only_path / "python3.96", "3.96.0")
    pretend(only_path / "python3.97", "3.97.0")
    assert (await find_interpreter(parse_request(">=3.95,<3.97"))).path == wanted


async def test_a_shim_of_a_python_that_is_not_there_is_passed_over(only_path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    script(only_path / "python3.97", "echo 'pyenv: python3.97: command not found' >&2; exit 127")
    wanted = pretend(tmp_path / "pyenv/versions/3.97.0/bin/python3.97", "3.97.0")
    assert (await find_interpreter(parse_request("3.97"))).path == wanted


async def test_a_shim_that_hangs_is_ended_and_passed_over(only_path, tmp_path, monkeypatch):
    monkeypatch.setattr(interpreters, "PROBE_TIMEOUT", 0.3)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    script(only_path / "python3.97", f"echo $$ > {tmp_path / 'pid'}; exec sleep 1000")
    wanted = pretend(tmp_path / "pyenv/versions/3.97.0/bin/python3.97", "3.97.0")
    assert (await find_interpreter(parse_request("3.97"))).path == wanted
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_a_python_before_its_final_release_is_passed_over(only_path):
    pretend(only_path / "python3.97", "3.97.0", level="beta")
    with pytest.raises(PythonNotFoundError):
        await find_interpreter(parse_request("3.97"))


async def test_an_absent_version_gives_an_error_that_says_what_is_there_and_what_to_do(only_path):
    python = pretend(only_path / "python3.96", "3.96.5")
    with pytest.raises(PythonNotFoundError) as caught:
        await find_interpreter(parse_request("3.97"))
    message = str(caught.value)
    for part in (
        "no Python 3.97 is installed",
        f"3.96.5 ({python})",
        RUNNING,
        "uv python install 3.97",
        "python_version='3.96'",
        "leave python_version out",
    ):
        assert part in message


@pytest.mark.parametrize("asked", ["3.10", "3.10.9", "2.7", "2"])
def test_a_python_too_old_for_kernels_is_refused(asked):
    with pytest.raises(VenvError, match=r"too old: kernels need Python 3\.11 or newer"):
        parse_request(asked)


@pytest.mark.parametrize("asked", ["", "python3.12", "3.x", ">=abc", "3.12.1.4", "--help", 3.12, 312])
def test_a_malformed_version_is_refused_with_an_example_of_a_good_one(asked):
    with pytest.raises(VenvError, match=r'expected a version such as "3\.12"'):
        parse_request(asked)
