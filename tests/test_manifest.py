"""requirements.toml: every behaviour has its tests, and every test its behaviour."""

from __future__ import annotations

import ast
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
GROUPS: dict[str, list[dict[str, Any]]] = tomllib.loads((TESTS / "requirements.toml").read_text("utf-8"))
ENTRIES = [entry for group in GROUPS.values() for entry in group]


COLLECTED = {
    f"{path.name}::{node.name}"
    for path in TESTS.glob("test_*.py")
    for node in ast.parse(path.read_text("utf-8")).body
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
}
"""Every test function, as pytest names it, without parameters."""


def test_every_behaviour_names_tests_that_exist():
    missing = {entry["id"]: gone for entry in ENTRIES if (gone := set(entry["tests"]) - COLLECTED)}
    assert missing == {}
    assert [entry["id"] for entry in ENTRIES if not entry["tests"]] == []


def test_every_test_shows_a_behaviour():
    named = {test for entry in ENTRIES for test in entry["tests"]}
    assert sorted(COLLECTED - named) == []


def test_every_behaviour_has_an_id_of_its_own_and_a_sentence():
    assert [name for name, count in Counter(entry["id"] for entry in ENTRIES).items() if count > 1] == []
    for entry in ENTRIES:
        assert entry.keys() == {"id", "says", "tests"}
        assert entry["says"].endswith(".")
        assert len(set(entry["tests"])) == len(entry["tests"])


def test_no_test_hides_in_a_class_or_behind_another_of_its_name():
    for path in TESTS.glob("test_*.py"):
        body = ast.parse(path.read_text("utf-8")).body
        names = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        assert len(names) == len(set(names)), path.name
        assert not [node.name for node in body if isinstance(node, ast.ClassDef) and node.name.startswith("Test")]
