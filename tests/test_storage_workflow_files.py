"""Workflows as files: what people and their editors do to them."""

from __future__ import annotations

import os
import sys
import time

import pytest

from py_code_mode import FileStorage
from py_code_mode.errors import StorageError, WorkflowInvalidError

ONE = '"""One."""\n\n\nasync def run() -> int:\n    return 1\n'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "workflows").mkdir()
    return tmp_path / "workflows"


@pytest.fixture
def library(folder):
    return FileStorage(folder.parent).get_workflow_library()


def visible(folder):
    """What lies in the folder beside the history."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".history")


def test_new_edited_and_deleted_files_are_seen_at_the_next_call(folder, library):
    assert library.list() == []
    file = folder / "one.py"
    file.write_text(ONE)
    assert [workflow.name for workflow in library.list()] == ["one"]
    for turn in range(100):  # same size, same inode, within one tick of the file system's clock
        file.write_text(ONE.replace("1", str(turn % 10)))
        assert f"return {turn % 10}" in library.require("one").source
        assert f"return {turn % 10}" in library.list()[0].source
    file.unlink()
    assert library.get("one") is None
    assert library.list() == []


def test_a_file_that_did_not_change_is_not_read_again(folder, library):
    file = folder / "one.py"
    file.write_text(ONE)
    old = time.time() - 10
    os.utime(file, (old, old))
    while time.time() - file.stat().st_ctime < 0.06:
        os.sched_yield()
    first = library.get("one")
    reads: list[str] = []

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and str(arguments[0]).endswith("one.py"):
            reads.append(event)

    # An audit hook stays for the life of the process: it has to be this small.
    sys.addaudithook(note)
    assert library.get("one") is first
    assert library.list() == [first]
    assert reads == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"def run(: pass", r"workflows/bad\.py:1: it does not parse"),
        (b"x = 1\n", "no 'async def run'"),
        (b'"""\xff"""\nasync def run(): pass', r"workflows/bad\.py:1: it is not UTF-8"),
        (b"\xff\xfea\0", "not UTF-8"),
        (b"async def run(): pass\n\0", r"bad\.py:2: it has a NUL"),
        (b"#" * ((1 << 20) + 1), "more than 1,048,576"),
        (b"", "no 'async def run'"),
    ],
)
def test_a_file_that_is_no_workflow_is_listed_as_broken_and_hides_nothing(folder, library, content, reason):
    (folder / "bad.py").write_bytes(content)
    (folder / "one.py").write_text(ONE)
    bad, one = library.list()
    assert (bad.name, one.name, one.broken) == ("bad", "one", None)
    assert bad.summary()["broken"] == bad.broken
    assert bad.parameters == ()
    with pytest.raises(WorkflowInvalidError, match=reason):
        library.require("bad")
    assert [workflow.name for workflow in library.search("one run")] == ["one"]
    (folder / "bad.py").write_text(ONE)
    assert library.require("bad").broken is None


@pytest.mark.parametrize("name", ["my-flow", "list", "class", "2nd"])
def test_a_file_whose_name_no_workflow_can_have_is_broken_with_a_suggestion_and_can_be_deleted(folder, library, name):
    (folder / f"{name}.py").write_text(ONE)
    (broken,) = library.list()
    assert broken.name == name
    assert "try '" in str(broken.broken)
    assert library.delete(name) is True
    assert library.list() == []


def test_links_folders_and_pipes_are_broken_and_never_read(folder, library, tmp_path):
    (tmp_path / "secret.py").write_text(ONE)
    (folder / "link.py").symlink_to(tmp_path / "secret.py")
    (folder / "dangling.py").symlink_to("nowhere")
    (folder / "folder.py").mkdir()
    os.mkfifo(folder / "pipe.py")
    (folder / "one.py").write_text(ONE)
    found = {workflow.name: workflow.broken for workflow in library.list()}
    assert found == {
        "link": "workflows/link.py: it is a symbolic link, and workflows are plain files",
        "dangling": "workflows/dangling.py: it is a symbolic link, and workflows are plain files",
        "folder": "workflows/folder.py: it is a folder, and workflows are plain files",
        "pipe": "workflows/pipe.py: it is a special file, and workflows are plain files",
        "one": None,
    }


def test_hidden_private_and_other_files_are_ignored(folder, library):
    for name in ("_helper.py", "__init__.py", ".one.py.swp", ".hidden.py", "notes.txt", "one.py~", "one.pyc"):
        (folder / name).write_text(ONE)
    assert library.list() == []
    assert library.get("_helper") is None


def test_a_file_with_a_byte_order_mark_and_windows_line_ends_works(folder, library):
    (folder / "one.py").write_bytes(b"\xef\xbb\xbf" + ONE.replace("\n", "\r\n").encode())
    workflow = library.require("one")
    assert workflow.description == "One."
    assert compile(workflow.source, workflow.path, "exec")


def test_creating_replaces_the_file_at_once_and_keeps_its_permissions(folder, library):
    file = folder / "one.py"
    file.write_text(ONE)
    file.chmod(0o640)
    before = file.open()
    library.create("one", ONE.replace("1", "2"))
    with before:
        assert before.read() == ONE  # whoever has the old file open still reads all of it
    assert "return 2" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o640
    assert visible(folder) == ["one.py"]


def test_what_a_dead_writer_left_is_removed_by_a_later_one(folder, library):
    for name, age in ((".tmp-1-dead", 7200), (".tmp-2-alive", 0)):
        (folder / name).write_text("half")
        os.utime(folder / name, (time.time() - age,) * 2)
    library.create("one", ONE)
    assert visible(folder) == [".tmp-2-alive", "one.py"]


def test_a_folder_in_the_place_of_the_file_is_a_storage_error_that_names_it(folder, library):
    (folder / "one.py").mkdir()
    with pytest.raises(StorageError, match=str(folder / "one.py")):
        library.create("one", ONE)
    with pytest.raises(StorageError, match=str(folder / "one.py")):
        library.delete("one")
    assert visible(folder) == ["one.py"]


def test_one_among_ten_thousand_workflows_is_found_within_ten_milliseconds(folder, library):
    for number in range(10_000):
        (folder / f"w{number}.py").touch()
    (folder / "w5000.py").write_text(ONE)
    library.get("w5000")
    fastest = 1.0
    for _ in range(5):
        begin = time.perf_counter()
        assert library.get("w5000") is not None
        fastest = min(fastest, time.perf_counter() - begin)
    assert fastest < 0.01
