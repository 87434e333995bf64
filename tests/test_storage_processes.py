"""Several processes in one workspace, and processes that are killed while they write."""

from __future__ import annotations

import subprocess
import sys

import pytest

from py_code_mode import FileStorage

from .storage_writer import check


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True, timeout=50, check=False
    )


def test_four_writers_and_readers_on_the_same_names_tear_nothing_and_lose_nothing(tmp_path):
    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.storage_writer", tmp_path, str(me), "200"],
            stderr=subprocess.PIPE,
            text=True,
        )
        for me in range(4)
    ]
    assert [writer.communicate(timeout=50)[1] for writer in writers] == ["", "", "", ""]
    assert [writer.returncode for writer in writers] == [0, 0, 0, 0]
    store = FileStorage(tmp_path).get_artifact_store()
    for me in range(4):
        assert [check(store, f"own/{me}/{turn % 5}") for turn in range(195, 200)] == [
            f"{me} {turn}" for turn in range(195, 200)
        ]
    assert list((tmp_path / "artifacts/.meta/tmp").iterdir()) == []


@pytest.mark.parametrize("action", ["save", "delete"])
def test_a_writer_killed_at_any_step_leaves_the_old_artifact_or_the_new_one(tmp_path, action):
    done = run("tests.storage_crash", "each", tmp_path, action)
    assert done.stderr == ""
    assert int(done.stdout) >= 5


def test_a_writer_killed_fifty_times_at_random_leaves_the_last_artifact_or_the_one_before(tmp_path):
    done = run("tests.storage_crash", "random", tmp_path, "50")
    assert (done.stderr, done.stdout) == ("", "50\n")
