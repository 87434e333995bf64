"""The commands that run code: in real processes, as a person would call them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from py_code_mode.cli import starter

from .venvs import make_wheel, use_only

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose virtualenv was made by a first run."""
    base = tmp_path_factory.mktemp("command-line")
    starter.create(base)
    done = run("run", "--base", base, "6 * 7")
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
    return base


def run(*args: str | Path, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """A command, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "py_code_mode", *map(str, args)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, **env},
    )


def start(*args: str | Path) -> subprocess.Popen[str]:
    """A command that goes on while the test looks at it."""
    return subprocess.Popen(
        [sys.executable, "-m", "py_code_mode", *map(str, args)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_output_comes_first_and_the_value_last_on_a_line_of_its_own(base):
    done = run("run", "--base", base, "print('no newline', end=''); {'a': [1, None]}")

    assert (done.returncode, done.stdout, done.stderr) == (0, "no newline\n{'a': [1, None]}\n", "")


def test_the_first_run_of_all_tells_what_takes_its_time(base, tmp_path):
    done = run("run", "--base", base, "6 * 7", PY_CODE_MODE_CACHE=str(tmp_path))

    assert (done.returncode, done.stdout) == (0, "42\n")
    assert done.stderr.startswith("Creating a virtualenv")


def test_code_that_fails_gives_exit_status_1_and_its_traceback_on_stderr(base):
    done = run("run", "--base", base, "-", stdin="print('before')\n1 / 0\n")

    assert (done.returncode, done.stdout) == (1, "before\n")
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert "line 2" in done.stderr
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_a_file_is_run_in_the_encoding_that_it_declares(base, tmp_path):
    (tmp_path / "code.py").write_bytes("# coding: latin-1\nprint('é')\n".encode("latin-1"))

    assert run("run", "--base", base, "-f", tmp_path / "code.py").stdout == "é\n"


def test_code_past_its_timeout_is_a_failure(base):
    done = run("run", "--base", base, "--timeout", "0.5", "while True: pass")

    assert done.returncode == 1
    assert done.stderr.startswith("TimeoutError: ")


def test_json_is_one_object_of_the_whole_result(base):
    done = run("run", "--base", base, "--json", "print('said'); (1, float('inf'))")
    result = json.loads(done.stdout)

    assert done.returncode == 0
    assert (result["stdout"], result["value"], result["value_is_repr"]) == ("said\n", "(1, inf)", True)
    assert (result["is_ok"], result["error"], result["timed_out"]) == (True, None, False)

    failed = run("run", "--base", base, "--json", "1 / 0")
    assert (failed.returncode, failed.stderr) == (1, "")
    assert json.loads(failed.stdout)["error_name"] == "ZeroDivisionError"


def test_lone_surrogates_are_escaped_whatever_the_encoding_of_stdout(base):
    done = run("run", "--base", base, r"print('é\ud800'); '\udfff'", PYTHONIOENCODING="ascii")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "\\xe9\\ud800\n'\\udfff'\n"


def test_output_appears_while_the_code_still_runs(base, tmp_path):
    code = (
        "import os, time\nprint('first')\n"
        f"while not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.01)\nprint('second')"
    )
    with start("run", "--base", base, code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        (tmp_path / "go").touch()
        assert process.stdout.read() == "second\n"

    assert process.returncode == 0


def test_ctrl_c_interrupts_the_code_and_ends_with_130(base):
    with start("run", "--base", base, "print('go')\nwhile True: pass") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "go\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.read().startswith("KeyboardInterrupt")

    assert process.returncode == 130


def test_a_reader_that_goes_away_ends_the_run_quietly(base):
    with start("run", "--base", base, "n = 0\nwhile True: print(n := n + 1)") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "1\n"
        process.stdout.close()
        assert process.stderr.read() == ""

    assert process.returncode == 141


def test_trouble_of_the_host_is_one_line_and_exit_status_3(base, tmp_path):
    (tmp_path / "file").touch()

    done = run("run", "--base", base, "1", PY_CODE_MODE_CACHE=str(tmp_path / "file"))

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("py-code-mode: ")
    assert done.stderr.count("\n") == 1


def test_a_workflow_is_run_with_arguments_by_its_annotations(base):
    source = "async def run(word: str, times: int) -> list:\n    return [word, times]\n"
    assert run("workflows", "add", "echo", "-", "--base", base, "--description", "e", stdin=source).returncode == 0

    done = run("workflows", "run", "echo", "word=007", "times=7", "--base", base)

    assert (done.returncode, done.stdout) == (0, "['007', 7]\n")


def test_packages_are_added_and_removed_without_a_kernel(base, tmp_path, monkeypatch):
    use_only(tmp_path, monkeypatch)
    make_wheel(tmp_path, "pcm_added")

    added = run("deps", "add", "pcm_added", "--base", base)
    assert (added.returncode, added.stdout) == (0, "installed: pcm_added\n"), added.stderr
    assert "pcm_added" in (base / "requirements.txt").read_text().splitlines()
    assert json.loads(run("deps", "sync", "--base", base, "--json").stdout)["already_present"] == ["pcm_added"]
    assert run("run", "--base", base, "import pcm_added; pcm_added.VERSION").stdout == "'1.0'\n"
    assert "removed: pcm_added\n" in run("deps", "rm", "pcm_added", "--base", base).stdout
    failed = run("deps", "add", "pcm_missing", "--base", base)
    assert failed.returncode == 1
    assert "failed: pcm_missing: " in failed.stderr


def test_the_demo_gives_what_it_expects_at_each_step(tmp_path):
    done = run("demo", tmp_path / "demo")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "All 7 steps gave what was expected" in done.stdout
    assert json.loads((tmp_path / "demo/artifacts/report").read_text()) == {"lines": 3, "words": 8}


def test_the_json_of_the_demo_is_one_object_with_every_step(tmp_path, monkeypatch):
    use_only(tmp_path, monkeypatch)
    make_wheel(tmp_path, "tabulate", "99.0")  # the newest, and without the function

    done = run("demo", tmp_path / "demo", "--json")
    shown = json.loads(done.stdout)

    assert (done.returncode, shown["ok"], shown["workspace"]) == (1, False, str(tmp_path / "demo"))
    assert "tools/wc.yaml" in shown["files"]
    assert [step["ok"] for step in shown["steps"]] == [True, True, True, True, True, False, True]
    counted, installed, imported = shown["steps"][3:6]
    assert (counted["code"].splitlines()[-1], counted["value"]) == ("counts", {"lines": 3, "words": 8})
    assert (installed["error"], installed["value"]["installed"]) == (None, ["tabulate>=0.9"])
    assert (imported["stdout"], imported["error_name"]) == ("", "ImportError")


def test_doctor_finds_all_that_is_needed_and_times_a_kernel():
    done = run("doctor", "--json")
    found = json.loads(done.stdout)

    assert (done.returncode, found["ok"]) == (0, True), done.stdout
    assert [check["name"] for check in found["checks"]] == [
        "uv",
        "python",
        "cache",
        "kernel",
        "fork server",
        "isolation",
    ]
    assert found["checks"][3]["facts"]["first_run_ms"] > 0


def test_doctor_says_what_is_missing_and_what_to_do(tmp_path):
    (tmp_path / "file").touch()

    done = run("doctor", PY_CODE_MODE_CACHE=str(tmp_path / "file"))

    assert done.returncode == 1
    assert "cache\tFAILED\t" in done.stdout
    assert "kernel\tFAILED\tnot tried" in done.stdout
    assert "choose a place with PY_CODE_MODE_CACHE" in done.stdout
