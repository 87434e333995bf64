"""Packages and virtualenvs, as a session shows them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from py_code_mode.errors import PythonNotFoundError, VenvError
from py_code_mode.executors.kernel import SubprocessConfig, SubprocessExecutor
from py_code_mode.session import Session
from py_code_mode.storage.file import FileStorage

from .sessions import open_session
from .venvs import make_wheel, use_only


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """uv finds the packages that a test makes here."""
    directory = tmp_path / "wheels"
    directory.mkdir()
    monkeypatch.setenv("UV_FIND_LINKS", str(directory))
    return directory


async def test_a_package_installed_at_run_time_imports_in_the_running_kernel(tmp_path, wheels):
    make_wheel(wheels, "cmnumber", "1.5")
    base = tmp_path / "base"
    async with Session(FileStorage(base), SubprocessExecutor()) as session:
        assert (await session.run("import cmnumber")).error_name == "ModuleNotFoundError"
        added = await session.run("deps.add('cmnumber>=1')")
        assert added.value == {"installed": ["cmnumber>=1"], "already_present": [], "failed": []}
        assert (await session.run("import cmnumber; cmnumber.VERSION")).value == "1.5"
        assert (base / "requirements.txt").read_text().splitlines() == ["cmnumber>=1"]
        assert await session.list_deps() == ["cmnumber>=1"]
        again = await session.add_dep("cmnumber>=1")
        assert again == {"installed": [], "already_present": ["cmnumber>=1"], "failed": []}
        failed = await session.add_dep("cm-does-not-exist-anywhere==9")
        assert failed["failed"] == ["cm-does-not-exist-anywhere==9"]
        assert await session.list_deps() == ["cmnumber>=1"]
        removed = await session.remove_dep("cmnumber")
        assert removed == {"removed": ["cmnumber"], "not_found": [], "failed": [], "removed_from_config": True}
        assert await session.list_deps() == []
        result = await session.run("deps.add('x @ https://example.invalid/x.whl')")
        assert result.error_name == "RequirementError"


async def test_configured_and_extra_dependencies_are_installed_by_sync_and_on_start(tmp_path, wheels):
    make_wheel(wheels, "cmone")
    make_wheel(wheels, "cmtwo")
    base = tmp_path / "base"
    base.mkdir()
    (base / "requirements.txt").write_text("# ours\ncmone==1.0  # pinned\n")
    executor = SubprocessExecutor(SubprocessConfig(extra_deps=("cmtwo",)))
    async with Session(FileStorage(base), executor) as session:
        assert await session.list_deps() == ["cmone==1.0", "cmtwo"]
        assert (await session.run("import cmone")).error_name == "ModuleNotFoundError"
        assert await session.sync_deps() == {"installed": ["cmone==1.0", "cmtwo"], "already_present": [], "failed": []}
        assert (await session.run("import cmone, cmtwo")).is_ok
        assert (await session.sync_deps())["already_present"] == ["cmone==1.0", "cmtwo"]
    make_wheel(wheels, "cmthree")
    (base / "requirements.txt").write_text("cmthree\n")
    async with Session(FileStorage(base), sync_deps_on_start=True) as session:
        assert (await session.run("import cmthree, cmone")).is_ok


async def test_packages_of_one_workspace_are_not_in_another(tmp_path, wheels):
    make_wheel(wheels, "cmalone")
    async with Session(FileStorage(tmp_path / "one")) as one, Session(FileStorage(tmp_path / "two")) as two:
        await one.add_dep("cmalone")
        assert (await one.run("import cmalone")).is_ok
        assert (await two.run("import cmalone")).error_name == "ModuleNotFoundError"
        assert "py_code_mode" not in (await one.run("import sys; list(sys.modules)")).value
        assert (await one.run("import py_code_mode")).error_name == "ModuleNotFoundError"


async def test_a_temporary_virtualenv_is_removed_at_close(tmp_path):
    async with open_session(tmp_path, cache_venv=False) as session:
        prefix = Path((await session.run("import sys; sys.prefix")).value)
        assert prefix.exists()
    assert not prefix.exists()


async def test_a_virtualenv_that_was_broken_by_hand_is_repaired(tmp_path, monkeypatch):
    monkeypatch.setenv("PY_CODE_MODE_CACHE", str(tmp_path / "cache"))
    lines: list[str] = []
    session = Session(FileStorage(tmp_path))
    await session.start()
    site = Path((await session.run("import ipykernel, os; os.path.dirname(ipykernel.__file__)")).value)
    await session.close()
    (site / "kernelbase.py").unlink()  # a link: written in place, the damage would be in uv's cache as well
    (site / "kernelbase.py").write_text("raise RuntimeError('broken by hand')\n")
    session = Session(FileStorage(tmp_path))
    await session.start(progress=lines.append)
    assert (await session.run("1 + 1")).value == 2
    await session.close()
    assert lines


@pytest.mark.parametrize("cached", [True, False])
async def test_a_virtualenv_that_was_deleted_under_an_open_session_is_made_again(tmp_path, monkeypatch, cached):
    monkeypatch.setenv("PY_CODE_MODE_CACHE", str(tmp_path / "cache"))
    use_only(tmp_path / "wheels", monkeypatch)
    for name in ("pcm_one", "pcm_two", "pcm_three"):
        make_wheel(tmp_path / "wheels", name)
    async with Session.subprocess(tmp_path / "base", cache_venv=cached) as session:
        assert (await session.add_dep("pcm_one"))["installed"] == ["pcm_one"]

        shutil.rmtree((await session.run("import sys; sys.prefix")).value)
        await session.reset()
        assert await session.list_deps() == ["pcm_one"]
        assert (await session.add_dep("pcm_two"))["installed"] == ["pcm_two"]
        assert (await session.run("import pcm_two; deps.sync()")).value["installed"] == ["pcm_one"]

        shutil.rmtree((await session.run("import sys; sys.prefix")).value)
        await session.run("import os; os._exit(1)")
        assert (await session.run("deps.add('pcm_three')")).value["installed"] == ["pcm_three"]
        assert (await session.sync_deps())["installed"] == ["pcm_one", "pcm_two"]
        assert (await session.run("import pcm_one, pcm_two, pcm_three")).error is None


async def test_the_running_python_is_the_default_and_an_absent_one_says_what_to_do(tmp_path):
    async with open_session(tmp_path) as session:
        assert (await session.run("import sys; sys.version_info[:2]")).value == sys.version_info[:2]
    with pytest.raises(PythonNotFoundError, match=r"3\.47"):
        await open_session(tmp_path, python_version="3.47").start()
    with pytest.raises(VenvError, match=r"3\.11"):
        await open_session(tmp_path, python_version="3.8").start()
