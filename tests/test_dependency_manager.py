"""The dependencies of a session: configured, extra, installed."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from py_code_mode import FileStorage, MemoryStorage
from py_code_mode.deps.installer import InstallReport, MemoryInstaller, UninstallReport
from py_code_mode.deps.manager import DependencyManager
from py_code_mode.errors import (
    InstallError,
    RequirementError,
    RuntimeDepsDisabledError,
    StorageError,
)

from .storages import BACKENDS

NOTHING = {"installed": [], "already_present": [], "failed": []}


@pytest.fixture(params=BACKENDS)
def store(request, tmp_path):
    return BACKENDS[request.param](tmp_path).get_dependency_store()


async def test_adding_installs_and_configures(store):
    installer = MemoryInstaller()
    manager = DependencyManager(store, installer)
    assert await manager.add("pandas>=2") == NOTHING | {"installed": ["pandas>=2"]}
    assert await manager.list() == ["pandas>=2"]
    assert await installer.installed() == {"pandas": "2"}


async def test_what_is_there_already_is_configured_without_an_install(store):
    installer = MemoryInstaller(packages={"pandas": "2.2"})
    manager = DependencyManager(store, installer)
    assert await manager.add("Pandas>=2") == NOTHING | {"already_present": ["Pandas>=2"]}
    assert await manager.list() == ["Pandas>=2"]
    assert installer.calls == []


async def test_an_installed_version_that_does_not_fit_is_replaced(store):
    installer = MemoryInstaller({"pandas": ["1.5", "2.2", "2.10"]}, packages={"pandas": "1.5"})
    manager = DependencyManager(store, installer)
    assert (await manager.add("pandas>=2"))["installed"] == ["pandas>=2"]
    assert await installer.installed() == {"pandas": "2.10"}
    store.add("pandas==2.2")
    assert (await manager.add("pandas<2.3"))["installed"] == ["pandas<2.3"]
    assert await manager.list() == ["pandas<2.3"]


async def test_what_failed_is_told_with_its_reason_and_not_configured(store):
    manager = DependencyManager(store, MemoryInstaller({"pandas": ["2.2"]}))
    result = await manager.add("no-such-thing")
    assert result == NOTHING | {
        "failed": ["no-such-thing"],
        "errors": {"no-such-thing": "no version of no-such-thing fits 'no-such-thing'"},
    }
    assert await manager.list() == []


async def test_a_requirement_that_is_refused_changes_nothing(store):
    installer = MemoryInstaller()
    manager = DependencyManager(store, installer)
    for text in ("-e .", "a @ https://example.org/a.whl", "a; python_version > '3'", ""):
        with pytest.raises(RequirementError):
            await manager.add(text)
        with pytest.raises(RequirementError):
            await manager.remove(text)
    assert (installer.calls, await manager.list()) == ([], [])


async def test_removing_uninstalls_and_drops_it_from_the_configuration(store):
    manager = DependencyManager(store, MemoryInstaller())
    await manager.add("zope.interface>=5")
    assert await manager.remove("Zope-Interface") == {
        "removed": ["Zope-Interface"],
        "not_found": [],
        "failed": [],
        "removed_from_config": True,
    }
    assert await manager.remove("zope.interface") == {
        "removed": [],
        "not_found": ["zope.interface"],
        "failed": [],
        "removed_from_config": False,
    }
    assert await manager.list() == []


async def test_removing_what_is_configured_but_not_installed_drops_it_from_the_configuration(store):
    store.add("pandas")
    result = await DependencyManager(store, MemoryInstaller()).remove("pandas")
    assert (result["not_found"], result["removed_from_config"]) == (["pandas"], True)


class Stubborn(MemoryInstaller):
    """Cannot uninstall."""

    async def uninstall(self, names):
        return UninstallReport(failed=dict.fromkeys(names, "it is needed"))


async def test_what_cannot_be_uninstalled_stays_configured(store):
    store.add("pandas")
    result = await DependencyManager(store, Stubborn()).remove("pandas")
    assert result == {
        "removed": [],
        "not_found": [],
        "failed": ["pandas"],
        "removed_from_config": False,
        "errors": {"pandas": "it is needed"},
    }
    assert store.read() == ["pandas"]


async def test_list_names_configured_and_extra_requirements_as_written_and_none_twice(store):
    for requirement in ("Pandas >= 2", "numpy"):
        store.add(requirement)
    manager = DependencyManager(store, MemoryInstaller(), extra=("numpy", "rich[jupyter]"))
    assert await manager.list() == ["Pandas >= 2", "numpy", "rich[jupyter]"]
    assert store.read() == ["Pandas >= 2", "numpy"]


async def test_sync_installs_everything_that_is_missing_in_one_call(store):
    for requirement in ("pandas>=2", "numpy", "missing"):
        store.add(requirement)
    installer = MemoryInstaller({"pandas": ["2.2"], "numpy": ["2.0"], "rich": ["13.7"]}, packages={"numpy": "2.0"})
    manager = DependencyManager(store, installer, extra=("rich",))
    result = await manager.sync()
    assert installer.calls == [("pandas>=2", "missing", "rich")]
    assert result["installed"] == ["pandas>=2", "rich"]
    assert result["already_present"] == ["numpy"]
    assert result["failed"] == ["missing"]
    assert result["errors"].keys() == {"missing"}
    assert store.read() == ["pandas>=2", "numpy", "missing"]
    store.remove("missing")
    assert await manager.sync() == NOTHING | {"already_present": ["pandas>=2", "numpy", "rich"]}
    assert len(installer.calls) == 1


async def test_sync_reports_lines_that_cannot_be_installed_with_file_and_line():
    storage = MemoryStorage(requirements="pandas\n-r other.txt\n")
    result = await DependencyManager(storage.get_dependency_store(), MemoryInstaller()).sync()
    assert result == NOTHING | {
        "installed": ["pandas"],
        "failed": ["-r other.txt"],
        "errors": {"-r other.txt": "requirements.txt:2: other files are not followed; write their requirements here"},
    }


async def test_extras_and_markers_are_left_to_the_installer_and_not_called_installed_when_nothing_changed():
    storage = MemoryStorage(requirements="a[x]>=1\nb; python_version < '3'\nc; python_version >= '3'\n")
    installer = MemoryInstaller()
    manager = DependencyManager(storage.get_dependency_store(), installer)
    first = await manager.sync()
    assert first["installed"] == ["a[x]>=1", "c; python_version >= '3'"]
    assert first["already_present"] == ["b; python_version < '3'"]
    assert (await manager.sync())["installed"] == []
    assert (await installer.installed()).keys() == {"a", "c"}


async def test_with_run_time_changes_off_list_and_sync_still_work(store):
    store.add("pandas")
    installer = MemoryInstaller()
    manager = DependencyManager(store, installer, extra=("rich",), allow_runtime=False)
    for change in (manager.add, manager.remove):
        with pytest.raises(RuntimeDepsDisabledError, match="allow_runtime_deps=False") as caught:
            await change("numpy")
        assert caught.value.requirement == "numpy"
    assert await manager.list() == ["pandas", "rich"]
    assert (await manager.sync())["installed"] == ["pandas", "rich"]


def test_an_extra_requirement_that_is_malformed_is_refused_at_once(store):
    with pytest.raises(RequirementError, match="'not one' in extra_deps"):
        DependencyManager(store, MemoryInstaller(), extra=("not one",))


class Watched(MemoryInstaller):
    """Notes how many installs go on at once."""

    now = most = 0

    async def install(self, requirements):
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(3):
            await asyncio.sleep(0)
        self.now -= 1
        return await super().install(requirements)


async def test_changes_are_made_one_after_the_other(store):
    installer = Watched()
    manager = DependencyManager(store, installer)
    await asyncio.gather(*(manager.add(f"package{n}") for n in range(5)), manager.sync(), manager.remove("other"))
    assert installer.most == 1
    assert await manager.list() == [f"package{n}" for n in range(5)]


class Gone(MemoryInstaller):
    """Cannot run."""

    async def install(self, requirements) -> InstallReport:
        raise InstallError("uv is not there")


async def test_an_installer_that_cannot_run_is_an_error_and_nothing_is_configured(store):
    with pytest.raises(InstallError, match="uv is not there"):
        await DependencyManager(store, Gone()).add("pandas")
    assert store.read() == []


def test_a_requirements_file_keeps_its_bytes_but_for_the_line_that_changes(tmp_path):
    file = tmp_path / "requirements.txt"
    before = b"\xef\xbb\xbf# caf\xe9 in Latin-1\r\npandas # keep\r\n\r\n-r x"
    file.write_bytes(before)
    file.chmod(0o640)
    store = FileStorage(tmp_path).get_dependency_store()
    store.add("pandas>=2")
    store.add("rich")
    assert store.remove("nothing") is False
    assert file.read_bytes() == before.replace(b"pandas", b"pandas>=2") + b"\r\nrich\r\n"
    assert file.stat().st_mode & 0o777 == 0o640
    assert store.read() == ["pandas>=2", "rich"]


def test_a_requirements_file_in_utf_16_is_an_error_that_says_so_and_stays(tmp_path):
    content = "pandas\n".encode("utf-16")
    (tmp_path / "requirements.txt").write_bytes(content)
    store = FileStorage(tmp_path).get_dependency_store()
    for use in (store.read, store.problems, lambda: store.add("rich"), lambda: store.remove("pandas")):
        with pytest.raises(StorageError, match="UTF-16; save it as UTF-8"):
            use()
    assert (tmp_path / "requirements.txt").read_bytes() == content


def test_a_link_to_a_requirements_file_inside_the_workspace_stays_a_link(tmp_path):
    (tmp_path / "base.txt").write_text("pandas\n")
    (tmp_path / "requirements.txt").symlink_to("base.txt")
    FileStorage(tmp_path).get_dependency_store().add("rich")
    assert (tmp_path / "requirements.txt").is_symlink()
    assert (tmp_path / "base.txt").read_text() == "pandas\nrich\n"


ADDER = """
import sys
from py_code_mode import FileStorage
store = FileStorage(sys.argv[1]).get_dependency_store()
for number in range(25):
    store.add(f"package-{sys.argv[2]}-{number}")
"""


def test_processes_that_add_at_the_same_time_lose_nothing(tmp_path):
    writers = [subprocess.Popen([sys.executable, "-c", ADDER, tmp_path, str(me)]) for me in range(3)]
    assert [writer.wait(timeout=40) for writer in writers] == [0, 0, 0]
    expected = {f"package-{me}-{number}" for me in range(3) for number in range(25)}
    found = FileStorage(tmp_path).get_dependency_store().read()
    assert (set(found), len(found)) == (expected, 75)
