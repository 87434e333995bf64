"""The versions of a workflow, whatever keeps them: listed, read, compared, brought back; how often it was used."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import redis

from py_code_mode import FileStorage, RedisStorage
from py_code_mode.errors import StorageError, WorkflowInvalidError, WorkflowNotFoundError
from py_code_mode.storage import disk, file_history
from py_code_mode.workflows import history
from py_code_mode.workflows.history import Use, diff

from .redis_servers import shared_server
from .storages import BACKENDS


def source(number: int) -> str:
    return f'"""Gives {number}."""\n\n\nasync def run() -> int:\n    return {number}\n'


@pytest.fixture(params=BACKENDS)
def storage(request, tmp_path):
    return BACKENDS[request.param](tmp_path)


@pytest.fixture
def library(storage):
    return storage.get_workflow_library()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "workspace" / "workflows"


@pytest.fixture
def files(folder):
    return FileStorage(folder.parent).get_workflow_library()


def changes(library, name="one"):
    return [(version.number, version.entry.author, version.entry.change) for version in library.history(name)]


def test_every_save_is_a_version_with_its_time_and_author(library):
    for number in (1, 2, 3):
        library.create("one", source(number), author=f"session {number}")
    library.create("other", source(9))
    assert changes(library) == [(1, "session 1", "saved"), (2, "session 2", "saved"), (3, "session 3", "saved")]
    times = [version.entry.created for version in library.history("one")]
    assert times == sorted(times)
    assert [version.entry.digest for version in library.history("one")] == [
        hashlib.sha256(source(number).encode()).hexdigest() for number in (1, 2, 3)
    ]
    for number in (1, 2, 3):
        workflow, version = library.version("one", number)
        assert (workflow.source, workflow.description, version.number) == (source(number), f"Gives {number}.", number)
    assert library.version("one")[1].number == 3
    assert library.require("one").source == source(3)
    assert [workflow.name for workflow in library.list()] == ["one", "other"]


def test_saving_what_is_there_already_makes_no_version(library):
    library.create("one", source(1), author="a")
    library.create("one", source(1), author="b")
    assert changes(library) == [(1, "a", "saved")]


def test_a_version_is_brought_back_as_a_new_one(library):
    library.create("one", source(1))
    library.create("one", source(2))
    assert library.rollback("one", 1, author="me").source == source(1)
    assert changes(library)[2:] == [(3, "me", "rolled back to 1")]
    assert library.require("one").source == source(1)
    assert library.rollback("one", 2).source == source(2)
    assert library.version("one", 1)[0].source == source(1)


def test_what_was_deleted_can_be_brought_back(library):
    library.create("one", source(1))
    assert library.delete("one", author="me") is True
    assert library.delete("one") is False
    assert changes(library) == [(1, "", "saved"), (2, "me", "deleted")]
    assert library.get("one") is None
    assert library.version("one")[1].number == 1
    with pytest.raises(WorkflowNotFoundError, match="no version 2: it has version 1"):
        library.version("one", 2)
    library.rollback("one", 1)
    assert library.require("one").source == source(1)
    assert [version.number for version in library.history("one")] == [1, 2, 3]


def test_two_versions_are_compared_as_a_unified_diff(library):
    for number in (1, 2, 3):
        library.create("one", source(number))
    assert library.diff("one") == library.diff("one", 2, 3)
    assert library.diff("one", 1, 3) == (
        "--- workflows/one.py (version 1)\n+++ workflows/one.py (version 3)\n@@ -1,5 +1,5 @@\n"
        '-"""Gives 1."""\n+"""Gives 3."""\n \n \n async def run() -> int:\n-    return 1\n+    return 3\n'
    )
    assert library.diff("one", new=1).startswith("--- workflows/one.py (nothing)\n+++ workflows/one.py (version 1)\n")
    assert library.diff("one", 2, 2) == ""


def test_sources_made_to_be_slow_to_compare_are_compared_all_the_same(tmp_path, monkeypatch):
    numbers = random.Random(1)
    lines = [f"#{number % 150}\n" for number in range(200_000)]
    old, new = (source(1) + "".join(numbers.sample(lines, len(lines))) + "# end\n" * 5 for _ in range(2))
    began = time.monotonic()
    found = diff("one", ("version 1", old), ("version 2", new))
    assert time.monotonic() - began < 5
    assert patched(tmp_path, old, found) == new
    assert diff("one", ("version 1", old), ("version 2", old)) == ""
    monkeypatch.setattr(history, "_MOST_PAIRS", -1)
    texts = ["a\n", "a\nb\n", "b\na\nb\nc", "a\nb\nc\n", "b\na\nb\nc\nd\ne\nf\n", "a\nb\nc\nd\nx\nf\n"]
    for old, new in itertools.permutations(texts, 2):
        assert patched(tmp_path, old, diff("one", ("version 1", old), ("version 2", new))) == new


def patched(folder, text, difference):
    (folder / "patched.py").write_text(text)
    subprocess.run(["patch", "-s", folder / "patched.py"], input=difference, text=True, check=True)
    return (folder / "patched.py").read_text()


def test_a_diff_of_odd_line_ends_says_what_differs(library):
    library.create("one", f"{source(1)}# a\fb\r\n# end")
    library.create("one", f"{source(1)}# a\fc\r\n# end\n")
    assert library.diff("one").endswith("-# a\fb\r\n-# end\n\\ No newline at end of file\n+# a\fc\r\n+# end\n")


def test_a_version_or_a_workflow_that_is_not_there_is_an_error_that_names_those_that_are(library):
    for number in range(4):
        library.create("one", source(number))
    library.delete("one")
    library.create("one", source(5))
    with pytest.raises(WorkflowNotFoundError, match=r"'one' has no version 9: it has versions 1 to 4, 6$"):
        library.rollback("one", 9)
    for wrong in (0, -1, True, "1", 1.5):
        with pytest.raises(WorkflowNotFoundError, match="no version"):
            library.version("one", wrong)
    with pytest.raises(TypeError, match="number of a version"):
        library.rollback("one", None)
    for use in (library.history, library.version, library.diff, lambda name: library.rollback(name, 1)):
        with pytest.raises(WorkflowNotFoundError, match=r"no workflow 'onee'; did you mean 'one'"):
            use("onee")
    for name in ("../one", "", "a/b", "\0", "\ud800"):
        with pytest.raises((WorkflowNotFoundError, WorkflowInvalidError)):
            library.history(name)


def test_uses_are_counted_and_added_up(storage):
    library = storage.get_workflow_library()
    assert library.uses() == {}
    library.create("one", source(1))
    library.count({"one": Use(2, 1, "2026-01-02"), "größe": Use(1, 0, "2026-01-01")})
    library.count({"one": Use(3, 0, "2026-01-03")})
    library.count({"one": Use(0, 1, ""), "größe": Use(1, 0, "2025")})  # written down late
    assert library.uses() == {"one": Use(5, 2, "2026-01-03"), "größe": Use(2, 0, "2026-01-01")}
    assert [workflow.name for workflow in library.list()] == ["one"]


# -- files ----------------------------------------------------------------------------------------------------


def test_the_history_lies_beside_the_plain_files_and_is_fit_for_git(files, folder):
    files.create("one", source(1))
    files.create("one", source(2))
    assert (folder / "one.py").read_text() == source(2)
    history = folder / ".history" / "one"
    digest = hashlib.sha256(source(1).encode()).hexdigest()
    assert (history / f"{digest}.py").read_text() == source(1)
    assert len((history / "versions.jsonl").read_text().splitlines()) == 2
    files.count({"one": Use(1, 0, "")})
    subprocess.run(["git", "init", "-q", folder], check=True)
    listed = subprocess.run(["git", "add", "-An", "."], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert "one.py" in listed
    assert "versions.jsonl" in listed
    assert ".lock" not in listed
    assert "uses.json" not in listed


def test_a_merge_by_git_has_the_versions_of_both_sides(files, folder):
    def git(*arguments, check=True):
        settings = ("-c", "user.name=me", "-c", "user.email=me@example.com", "-c", "core.autocrlf=true")
        subprocess.run(["git", *settings, *arguments], cwd=folder, capture_output=True, check=check)

    def save(number, author):
        files.create("one", source(number), author=author)
        git("add", ".")
        git("commit", "-qm", author)

    folder.mkdir(parents=True)
    git("init", "-q", "-b", "main")
    save(1, "first")
    git("checkout", "-qb", "other")
    save(2, "other")
    git("checkout", "-q", "main")
    save(3, "main")
    git("merge", "-q", "other", check=False)  # in the file itself there is a conflict
    git("checkout", "--ours", "one.py")
    assert {version.entry.author for version in files.history("one")} >= {"first", "main", "other"}
    for version in files.history("one"):
        files.version("one", version.number)


def test_a_file_that_was_edited_by_hand_is_a_version_and_is_kept_by_the_next_save(files, folder):
    folder.mkdir(parents=True)
    (folder / "one.py").write_text(source(1))
    assert changes(files) == [(1, "", "edited in its file")]
    assert not (folder / ".history").exists()  # looking writes nothing
    files.create("one", source(2), author="me")
    (folder / "one.py").write_text(source(3))
    assert files.version("one", 3)[0].source == source(3)
    assert files.diff("one").count("\n+    return 3\n") == 1
    files.delete("one", author="me")
    assert changes(files) == [
        (1, "", "edited in its file"),
        (2, "me", "saved"),
        (3, "", "edited in its file"),
        (4, "me", "deleted"),
    ]
    assert [files.version("one", number)[0].source for number in (1, 2, 3)] == [source(1), source(2), source(3)]


def test_a_broken_file_is_kept_by_the_next_save_too_and_cannot_be_brought_back(files, folder):
    folder.mkdir(parents=True)
    (folder / "one.py").write_text("def run(: pass")
    files.create("one", source(2))
    assert files.version("one", 1)[0].source == "def run(: pass"
    with pytest.raises(WorkflowInvalidError, match=r"version 1 of workflow 'one' is broken: workflows/one\.py:1"):
        files.rollback("one", 1)


def test_lines_that_are_no_versions_are_passed_over_and_none_is_written_onto_half_a_line(files, folder):
    files.create("one", source(1))
    log = folder / ".history/one/versions.jsonl"
    for rubbish in (b"<<<<<<< ours\n", b"[" * 100_000 + b"\n", b'{"digest": 1}\n', b"\xff\n", b'{"digest": "half'):
        log.write_bytes(log.read_bytes() + rubbish)
    files.create("one", source(2))
    assert [version.number for version in files.history("one")] == [1, 2]
    (folder / ".history/uses.json").write_text('{"one": [1, "x", 2], "two": [1, 0, "t"]}')
    assert files.uses() == {"two": Use(1, 0, "t")}


def test_counts_in_redis_that_are_none_are_passed_over(tmp_path):
    client = redis.Redis.from_url(shared_server().url)
    library = RedisStorage(redis=client, prefix=tmp_path.name).get_workflow_library()
    library.count({"one": Use(1, 0, "t")})
    rubbish = {b"calls:two": b"x", b"last:two": b"\xff", b"failures:one": b"", b"": b"", b"\xff": b"\xff"}
    client.hset(f"{{{tmp_path.name}}}:uses", mapping=rubbish)
    assert library.uses()["one"] == Use(1, 0, "t")


@pytest.mark.parametrize("inside", [".history", ".history/one"])
def test_a_history_that_a_link_leads_out_of_the_workspace_is_refused(files, folder, tmp_path, inside):
    (tmp_path / "outside").mkdir()
    (folder / inside).parent.mkdir(parents=True)
    (folder / inside).symlink_to(tmp_path / "outside")
    with pytest.raises(Exception, match="leaves the workspace"):
        files.create("one", source(1))
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("digest", ["../../../secret", "/{outside}/secret", "A" * 64, "0" * 63])
def test_a_version_leads_to_no_file_but_its_own(files, folder, tmp_path, digest):
    (tmp_path / "secret.py").write_text(source(7))
    files.create("one", source(1))
    log = folder / ".history/one/versions.jsonl"
    line = json.loads(log.read_bytes()) | {"digest": digest.replace("{outside}", str(tmp_path))}
    log.write_bytes(json.dumps(line).encode() + b"\n" + log.read_bytes())
    assert [files.version("one", each.number)[0].source for each in files.history("one")] == [source(1)]


def test_what_stands_in_the_place_of_a_kept_source_is_told_and_replaced_when_it_is_saved_again(files, folder, tmp_path):
    files.create("one", source(1))
    kept = folder / ".history/one" / f"{files.history('one')[0].entry.digest}.py"
    files.create("one", source(2))
    (tmp_path / "other.py").write_text(source(1))
    for spoil, told in (
        (lambda: None, "gone from its storage"),
        (lambda: kept.write_text(source(3)), "its storage was changed"),
        (lambda: os.mkfifo(kept), "not a plain file"),
        (lambda: kept.symlink_to(tmp_path / "other.py"), "cannot read the history"),
    ):
        kept.unlink(missing_ok=True)
        spoil()
        with pytest.raises(StorageError, match=told):
            files.version("one", 1)
    files.create("one", source(1))
    assert (files.version("one", 1)[0].source, kept.is_symlink()) == (source(1), False)
    (folder / ".history/one/versions.jsonl").unlink()
    os.mkfifo(folder / ".history/one/versions.jsonl")
    with pytest.raises(StorageError, match="not a plain file"):
        files.history("one")


@contextmanager
def no_file_larger_than(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_the_old_source_and_lets_a_workflow_be_deleted(files, folder):
    files.create("one", source(1), author="me")
    with no_file_larger_than(1000), pytest.raises(StorageError, match="File too large"):
        files.create("one", source(2) + "#" * 1000)
    assert (files.require("one").source, changes(files)) == (source(1), [(1, "me", "saved")])
    with no_file_larger_than((folder / ".history/one/versions.jsonl").stat().st_size):
        assert files.delete("one") is True
    assert files.list() == []
    files.rollback("one", 1)
    assert files.require("one").source == source(1)


def test_what_a_save_looks_at_does_not_grow_with_the_versions(files, folder, monkeypatch):
    looked = []
    load = file_history.load_entries
    monkeypatch.setattr(file_history, "load_entries", lambda lines: looked.append(len(lines)) or load(lines))
    monkeypatch.setattr(disk, "sweep", lambda folder: looked.append(folder.name))
    for number in range(60):
        files.create("one", source(number), author="x" * 100)
    assert looked.count("one") == looked.count("workflows") == 1
    assert max(count for count in looked if isinstance(count, int)) <= 20
    looked.clear()
    log = folder / ".history/one/versions.jsonl"
    log.write_bytes(log.read_bytes() + b"x" * 5000)  # nothing in reach of the end
    files.create("one", source(99), author="me")
    assert changes(files)[-1] == (61, "me", "saved")


def test_a_workspace_that_was_removed_is_not_made_again_by_what_was_counted(files, folder):
    files.create("one", source(1))
    shutil.rmtree(folder.parent)
    with pytest.raises(StorageError, match="No such file or directory"):
        files.count({"one": Use(1, 0, "t")})
    assert not folder.parent.exists()


def test_nobody_waits_long_for_a_stopped_writer_to_count_or_to_look(files, folder, monkeypatch):
    monkeypatch.setattr(file_history, "_PATIENCE", 0.05)
    monkeypatch.setattr(file_history, "_COUNTING", 0.05)
    files.create("one", source(1))
    (folder / "one.py").write_text(source(2))
    with disk.exclusive(folder / ".history/.lock"):
        assert changes(files) == [(1, "", "saved"), (2, "", "edited in its file")]
        with pytest.raises(StorageError, match=r"another process has held .* for 0\.05 s"):
            files.count({"one": Use(1, 0, "t")})


KILLED = """
import os, signal, sys
from py_code_mode import FileStorage
library = FileStorage(sys.argv[1]).get_workflow_library()
def kill_at(step, action):
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] != 0
    seen = 0
    def hook(event, arguments):
        nonlocal seen
        if event.startswith(("open", "os.")) and event != "os.kill":
            seen += 1
            if seen > step:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    library.create("w", SOURCE % 2) if action == "save" else library.delete("w")
    os._exit(0)
SOURCE = '\"\"\"D.\"\"\"\\nasync def run(): return %d\\n'
import filelock
for action in ("save", "delete"):
    step = 0
    while True:
        library.create("w", SOURCE % 1)
        before = [v.entry for v in library.history("w")]
        killed = kill_at(step, action)
        found = library.get("w")
        assert (found.source if found else None) in ({SOURCE % 1, SOURCE % 2} if action == "save" else {SOURCE % 1, None})
        after = [v.entry for v in library.history("w")]
        assert after[:len(before)] == before and len(after) <= len(before) + 1, (before, after)
        library.create("w", SOURCE % 3)
        texts = {library.version("w", v.number)[0].source for v in library.history("w") if not v.deleted}
        assert texts >= {SOURCE % 1, SOURCE % 3} | ({found.source} if found else set()), step
        if not killed:
            break
        step += 1
    print(step)
"""


def test_a_writer_killed_at_any_step_leaves_one_of_the_two_and_loses_no_version(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.stderr == ""
    assert all(int(steps) >= 5 for steps in done.stdout.split())


WRITER = """
import sys
from py_code_mode import FileStorage, RedisStorage
from py_code_mode.storage import disk, file_history
from py_code_mode.workflows.history import Use
file_history._COUNTING = disk.LOCK_TIMEOUT  # here everybody counts without a pause
kind, where, me, count = sys.argv[1:]
storage = FileStorage(where) if kind == "file" else RedisStorage(where.partition(" ")[0], prefix=where.partition(" ")[2])
library = storage.get_workflow_library()
for number in range(int(count)):
    library.create("shared", f'\"\"\"D.\"\"\"\\nasync def run(): return {me}, {number}\\n', author=me)
    library.count({"shared": Use(1, number % 2, "t")})
"""


@pytest.mark.parametrize("kind", ["file", "redis"])
def test_eight_processes_that_save_one_workflow_lose_no_version_and_no_count(kind, tmp_path):
    where = f"{shared_server().url} history-{tmp_path.name}" if kind == "redis" else str(tmp_path)
    count = 25
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, kind, where, str(me), str(count)], stderr=subprocess.PIPE, text=True
        )
        for me in range(8)
    ]
    assert [writer.communicate(timeout=50)[1] for writer in writers] == [""] * 8
    if kind == "file":
        library = FileStorage(tmp_path).get_workflow_library()
    else:
        library = RedisStorage(shared_server().url, prefix=where.partition(" ")[2]).get_workflow_library()
    versions = library.history("shared")
    assert len(versions) == 8 * count
    for me in range(8):
        own = [version.number for version in versions if version.entry.author == str(me)]
        assert [library.version("shared", number)[0].source.split()[-1] for number in own] == list(
            map(str, range(count))
        )
    assert library.require("shared").source == library.version("shared")[0].source
    assert library.uses() == {"shared": Use(8 * count, 8 * (count // 2), "t")}
