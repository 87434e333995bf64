"""Storage backends as a Session sees them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from py_code_mode import FileStorage, MemoryStorage, StorageBackend
from py_code_mode.artifacts.store import load_value, save_value
from py_code_mode.errors import StorageError

from .storages import BACKENDS

SOURCE = "async def run() -> int:\n    return 1\n"


@pytest.fixture(params=BACKENDS)
def storage(request, tmp_path):
    return BACKENDS[request.param](tmp_path)


def test_a_backend_has_the_three_stores_and_an_identity_of_its_own(storage, tmp_path):
    assert isinstance(storage, StorageBackend)
    assert storage.get_workflow_library().list() == []
    assert storage.get_artifact_store().list() == []
    assert storage.get_dependency_store().read() == []
    assert storage.identity == storage.identity
    assert storage.identity not in {FileStorage(tmp_path / "other").identity, MemoryStorage().identity}


def test_every_call_for_a_store_gives_the_same_content(storage):
    save_value(storage.get_artifact_store(), "a", 1)
    storage.get_workflow_library().create("one", SOURCE, "One")
    storage.get_dependency_store().add("pandas>=2")
    assert load_value(storage.get_artifact_store(), "a") == 1
    assert storage.get_workflow_library().get("one") is not None
    assert storage.get_dependency_store().read() == ["pandas>=2"]


def test_the_identity_of_a_directory_is_the_same_by_every_path_to_it(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    paths = [tmp_path / "real", str(tmp_path / "link"), "real", "./link/../real", "~/real"]
    assert {FileStorage(path).identity for path in paths} == {f"file:{tmp_path / 'real'}"}
    assert FileStorage("~/real").base_path == tmp_path / "real"


@pytest.mark.parametrize("base", [None, 3, b"bytes"])
def test_a_base_path_that_is_no_path_is_a_type_error(base):
    with pytest.raises(TypeError, match="base_path"):
        FileStorage(base)


def test_nothing_is_created_before_something_is_written(tmp_path):
    storage = FileStorage(tmp_path / "a" / "b")
    assert storage.get_artifact_store().get("x") is None
    assert storage.get_artifact_store().delete("x") is False
    assert storage.get_workflow_library().get("x") is None
    assert storage.get_workflow_library().delete("x") is False
    assert storage.get_dependency_store().remove("x") is False
    assert not (tmp_path / "a").exists()


def test_a_missing_base_is_created_by_the_first_write_of_any_store(tmp_path):
    save_value(FileStorage(tmp_path / "1/w").get_artifact_store(), "x", 1)
    FileStorage(tmp_path / "2/w").get_workflow_library().create("one", SOURCE, "One")
    FileStorage(tmp_path / "3/w").get_dependency_store().add("pandas")
    assert (tmp_path / "1/w/artifacts/x").is_file()
    assert (tmp_path / "2/w/workflows/one.py").is_file()
    assert (tmp_path / "3/w/requirements.txt").read_text() == "pandas\n"


def test_a_base_that_is_a_file_is_a_storage_error_that_names_it(tmp_path):
    (tmp_path / "base").write_text("")
    storage = FileStorage(tmp_path / "base")
    for use in (
        lambda: save_value(storage.get_artifact_store(), "x", 1),
        lambda: storage.get_workflow_library().create("one", SOURCE, "One"),
        lambda: storage.get_dependency_store().add("pandas"),
    ):
        with pytest.raises(StorageError, match=str(tmp_path / "base")):
            use()


READ_ONLY = """
import os, sys
from pathlib import Path
from py_code_mode.artifacts.store import load_value, save_value
from py_code_mode.errors import StorageError
from py_code_mode import FileStorage

SOURCE = "async def run(): pass"
base = Path(sys.argv[1])
storage = FileStorage(base)
save_value(storage.get_artifact_store(), "x", 1)
storage.get_workflow_library().create("one", SOURCE, "One")
storage.get_dependency_store().add("rich")
for path in (base, *base.rglob("*")):
    path.chmod(0o555 if path.is_dir() else 0o444)
if os.geteuid() == 0:
    os.seteuid(65534)  # root may write everywhere
storage = FileStorage(base)
print(load_value(storage.get_artifact_store(), "x"), storage.get_artifact_store().list()[0].name)
print(storage.get_workflow_library().list()[0].name, storage.get_dependency_store().read())
for use in (
    lambda: save_value(storage.get_artifact_store(), "x", 2),
    lambda: storage.get_artifact_store().delete("x"),
    lambda: storage.get_workflow_library().create("one", SOURCE, "Two"),
    lambda: storage.get_workflow_library().delete("one"),
    lambda: storage.get_dependency_store().add("pandas"),
):
    try:
        use()
        print("written")
    except StorageError as error:
        print(error.message.replace(str(base), "BASE").replace("[Errno 13] ", ""))
"""


def test_a_read_only_workspace_can_be_read_and_refuses_writes():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        command = [sys.executable, "-c", READ_ONLY, f"{folder}/base"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        for path in Path(folder).rglob("*"):
            path.chmod(0o755)
    assert done.stderr == ""
    values, others, *errors = done.stdout.splitlines()
    assert (values, others) == ("1 x", "one ['rich']")
    assert len(errors) == 5
    for error in errors:
        assert error.startswith("cannot ")
        assert " at BASE/" in error
        assert error.endswith(": Permission denied")


FULL_DISK = """
import resource, sys
from py_code_mode.artifacts.store import load_value, save_value
from py_code_mode.errors import StorageError
from py_code_mode import FileStorage

store = FileStorage(sys.argv[1]).get_artifact_store()
save_value(store, "data", "old")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_value(store, "data", b"x" * 200_000)
except StorageError as error:
    print(error)
print(load_value(store, "data"))
"""


def test_a_save_that_does_not_fit_on_the_disk_is_a_storage_error_and_leaves_the_old_value(tmp_path):
    # A limit for the size of files stands in for the full disk: the write fails half-way just the same.
    command = [sys.executable, "-c", FULL_DISK, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert f"cannot save the artifact at {tmp_path}/artifacts/data: File too large" in done.stdout
    assert done.stdout.endswith("old\n")
    assert list(Path(tmp_path, "artifacts/.meta/tmp").iterdir()) == []


@pytest.mark.parametrize("name", ["artifacts", "workflows", "requirements.txt"])
def test_a_link_that_leads_out_of_the_workspace_is_refused(tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "one.py").write_text(SOURCE)
    base = tmp_path / "base"
    base.mkdir()
    (base / name).symlink_to(outside / "file.txt" if name == "requirements.txt" else outside)
    storage = FileStorage(base)
    uses = {
        "artifacts": [
            storage.get_artifact_store().list,
            lambda: storage.get_artifact_store().get("one.py"),
            lambda: save_value(storage.get_artifact_store(), "x", 1),
            lambda: storage.get_artifact_store().delete("one.py"),
        ],
        "workflows": [
            storage.get_workflow_library().list,
            lambda: storage.get_workflow_library().get("one"),
            lambda: storage.get_workflow_library().create("two", SOURCE, "Two"),
            lambda: storage.get_workflow_library().delete("one"),
        ],
        "requirements.txt": [
            storage.get_dependency_store().read,
            lambda: storage.get_dependency_store().add("pandas"),
        ],
    }
    for use in uses[name]:
        with pytest.raises(StorageError, match="leaves the workspace"):
            use()
    assert [path.name for path in outside.iterdir()] == ["one.py"]
