"""``py-code-mode store``, as a team and its CI use it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner

from py_code_mode import FileStorage, RedisStorage
from py_code_mode.artifacts.store import save_value
from py_code_mode.cli import starter
from py_code_mode.cli.app import app

from .redis_servers import shared_server


@pytest.fixture
def prefix():
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def storage(prefix):
    return RedisStorage(shared_server().url, prefix=prefix)


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A workspace with one thing of each type, which is the current directory."""
    starter.create(tmp_path)
    (tmp_path / "requirements.txt").write_text("rich>=13\n")
    save_value(FileStorage(tmp_path).get_artifact_store(), "note", "a note\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def store(prefix):
    """Calls a command of ``store`` on the shared server."""

    def call(command, *words, status=0):
        target = ["--target", shared_server().url, "--prefix", prefix]
        result = CliRunner().invoke(app, ["store", command, *map(str, words), *target])
        assert result.exit_code == status, result.output
        return result.stdout

    return call


ALL = ["workflows/count", "tools/wc", "deps/rich", "artifacts/note"]


def test_a_workspace_is_pushed_compared_and_pulled_and_scripts_see_how_it_went(base, store, storage, tmp_path):
    assert store("diff", status=1).splitlines()[-1] == "4 to add"
    assert store("bootstrap").splitlines() == [*(f"+ {name}" for name in ALL), "4 added"]
    assert store("bootstrap") == "4 the same\n"
    assert store("diff").splitlines() == [*(f"= {name}" for name in ALL), "4 the same"]
    assert [line.split("\t")[:2] for line in store("list").splitlines()] == [name.split("/") for name in ALL]
    assert store("pull", "--source", tmp_path / "review").splitlines()[-1] == "4 added"
    for path in ("workflows/count.py", "tools/wc.yaml", "requirements.txt", "artifacts/note"):
        assert (tmp_path / "review" / path).read_bytes() == (base / path).read_bytes()
    assert [tool.name for tool in storage.get_workflow_library().list()] == ["count"]


def test_a_gate_sees_a_difference_and_what_it_is(base, store):
    store("bootstrap")
    text = (base / "workflows/count.py").read_text()
    (base / "workflows/count.py").write_text(text.replace("Count the", "Count all"))
    (base / "tools/wc.yaml").unlink()
    shown = store("diff", status=1)
    assert '-"""Count the lines and words of a saved text."""\n+"""Count all lines' in shown
    assert "~ workflows/count\n--- target/workflows/count\n+++ source/workflows/count\n" in shown
    assert "- tools/wc\n--- target/tools/wc\n+++ /dev/null\n" in shown
    assert shown.splitlines()[-1] == "1 to change, 1 to remove, 2 the same"
    assert store("diff", "--type", "deps", "--type", "artifacts").splitlines()[-1] == "2 the same"
    assert store("bootstrap").splitlines()[-1] == (
        "1 changed, 2 the same; 1 on the receiving side only, kept (--clear removes such)"
    )
    assert store("bootstrap", "--clear").splitlines() == ["- tools/wc", "1 removed, 3 the same"]
    assert store("diff")


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(base, store, storage, tmp_path):
    save_value(storage.get_artifact_store(), "old", 1)
    said = store("bootstrap", "--dry-run", "--clear").splitlines()
    assert said[:-1] == [*(f"+ {name}" for name in ALL), "- artifacts/old"]
    assert said[-1] == "4 to add, 1 to remove. Nothing was changed (--dry-run)."
    assert "artifacts/old" not in store("bootstrap", "--dry-run")
    assert [artifact.name for artifact in storage.get_artifact_store().list()] == ["old"]
    assert storage.get_workflow_library().list() == []
    assert store("rm", "old", "--type", "artifacts", "--dry-run").startswith("- artifacts/old\n1 to remove.")
    assert store("pull", "--source", tmp_path / "new", "--dry-run").startswith("+ artifacts/old\n")
    assert not (tmp_path / "new").exists()
    assert [artifact.name for artifact in storage.get_artifact_store().list()] == ["old"]


def test_what_is_broken_is_reported_fails_the_script_and_stops_nothing(base, store, storage):
    (base / "workflows/bad.py").write_text("async def run(: pass\n")
    (base / "tools/bad.yaml").write_text("name: bad\n")
    said = store("bootstrap", status=1)
    assert "! workflows/bad: workflows/bad.py:1: it does not parse" in said
    assert f"! tools/bad: {base / 'tools/bad.yaml'}:1: the key 'command' is missing" in said
    assert said.splitlines()[-1] == "4 added, 2 failed"
    assert store("diff", status=1).splitlines()[-1] == "4 the same, 2 cannot be carried"
    storage.get_tool_store().write("worse", b"- 1\n")
    assert "tools\tworse\t! unix://" in store("list")


def test_programs_get_json(base, store, storage):
    (base / "tools/bad.yaml").write_text("name: bad\n")
    pushed = json.loads(store("bootstrap", "--json", status=1))
    assert pushed["counts"] == {"+": 4, "~": 0, "-": 0, "=": 0, "!": 1}
    assert (pushed["source"], pushed["dry_run"], pushed["kept"]) == (str(base), False, 0)
    assert pushed["target"].endswith(f"?prefix={storage.prefix}")
    assert {"type": "tools", "name": "wc", "mark": "+", "problem": None} in pushed["changes"]
    (base / "requirements.txt").write_text("rich\n")
    changes = json.loads(store("diff", "--json", "--type", "deps", status=1))["changes"]
    diff = "--- target/deps/rich\n+++ source/deps/rich\n@@ -1 +1 @@\n-rich>=13\n+rich\n"
    assert changes == [{"type": "deps", "name": "rich", "mark": "~", "problem": None, "diff": diff}]
    listed = json.loads(store("list", "--json", "--type", "deps"))
    assert listed == [{"type": "deps", "name": "rich", "about": "rich>=13", "problem": None}]
    removed = json.loads(store("rm", "rich", "none", "--type", "deps", "--json", status=1))
    assert [change["mark"] for change in removed["changes"]] == ["-", "!"]


def test_things_are_removed_by_name_or_all_of_a_type(base, store, storage):
    store("bootstrap")
    assert store("rm", "count", "--type", "workflows") == "- workflows/count\n1 removed\n"
    assert store("rm", "nothing", "--type", "tools", status=1).startswith("! tools/nothing: it is not there\n")
    assert store("rm", "--clear", "--type", "tools", "--type", "deps").splitlines()[-1] == "2 removed"
    assert store("list").splitlines()[0].startswith("artifacts\tnote\ttext, 7 bytes")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["bootstrap"], "Missing option '--target'"),
        (["bootstrap", "--target", "redis://h", "--source", "nowhere"], "does not exist"),
        (["bootstrap", "--target", "redis://h", "--type", "all"], "is not one of 'workflows', 'tools', 'deps'"),
        (["bootstrap", "--target", "other", "--prefix", "p"], "this one is a directory"),
        (["diff", "--target", "redis://h?prefix=a", "--prefix", "b"], "the prefix b was given beside it"),
        (["diff", "--target", "redis://h", "--prefix", "{"], "without braces"),
        (["diff", "--target", "redis://:hu/sh@h"], "percent-encode"),
        (["pull", "--target", "."], "are the same workspace"),
        (["rm", "x", "--target", "redis://h"], "say of what with --type, once"),
        (["rm", "x", "--type", "deps", "--type", "tools", "--target", "redis://h"], "say of what with --type, once"),
        (["rm", "--type", "deps", "--target", "redis://h"], "give NAMEs of one --type, or --clear"),
        (["rm", "x", "--clear", "--type", "deps", "--target", "redis://h"], "give NAMEs of one --type, or --clear"),
    ],
)
def test_wrong_usage_is_exit_status_2_with_what_to_do(base, words, text):
    result = CliRunner().invoke(app, ["store", *words])
    assert result.exit_code == 2
    assert text in " ".join(result.output.split())
    assert "hu" not in result.output


def test_a_workspace_that_cannot_be_reached_is_exit_status_3_and_shows_no_password(base):
    result = CliRunner().invoke(app, ["store", "diff", "--target", "redis://:hush@127.0.0.1:1?prefix=p"])
    assert (result.exit_code, result.stdout) == (3, "")
    assert "redis://127.0.0.1:1/0/p: Redis cannot be reached" in result.stderr
    assert "hush" not in result.stderr


def test_the_help_tells_the_exit_statuses():
    said = " ".join(CliRunner().invoke(app, ["store", "--help"]).output.split())
    for text in (
        "0 done; `diff`: nothing differs",
        "1 something could not",
        "2 wrong usage",
        "3 a workspace could not",
    ):
        assert text in said


def on_terminal(*command):
    """What a command writes to a terminal."""
    ours, its = pty.openpty()
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env={**os.environ, "TERM": "xterm"}) as running:
        os.close(its)
        parts = []
        while True:
            try:
                parts.append(os.read(ours, 65536))
            except OSError:
                break
        os.close(ours)
        assert running.wait(20) == 0
    return b"".join(parts).decode()


def test_a_terminal_gets_a_bar_and_colours_and_nothing_that_it_would_obey(base, prefix):
    for number in range(20):
        save_value(FileStorage(base).get_artifact_store(), f"{number}\x1b[2J", number)
    command = [sys.executable, "-m", "py_code_mode", "store", "bootstrap", "--target", shared_server().url]
    said = on_terminal(*command, "--prefix", prefix)
    assert "/24" in said
    assert "\x1b[32m+ workflows/count" in said
    assert "\x1b[32m+ artifacts/7\\x1b[2J" in said
    assert "7\x1b[2J" not in said
    assert Path(base, "artifacts/7\x1b[2J").exists()
