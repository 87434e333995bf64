"""``py-code-mode workflows``: versions, counts and tests."""

from __future__ import annotations

import json

import pytest

from py_code_mode import FileStorage
from py_code_mode.workflows.history import Use

from .redis_servers import shared_server
from .test_cli import call, workspace  # noqa: F401 - a fixture
from .test_cli_kernel import run


def source(by):
    return f'"""Multiply.\n\n>>> times({by})\n{by * by}\n"""\n\n\nasync def run(x: int) -> int:\n    return {by} * x\n'


@pytest.fixture
def base(workspace):  # noqa: F811
    for by in (2, 3):
        (workspace / "source").write_text(source(by))
        call("workflows", "add", "times", "source", "--tag", "math", "--tag", "demo")
    return workspace


def library(base):
    return FileStorage(base).get_workflow_library()


def test_versions_are_listed_shown_compared_and_brought_back(base):
    rows = [line.split("\t") for line in call("workflows", "history", "times").stdout.splitlines()]
    assert [(row[0], row[3]) for row in rows] == [("1", "saved"), ("2", "saved")]
    assert rows[0][2] != ""
    listed = json.loads(call("workflows", "history", "times", "--json").stdout)
    assert [each["version"] for each in listed] == [1, 2]
    assert ">>> times(2)" in call("workflows", "show", "times", "--version", "1").stdout
    assert json.loads(call("workflows", "show", "times", "--json").stdout)["tags"] == ["demo", "math"]
    assert json.loads(call("workflows", "show", "times", "--version", "1", "--json").stdout)["version"] == 1
    assert "-    return 2 * x\n+    return 3 * x\n" in call("workflows", "diff", "times").stdout
    assert "+    return 2 * x" in json.loads(call("workflows", "diff", "times", "2", "1", "--json").stdout)["diff"]
    said = call("workflows", "rollback", "times", "1").stdout
    assert said == "workflows.times(x: int) -> int is that of version 1 again\n"
    assert "return 2 * x" in library(base).require("times").source
    call("workflows", "rm", "times")
    assert json.loads(call("workflows", "rollback", "times", "2", "--json").stdout)["name"] == "times"
    for command in (("history", "tims"), ("diff", "tims"), ("rollback", "tims", "1")):
        assert "did you mean 'times'" in call("workflows", *command, status=1).stderr
    assert (
        "no version 9: it has versions 1 to 3" in call("workflows", "show", "times", "--version", "9", status=1).stderr
    )


def test_a_workspace_in_redis_has_versions_too(base):
    url = f"{shared_server().url}?prefix=cli-{base.name}"
    call("workflows", "add", "times", "source", "--base", url)
    call("workflows", "add", "times", "-", "--base", url, stdin=source(5))
    assert [
        each["version"] for each in json.loads(call("workflows", "history", "times", "--base", url, "--json").stdout)
    ] == [1, 2]
    call("workflows", "rollback", "times", "1", "--base", url)
    assert "return 3 * x" in call("workflows", "show", "times", "--base", url).stdout
    done = run("workflows", "test", "--base", url)
    assert (done.returncode, done.stdout) == (0, "times: 1 passed, 0 failed\n"), done.stderr


def test_uses_are_shown(base):
    library(base).count({"times": Use(3, 1, "2026-01-02T03:04:05.678+00:00")})
    assert call("workflows", "stats").stdout.splitlines() == [
        "times\t3\t1\t2026-01-02T03:04:05",
        "count\t0\t0\tnever",
    ]
    assert json.loads(call("workflows", "stats", "count", "--json").stdout) == [
        {"name": "count", "calls": 0, "failures": 0, "last_used": None}
    ]


def test_workflows_are_tested_on_a_kernel_and_kept_only_if_their_tests_pass(base):
    done = run("workflows", "test", "--base", base)
    assert (done.returncode, done.stdout) == (0, "times: 1 passed, 0 failed\n"), done.stderr
    bad = source(3).replace("3 * x", "4 * x")
    done = run("workflows", "add", "times", "-", "--test", "--base", base, stdin=bad)
    assert done.returncode == 1
    assert "expected: 9\n  got: 12" in done.stderr
    assert "return 3 * x" in library(base).require("times").source
    library(base).create("times", bad)
    done = run("workflows", "test", "times", "--base", base, "--json")
    assert (done.returncode, json.loads(done.stdout)[0]["failed"]) == (1, 1)


def test_a_source_that_never_ends_is_not_read_for_ever(workspace):  # noqa: F811
    said = call("workflows", "add", "zeros", "/dev/zero", status=2).stderr
    assert "the source has more than 1,048,576 bytes" in said


def test_a_broken_workflow_fails_the_test_of_all(workspace):  # noqa: F811
    (workspace / "workflows/bad.py").write_text("def run(: pass")
    result = call("workflows", "test", status=1)
    assert result.stdout == "no workflow has tests\n"
    assert result.stderr.startswith("broken: workflows/bad.py:1: it does not parse")


def test_without_tests_no_kernel_is_started(workspace):  # noqa: F811
    assert call("workflows", "test").stdout == "no workflow has tests\n"
    assert "no workflow 'none'" in call("workflows", "test", "none", status=1).stderr
