"""Workspaces compared and carried between any two storages."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import uuid
from contextlib import closing

import pytest
import redis

from kernel_bootstrap.formats import Payload
from py_code_mode import FileStorage, MemoryStorage, RedisStorage
from py_code_mode.artifacts.store import load_value, save_value
from py_code_mode.errors import StorageError
from py_code_mode.transfer.shelf import KINDS
from py_code_mode.transfer.transfer import Change, Transfer, inventory, remove

from .redis_servers import RedisServer, shared_server

SOURCE = '"""{}."""\n\n\nasync def run() -> int:\n    return 1\n'
TOOL = b"name: %s\ncommand: echo\ndescription: One of many\n"


def in_redis():
    return RedisStorage(shared_server().url, prefix=f"test-{uuid.uuid4().hex}")


STORAGES = {
    "file": lambda folder: FileStorage(folder / uuid.uuid4().hex),
    "memory": lambda folder: MemoryStorage(),
    "redis": lambda folder: in_redis(),
}
PAIRS = list(itertools.product(STORAGES, STORAGES))


def fill(storage, word="one"):
    for name in ("a", "b"):
        storage.get_workflow_library().create(name, SOURCE.format(word))
        storage.get_tool_store().write(name, TOOL % name.encode())
        save_value(storage.get_artifact_store(), f"deep/{name}", {"word": word}, f"About {word}", {"n": 1})
    save_value(storage.get_artifact_store(), "large", word.encode() * 700_000)
    for requirement in ("tabulate>=0.9", "rich"):
        storage.get_dependency_store().add(requirement)


def marks(changes):
    return {f"{change.kind}/{change.name}": change.mark for change in changes}


def same(one, two):
    return {change.mark for change in Transfer(one, two).compare()} <= {"="}


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_what_is_carried_is_the_same_on_the_other_side_and_carried_once(tmp_path, first, second):
    source, target = STORAGES[first](tmp_path), STORAGES[second](tmp_path)
    fill(source)
    transfer = Transfer(source, target)
    found = transfer.compare()
    assert set(marks(found).values()) == {"+"}
    assert len(found) == 9
    assert list(transfer.carry(found)) == found
    assert same(source, target)
    assert same(target, source)
    assert list(transfer.carry(Transfer(source, target).compare())) == []
    artifact = target.get_artifact_store().get("deep/a")
    assert (artifact.description, artifact.metadata) == ("About one", {"n": 1})
    assert load_value(target.get_artifact_store(), "large") == b"one" * 700_000
    assert target.get_dependency_store().read() == ["tabulate>=0.9", "rich"]  # in their order
    assert target.get_workflow_library().get("a").source == SOURCE.format("one")


@pytest.mark.parametrize(("first", "second"), [("file", "redis"), ("redis", "file"), ("redis", "memory")])
def test_what_differs_is_found_and_only_that_is_carried(tmp_path, first, second):
    source, target = STORAGES[first](tmp_path), STORAGES[second](tmp_path)
    fill(source)
    fill(target)
    assert same(source, target)
    source.get_workflow_library().create("a", SOURCE.format("two"))
    source.get_tool_store().write("b", TOOL % b"b" + b"timeout: 3\n")
    source.get_dependency_store().add("rich>=13")
    save_value(source.get_artifact_store(), "large", b"one" * 699_999 + b"two")  # of the same size
    save_value(source.get_artifact_store(), "deep/a", {"word": "one"}, "About two", {"n": 1})  # only described anew
    source.get_workflow_library().create("new", SOURCE.format("new"))
    target.get_workflow_library().create("old", SOURCE.format("old"))
    save_value(target.get_artifact_store(), "old", 1)
    transfer = Transfer(source, target)
    found = transfer.compare()
    differing = {name: mark for name, mark in marks(found).items() if mark != "="}
    changed = dict.fromkeys(["workflows/a", "tools/b", "deps/rich", "artifacts/large", "artifacts/deep/a"], "~")
    assert differing == {**changed, "workflows/new": "+", "workflows/old": "-", "artifacts/old": "-"}
    made = list(transfer.carry(found))
    assert marks(made) == {**changed, "workflows/new": "+"}
    left = {name: mark for name, mark in marks(Transfer(source, target).compare()).items() if mark != "="}
    assert left == {"workflows/old": "-", "artifacts/old": "-"}
    again = Transfer(source, target)
    assert marks(again.carry(again.compare(), clear=True)) == left
    assert same(source, target)


def test_what_is_carried_is_a_new_version_by_its_author(tmp_path):
    source, target = FileStorage(tmp_path), in_redis()
    for word in ("one", "two"):
        source.get_workflow_library().create("a", SOURCE.format(word), author="agent")
        transfer = Transfer(source, target, ["workflows"], author="ci")
        list(transfer.carry(transfer.compare()))
    assert [version.entry.author for version in target.get_workflow_library().history("a")] == ["ci", "ci"]
    remove(target, "workflows", ["a"], author="cleaner")
    assert target.get_workflow_library().history("a")[-1].entry.author == "cleaner"


def test_kinds_can_be_chosen(tmp_path):
    source, target = FileStorage(tmp_path), in_redis()
    fill(source)
    transfer = Transfer(source, target, ["tools", "deps"])
    list(transfer.carry(transfer.compare()))
    assert {kind for kind, _ in inventory(target)} == {"tools", "deps"}


def test_what_is_broken_is_told_and_neither_carried_nor_in_the_way_of_the_rest(tmp_path):
    source, target = FileStorage(tmp_path), in_redis()
    fill(source)
    fill(target, "old")
    (tmp_path / "workflows/a.py").write_text("async def run(: pass\n")
    (tmp_path / "workflows/silent.py").write_text("async def run() -> int:\n    return 1\n")
    (tmp_path / "tools/a.yaml").write_text("name: a\nnonsense: 1\n")
    (tmp_path / "tools/second.yaml").write_text("name: b\ncommand: echo\n")
    (tmp_path / "tools/script.yaml").write_text("name: script\ncommand: ./here\n")
    (tmp_path / "requirements.txt").write_text("-e .\nrich\nnumpy<2; python_version<'3.12'\nnumpy>=2\n")
    transfer = Transfer(source, target)
    found = transfer.compare()
    refused = {f"{change.kind}/{change.name}": change.problem for change in found if change.mark == "!"}
    assert "does not parse" in refused.pop("workflows/a")
    assert "no description" in refused.pop("workflows/silent")
    assert f"{tmp_path / 'tools/a.yaml'}:2: unknown key 'nonsense'" in refused.pop("tools/a")
    assert "is taken by" in refused.pop("tools/second")
    assert "'-e .'" in refused.pop("deps/requirements.txt:1")
    assert "several requirements for one package" in refused.pop("deps/numpy")
    assert refused == {}
    made = list(transfer.carry(found, clear=True))
    (failed,) = [change for change in made if change.mark == "!"]
    assert (failed.name, "relative to a file" in failed.problem) == ("script", True)
    # What is broken in the source is not missing in it: what the target has of it stays.
    assert target.get_workflow_library().get("a").description == "old."
    assert sorted(target.get_tool_store().stamps()) == ["a", "b"]
    assert target.get_workflow_library().get("b").description == "one."
    assert target.get_dependency_store().read() == ["rich"]


def test_a_broken_workflow_of_the_target_is_replaced_or_removed(tmp_path):
    source, target = FileStorage(tmp_path / "a"), FileStorage(tmp_path / "b")
    fill(source)
    fill(target)
    (tmp_path / "b/workflows/a.py").write_text("async def run(: pass\n")
    (tmp_path / "b/workflows/x.py").write_text("\xff")
    (tmp_path / "b/tools/x.yaml").write_text("- no tool\n")
    (tmp_path / "b/requirements.txt").write_text("-e .\nrich\ntabulate>=0.9\n")
    transfer = Transfer(source, target)
    found = transfer.compare()
    expected = {"workflows/a": "~", "workflows/x": "-", "tools/x": "-", "deps/requirements.txt:1": "-"}
    assert {name: mark for name, mark in marks(found).items() if mark != "="} == expected
    made = list(transfer.carry(found, clear=True))
    assert marks(made) == expected | {"deps/requirements.txt:1": "!"}
    assert [change.problem for change in made if change.mark == "!"] == ["'-e .' can be removed by hand only"]
    left = {name: mark for name, mark in marks(Transfer(source, target).compare()).items() if mark != "="}
    assert left == {"deps/requirements.txt:1": "-"}


def test_while_everything_is_replaced_nobody_sees_less_than_there_is_to_be():
    source, target = MemoryStorage(), in_redis()
    fill(source, "new")
    fill(target, "old")
    target.get_workflow_library().create("gone", SOURCE.format("old"))
    seen, done = [], threading.Event()

    def look():
        other = RedisStorage(shared_server().url, prefix=target.prefix)
        while not done.is_set():
            names = {workflow.name for workflow in other.get_workflow_library().list()}
            names |= {artifact.name for artifact in other.get_artifact_store().list()}
            names |= set(other.get_tool_store().stamps()) | set(other.get_dependency_store().read())
            seen.append(names >= {"a", "b", "deep/a", "deep/b", "large", "rich", "tabulate>=0.9"})

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(3):
            transfer = Transfer(source, target)
            list(transfer.carry(transfer.compare(), clear=True))
            fill(target, "old")
    finally:
        done.set()
        thread.join()
    assert seen
    assert all(seen)


def test_an_artifact_takes_the_name_of_a_folder_that_goes(tmp_path):
    source, target = FileStorage(tmp_path), in_redis()
    save_value(source.get_artifact_store(), "report/today", 1)
    save_value(target.get_artifact_store(), "report", 0)
    transfer = Transfer(source, target)
    (kept,) = transfer.carry(transfer.compare())
    assert (kept.mark, "is an artifact, so it cannot be a folder" in kept.problem) == ("!", True)
    assert [change.mark for change in transfer.carry(transfer.compare(), clear=True)] == ["-", "+"]
    assert same(source, target)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (
            None,
            "one\ntwo\n",
            "--- /dev/null\n+++ source/artifacts/x\n@@ -0,0 +1,4 @@\n+format: text, 8 bytes\n+\n+one\n+two\n",
        ),
        ("one\n", None, "--- target/artifacts/x\n+++ /dev/null\n@@ -1,3 +0,0 @@\n-format: text, 4 bytes\n-\n-one\n"),
        (
            {"a": 1},
            {"a": 2},
            (
                "--- target/artifacts/x\n+++ source/artifacts/x\n@@ -1,5 +1,5 @@\n format: json, 13 bytes\n \n {\n"
                '- "a": 1\n+ "a": 2\n }\n'
            ),
        ),
        (b"\0a", b"\0b", "artifacts/x: the content differs, and is not text that can be shown\n"),
        ("same", "same", ""),
    ],
)
def test_the_diff_leads_from_the_target_to_the_source(before, after, expected):
    source, target = MemoryStorage(), MemoryStorage()
    for storage, value in ((source, after), (target, before)):
        if value is not None:
            save_value(storage.get_artifact_store(), "x", value)
    transfer = Transfer(source, target)
    (change,) = transfer.compare()
    assert transfer.diff(change) == expected


def test_the_diff_of_sources_is_that_of_their_lines():
    source, target = MemoryStorage(), MemoryStorage()
    fill(source, "one")
    fill(target, "two")
    source.get_dependency_store().add("rich>=13")
    transfer = Transfer(source, target)
    diffs = {f"{change.kind}/{change.name}": transfer.diff(change) for change in transfer.compare()}
    assert '-"""two."""\n+"""one."""\n' in diffs["workflows/a"]
    assert "-rich\n+rich>=13\n" in diffs["deps/rich"]
    assert "-description: About two\n+description: About one\n" in diffs["artifacts/deep/a"]
    assert diffs["tools/a"] == ""


MEMORY = """
import sys, tracemalloc, resource
from py_code_mode.storage.bases import storage_at
from py_code_mode.transfer.transfer import Transfer
for source, target in (sys.argv[1:3], sys.argv[2:4]):
    transfer = Transfer(storage_at(source), storage_at(target), ["artifacts"])
    tracemalloc.start()
    (change,) = transfer.compare()
    assert change.mark == "+", change
    list(transfer.carry([change]))
    (change,) = Transfer(storage_at(source), storage_at(target), ["artifacts"]).compare()
    assert change.mark == "=", change
    print(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
"""


def test_a_large_artifact_is_carried_and_compared_in_little_memory(tmp_path):
    source = FileStorage(tmp_path / "a")
    source.get_artifact_store().save("large", Payload("bytes", b"x" * (64 << 20)))
    url = f"{shared_server().url}?prefix=test-{uuid.uuid4().hex}"
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "a"), url, str(tmp_path / "b")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    assert max(map(int, done.stdout.split())) < 16 << 20


def test_a_storage_that_goes_away_ends_the_transfer_and_one_lost_artifact_does_not(tmp_path):
    with closing(RedisServer()) as server, redis.Redis.from_url(server.url) as client:
        source, target = RedisStorage(server.url, prefix="p"), MemoryStorage()
        fill(source)
        client.delete(*client.scan_iter(match="*chunk:*:1"))
        transfer = Transfer(source, target)
        found = transfer.compare()
        made = list(transfer.carry(found))
        assert {change.name: "a part of it is gone" in change.problem for change in made if change.mark == "!"} == {
            "large": True
        }
        assert len(made) == 9
        client.delete(*client.scan_iter(match="*chunk:*:0"))  # now each has lost something
        emptied = Transfer(source, MemoryStorage())
        assert [change.mark for change in emptied.carry(emptied.compare()) if change.kind == "artifacts"] == ["!"] * 3
        emptied = Transfer(MemoryStorage(), source)
        diffs = {change.name: emptied.diff(change) for change in emptied.compare() if change.kind == "artifacts"}
        assert "a part of it is gone" in diffs["deep/a"]
        back = Transfer(target, source)
        target.get_workflow_library().create("new", SOURCE.format("new"))
        for name in "cdef":
            target.get_tool_store().write(name, TOOL % name.encode())
        found = back.compare()
        server.kill()
        carrying, told = back.carry(found), []
        with pytest.raises(StorageError, match="cannot"):
            told.extend(carrying)
        assert told == []


def test_progress_is_told_in_parts_of_a_thing_up_to_all_of_them(tmp_path):
    source, target = FileStorage(tmp_path), in_redis()
    save_value(source.get_artifact_store(), "large", b"x" * (3 << 20))
    save_value(source.get_artifact_store(), "small", 1)
    transfer, told = Transfer(source, target, ["artifacts"]), []
    list(transfer.carry(transfer.compare(), progress=lambda *step: told.append(step)))
    assert [round(done, 2) for done, total, name in told if name == "artifacts/large"] == [0, 0.33, 0.67, 1]
    assert {total for _, total, _ in told} == {2}


def test_things_are_listed_and_removed_by_kind(tmp_path):
    storage = in_redis()
    fill(storage)
    assert [item.name for kind, item in inventory(storage, ["artifacts"])] == ["deep/a", "deep/b", "large"]
    assert remove(storage, "artifacts", ["deep/a", "nothing"]) == [
        Change("artifacts", "deep/a", "-"),
        Change("artifacts", "nothing", "!", "it is not there"),
    ]
    for kind in KINDS:
        remove(storage, kind, [item.name for _, item in inventory(storage, [kind])])
    assert inventory(storage) == []
    assert json.dumps(storage.get_dependency_store().read()) == "[]"
