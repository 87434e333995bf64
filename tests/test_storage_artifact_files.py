"""Artifacts as files: what people, backups and dead processes do to them."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest

from py_code_mode import FileStorage
from py_code_mode.artifacts.store import load_value, save_value
from py_code_mode.errors import ArtifactFormatError, ArtifactNameError, ArtifactNotFoundError, StorageError
from py_code_mode.host.artifacts import handlers
from py_code_mode.host.server import answer
from py_code_mode.storage import disk

LARGE = b"0123456789abcdef" * (1 << 17)  # 2 MiB


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "artifacts").mkdir()
    return tmp_path / "artifacts"


@pytest.fixture
def store(folder):
    return FileStorage(folder.parent).get_artifact_store()


def visible(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("[!.]*") if ".meta" not in path.parts)


def test_the_file_has_exactly_the_name_and_the_content(folder, store):
    artifact = save_value(store, "reports/q1.csv", "a,b\n1,2\n")
    assert artifact.path == str(folder / "reports/q1.csv")
    assert (folder / "reports/q1.csv").read_text() == "a,b\n1,2\n"
    assert visible(folder) == ["reports", "reports/q1.csv"]


def test_deleting_leaves_no_empty_folder_and_no_description(folder, store):
    save_value(store, "a/b/c", 1)
    save_value(store, "a/d", 1)
    store.delete("a/b/c")
    assert visible(folder) == ["a", "a/d"]
    store.delete("a/d")
    assert visible(folder) == []
    assert list((folder / ".meta").glob("*.json")) == []


def test_files_that_a_person_puts_there_are_listed_and_loaded_by_their_format(folder, store):
    (folder / "data").mkdir()
    (folder / "data/x.csv").write_text("a,b\n")
    (folder / "config.json").write_text('{"a": 1}')
    (folder / "blob").write_bytes(b"\x00\xff")
    found = {artifact.name: artifact for artifact in store.list()}
    assert {name: artifact.format for name, artifact in found.items()} == {
        "blob": "bytes",
        "config.json": "json",
        "data/x.csv": "text",
    }
    assert load_value(store, "config.json") == {"a": 1}
    assert load_value(store, "data/x.csv") == "a,b\n"
    assert load_value(store, "blob") == b"\x00\xff"
    assert (found["blob"].description, found["blob"].metadata) == ("", {})
    assert store.get("blob") == found["blob"]
    assert store.delete("data/x.csv") is True
    assert visible(folder) == ["blob", "config.json"]


@pytest.mark.parametrize("replace", [True, False])
def test_a_value_that_a_person_changed_is_not_described_by_the_old_metadata(folder, store, replace):
    for name, value in (("notes", "some text"), ("large", LARGE), ("settings", {"a": 1})):
        save_value(store, name, value, "old", {"k": "old"})
    changed = {"notes": b"other txt", "large": LARGE[::-1], "settings": b'{"a": 2}\n'}
    for name, content in changed.items():
        file = folder / name
        if replace:
            file.unlink()
        file.write_bytes(content)
    assert load_value(store, "notes") == "other txt"
    assert load_value(store, "large") == LARGE[::-1].decode()
    assert load_value(store, "settings") == {"a": 2}  # saved as JSON, edited as JSON
    assert {(artifact.description, str(artifact.metadata)) for artifact in store.list()} == {("", "{}")}
    again = save_value(store, "notes", b"new", "described")
    assert store.get("notes") == again


def test_json_that_a_person_broke_is_an_error_that_says_so(folder, store):
    save_value(store, "settings", {"a": 1})
    (folder / "settings").write_text('{"a": 1,}')
    with pytest.raises(ArtifactFormatError, match="json"):
        load_value(store, "settings")


def test_a_workspace_that_was_copied_touched_or_restored_keeps_its_descriptions(folder, store, tmp_path):
    save_value(store, "small", {"a": (1, 2)}, "small one", {"k": 1})
    save_value(store, "sub/large", LARGE, "large one")
    created = {artifact.name: artifact.created_at for artifact in store.list()}
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy / "artifacts", copy_function=shutil.copy)
    os.utime(copy / "artifacts/small")
    copied = FileStorage(copy).get_artifact_store()
    assert [(a.name, a.description, a.metadata) for a in copied.list()] == [
        ("small", "small one", {"k": 1}),
        ("sub/large", "large one", {}),
    ]
    assert load_value(copied, "small") == {"a": (1, 2)}
    assert load_value(copied, "sub/large") == LARGE
    assert save_value(copied, "small", 3).created_at == created["small"]
    assert load_value(store, "small") == {"a": (1, 2)}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"version": 1, "records": [{}, 3]}', b"\xff", b'{"version": 9}']
)
def test_a_description_that_was_spoiled_hides_neither_this_artifact_nor_the_others(folder, store, content):
    save_value(store, "a.txt", "text", "described")
    save_value(store, "b.txt", "text", "described")
    (spoiled,) = (path for path in (folder / ".meta").glob("*.json") if json.loads(path.read_text())["name"] == "a.txt")
    spoiled.write_bytes(content)
    assert [(artifact.name, artifact.description) for artifact in store.list()] == [
        ("a.txt", ""),
        ("b.txt", "described"),
    ]
    assert load_value(store, "a.txt") == "text"
    again = save_value(store, "a.txt", "text", "described again")
    assert store.get("a.txt") == again


def test_hidden_files_of_other_programs_are_not_listed_but_saved_ones_are(folder, store):
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints/x-checkpoint.csv").write_text("a")
    (folder / ".x.csv.swp").write_text("a")
    save_value(store, ".hidden/mine", 1)
    assert [artifact.name for artifact in store.list()] == [".hidden/mine"]


def test_links_are_neither_listed_nor_followed_nor_replaced(folder, store, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (folder / "file").symlink_to(outside / "secret")
    (folder / "folder").symlink_to(outside)
    (folder / "dangling").symlink_to("nowhere")
    assert store.list() == []
    for name in ("file", "folder/secret", "folder/new", "dangling"):
        for use in (store.read, store.get, store.exists, store.delete, lambda name: save_value(store, name, 1)):
            with pytest.raises(ArtifactNameError, match="symbolic link"):
                use(name)
    assert (outside / "secret").read_text() == "secret"
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]
    assert (folder / "dangling").is_symlink()


def test_a_folder_of_artifacts_elsewhere_is_used_inside_the_workspace_only(folder, store, tmp_path):
    save_value(store, "a", 1)
    folder.rename(tmp_path / "moved")
    folder.symlink_to("moved")
    assert (store.exists("a"), store.exists("b"), load_value(store, "a")) == (True, False, 1)
    folder.unlink()
    folder.symlink_to(tmp_path.parent)
    for use in (store.exists, store.get, store.read):
        with pytest.raises(StorageError, match="leaves the workspace"):
            use("a")


@pytest.mark.parametrize("near", [True, False])
async def test_only_a_disk_of_this_machine_is_asked_on_the_event_loop(store, monkeypatch, near):
    asked = []
    monkeypatch.setattr(disk, "_LOCAL", disk._LOCAL if near else frozenset())
    monkeypatch.setattr(store, "_is_file", lambda parts: asked.append((parts, threading.get_ident())) or True)
    assert store.is_near is near
    assert await answer(handlers(store)["artifacts.exists"], {"name": "a/b"}) is True
    [(parts, thread)] = asked
    assert parts == ("a", "b")
    assert (thread == threading.get_ident()) is near


def test_what_is_no_disk_of_this_machine_is_not_taken_for_one(folder):
    assert [disk.is_local(path) for path in (folder, Path("/proc"), folder / "missing")] == [True, False, False]


def test_pipes_are_neither_listed_nor_waited_for(folder, store):
    os.mkfifo(folder / "pipe")
    assert store.list() == []
    assert store.get("pipe") is None
    assert store.exists("pipe") is False
    with pytest.raises(ArtifactNotFoundError):
        store.read("pipe")
    with pytest.raises(ArtifactNameError, match="not a file"):
        save_value(store, "pipe", 1)


def test_an_empty_folder_is_in_nobodys_way(folder, store):
    (folder / "reports").mkdir()
    save_value(store, "reports", "text")
    assert load_value(store, "reports") == "text"


def test_a_file_in_the_way_of_a_folder_is_not_found_below(folder, store):
    save_value(store, "a", 1)
    assert store.get("a/b") is None
    assert store.exists("a/b") is False
    assert store.delete("a/b") is False


def test_replacing_keeps_the_permissions_of_the_file(folder, store):
    save_value(store, "a", 1)
    (folder / "a").chmod(0o600)
    save_value(store, "a", 2)
    assert (folder / "a").stat().st_mode & 0o777 == 0o600


def test_what_a_dead_writer_left_is_never_listed_and_removed_after_an_hour(folder, store):
    temporary = folder / ".meta/tmp"
    temporary.mkdir(parents=True)
    for name, age in ((".tmp-1-dead", 7200), (".tmp-2-alive", 0)):
        (temporary / name).write_text("half")
        os.utime(temporary / name, (time.time() - age,) * 2)
    assert store.list() == []
    save_value(store, "a", 1)
    assert [path.name for path in temporary.iterdir()] == [".tmp-2-alive"]


def test_a_save_that_fails_leaves_nothing_behind(folder, store):
    save_value(store, "a", 1)
    with pytest.raises(ArtifactNameError):
        save_value(store, "a/b", 2)
    assert visible(folder) == ["a"]
    assert list((folder / ".meta/tmp").iterdir()) == []


def test_a_spoiled_metadata_folder_is_a_storage_error_that_names_the_path(folder, store):
    (folder / ".meta").write_text("not a folder")
    (folder / "a.txt").write_text("text")
    assert load_value(store, "a.txt") == "text"
    assert [artifact.name for artifact in store.list()] == ["a.txt"]
    with pytest.raises(StorageError, match=str(folder)):
        save_value(store, "a.txt", 1)


def test_a_hundred_megabytes_are_saved_and_read_without_a_copy(store):
    value = bytes(100 << 20)
    save_value(store, "warm", 1)
    tracemalloc.start()
    try:
        save_value(store, "large", value)
        artifact, data = store.read("large")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
    assert artifact.size == 100 << 20
    assert isinstance(data, memoryview)
    assert data.readonly
    assert data[-1] == 0


def test_a_copy_is_recognised_however_its_content_was_written(folder, store, tmp_path):
    data = bytes(range(256)) * 100
    for name, parts in {
        "whole": [b"", memoryview(data).cast("i")],
        "parts": [data[:7], b"", data[7:]],
        "empty": [],
    }.items():
        with closing(store.create(name, "bytes", {}, f"described {name}")) as writer:
            for part in parts:
                writer.write(part)
            writer.commit()
    shutil.copytree(folder.parent, tmp_path / "copy")
    copied = FileStorage(tmp_path / "copy").get_artifact_store()
    assert {item.name: (item.size, item.description) for item in copied.list()} == {
        "whole": (25_600, "described whole"),
        "parts": (25_600, "described parts"),
        "empty": (0, "described empty"),
    }


def test_a_lock_that_another_writer_never_gives_back_is_a_storage_error_in_the_end(folder, store, monkeypatch):
    save_value(store, "a", 1)
    monkeypatch.setattr(disk, "LOCK_TIMEOUT", 0.05)
    with disk.exclusive(folder / ".meta/lock"):
        with pytest.raises(StorageError, match=r"another process has held .*/\.meta/lock"):
            save_value(store, "a", 2)
        assert load_value(store, "a") == 1
    save_value(store, "a", 3)
    assert load_value(store, "a") == 3
