"""A large folder of workflows is watched: what changes is seen at the next call, and nothing else is looked at."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from py_code_mode import FileStorage
from py_code_mode.storage import file_workflows, folder_watch
from py_code_mode.storage.folder_watch import FolderWatch

looked: list[str] = []


def note(event, arguments):
    if event == "os.scandir":
        looked.append(str(arguments[0]))


sys.addaudithook(note)


def source(number):
    return f'"""D."""\nasync def run(): return {number}\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(file_workflows, "_MANY", 0.0)
    folder = tmp_path / "workflows"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.py").write_text(source(0))
    return folder


@pytest.fixture
def library(folder):
    library = FileStorage(folder.parent).get_workflow_library()
    assert names(library) == "abc"
    looked.clear()
    return library


def names(library):
    return "".join(workflow.name for workflow in library.list())


def looks(folder):
    return looked.count(str(folder))


def test_nothing_is_looked_at_while_nothing_changes(library, folder):
    first = library.list()
    for _ in range(3):
        assert library.list() == first
    assert looks(folder) == 0


def test_every_kind_of_change_is_seen_at_the_next_call(library, folder):
    for turn in range(1, 20):  # in place, same size, within one tick of the clock
        (folder / "a.py").write_text(source(turn % 10))
        assert f"return {turn % 10}" in library.list()[0].source
    (folder / "d.py").write_text(source(4))
    assert names(library) == "abcd"
    (folder / "d.py").unlink()
    assert names(library) == "abc"
    (folder / "c.py").rename(folder / "e.py")
    assert names(library) == "abe"
    (folder.parent / "f.py").write_text(source(6))
    (folder.parent / "f.py").rename(folder / "f.py")
    assert names(library) == "abef"
    library.create("g", source(7))
    library.delete("a")
    assert names(library) == "befg"
    (folder / "b.py").unlink()
    (folder / "b.py").symlink_to("e.py")
    assert library.list()[0].broken is not None
    (folder / "notes.txt").write_text("x")
    (folder / "_h.py").write_text("x")
    assert names(library) == "befg"
    other = subprocess.run(["sh", "-c", f"echo >> {folder}/e.py; touch {folder}/h.py"], check=True)
    assert (other.returncode, names(library)) == (0, "befgh")
    assert looks(folder) == 1  # by the one that wrote, for what dead writers left


def test_a_folder_that_is_replaced_or_gone_is_looked_at_anew(library, folder):
    folder.rename(folder.parent / "old")
    assert names(library) == ""
    folder.mkdir()
    (folder / "x.py").write_text(source(1))
    assert names(library) == "x"
    (folder / "y.py").write_text(source(1))
    (folder.parent / "old" / "z.py").write_text(source(1))
    assert names(library) == "xy"


def test_more_changes_than_the_system_keeps_are_all_seen(library, folder):
    for number in range(9000):
        (folder / f"n{number}.py").touch()
        (folder / f"n{number}.py").unlink()
    (folder / "last.py").write_text(source(1))
    assert names(library) == "abclast"
    (folder / "more.py").write_text(source(1))
    assert names(library) == "abclastmore"


def test_what_no_watch_can_tell_is_found_by_the_look_that_comes_now_and_then(folder, monkeypatch):
    monkeypatch.setattr(file_workflows, "_AGAIN", 0.0)
    library = FileStorage(folder.parent).get_workflow_library()
    elsewhere = folder.parent / "same.py"
    os.link(folder / "a.py", elsewhere)
    names(library)
    elsewhere.write_text(source(5))  # through another name of the file
    assert "return 5" in library.list()[0].source


def test_a_process_that_was_forked_takes_nothing_from_its_parent(library, folder):
    (folder / "d.py").write_text(source(1))
    child = os.fork()
    if not child:
        os._exit(0 if names(library) == "abcd" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert names(library) == "abcd"


def test_where_no_watch_can_be_had_every_file_is_looked_at(folder, monkeypatch):
    def refused(folder):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(file_workflows, "FolderWatch", refused)
    library = FileStorage(folder.parent).get_workflow_library()
    assert names(library) == "abc"
    (folder / "a.py").unlink()
    assert names(library) == "bc"


def test_a_folder_that_other_machines_may_change_is_not_watched(folder, monkeypatch):
    monkeypatch.setattr(file_workflows, "is_local", lambda path: False)
    monkeypatch.setattr(file_workflows, "FolderWatch", None)  # nobody may call it
    library = FileStorage(folder.parent).get_workflow_library()
    assert names(library) == names(library) == "abc"
    (folder / "a.py").unlink()
    assert names(library) == "bc"


def test_a_watch_ends_with_its_store(folder):
    def watches():
        fds = [Path("/proc/self/fd", fd) for fd in os.listdir("/proc/self/fd")]
        return [str(fd.readlink()) for fd in fds if fd.is_symlink()].count("anon_inode:inotify")

    before = watches()
    watch = FolderWatch(folder)
    assert watches() == before + 1
    assert watch.changes(folder) == set()
    watch.close()
    watch.close()
    assert watches() == before
    FolderWatch(folder)
    assert watches() == before


def test_a_process_with_many_stores_leaves_watches_for_others_and_sees_every_change_all_the_same(folder, monkeypatch):
    monkeypatch.setattr(folder_watch, "_MOST", len(folder_watch._watching) + 2)
    libraries = [FileStorage(folder.parent).get_workflow_library() for _ in range(4)]
    assert [names(library) for library in libraries] == ["abc"] * 4
    with pytest.raises(OSError, match="as many folders as it may"):
        FolderWatch(folder)
    (folder / "d.py").write_text(source(1))
    assert [names(library) for library in libraries] == ["abcd"] * 4
    del libraries
    FolderWatch(folder).close()
