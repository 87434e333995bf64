"""The uv installer, in real virtualenvs over one base and in directories, with wheels made on the spot."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from py_code_mode.deps.distributions import installed_versions
from py_code_mode.deps.uv import RECORD_NAME, UvInstaller
from py_code_mode.errors import InstallError
from py_code_mode.kernel.venv import VenvSpec, ensure_venv, release_venv
from py_code_mode.kernel.venv_layout import site_packages

from .venvs import installer as installer_of
from .venvs import make_venv, make_wheel, run_in, run_python, use_only


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache with a base in it."""
    directory = tmp_path_factory.mktemp("cache")
    make_venv(directory)
    return directory


@pytest.fixture
async def venv(cache, tmp_path):
    """An environment of the test's own over the base of all."""
    venv = await ensure_venv(VenvSpec(identity=str(tmp_path), cache_dir=cache))
    yield venv
    await release_venv(venv)


@pytest.fixture
def installer(venv):
    return installer_of(venv)


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    use_only(tmp_path / "wheels", monkeypatch)
    return tmp_path / "wheels"


async def test_several_requirements_are_installed_and_import_in_the_environment(installer, venv, wheels):
    make_wheel(wheels, "pcm_one")
    make_wheel(wheels, "pcm_two", "2.5", requires=["pcm_one"])
    report = await installer.install(["pcm-two>=2", "pcm_one"])
    assert (report.installed, report.failed) == (["pcm-two>=2", "pcm_one"], {})
    assert run_in(venv, "import pcm_one, pcm_two; print(pcm_two.VERSION)") == "2.5"
    installed = await installer.installed()
    assert (installed["pcm-one"], installed["pcm-two"]) == ("1.0", "2.5")


async def test_one_that_does_not_exist_keeps_none_of_the_others_out(installer, wheels):
    make_wheel(wheels, "pcm_fine")
    report = await installer.install(["pcm_absent", "pcm_fine"])
    assert report.installed == ["pcm_fine"]
    assert list(report.failed) == ["pcm_absent"]
    assert "pcm-absent was not found" in report.failed["pcm_absent"]
    assert "\n" not in report.failed["pcm_absent"]


async def test_of_two_that_conflict_the_second_fails_and_the_first_keeps_working(installer, venv, wheels):
    make_wheel(wheels, "pcm_base", "1.0")
    make_wheel(wheels, "pcm_base", "2.0")
    make_wheel(wheels, "pcm_old", requires=["pcm_base<2"])
    make_wheel(wheels, "pcm_new", requires=["pcm_base>=2"])
    report = await installer.install(["pcm_old", "pcm_new"])
    assert report.installed == ["pcm_old"]
    assert "pcm-base" in report.failed["pcm_new"]
    assert run_in(venv, "import pcm_base; print(pcm_base.VERSION)") == "1.0"


@pytest.mark.parametrize(
    ("requirement", "named"),
    [("ipykernel<7", "ipykernel>=7.4"), ("tornado<5", "tornado>="), ("pcm_breaker", "tornado>=")],
)
async def test_nothing_is_installed_that_the_kernel_does_not_run_with(installer, venv, wheels, requirement, named):
    make_wheel(wheels, "tornado", "4.5.3")
    make_wheel(wheels, "pcm_breaker", requires=["tornado<5"])
    make_wheel(wheels, "pcm_fine")
    report = await installer.install([requirement, "pcm_fine"])
    assert report.installed == ["pcm_fine"]
    assert f"the kernel itself needs {named}" in report.failed[requirement]
    assert set(await installer.installed()) == {"pcm-fine"}
    assert run_in(venv, "import kernel_bootstrap.kernel; print('works')") == "works"


async def test_what_the_base_has_is_taken_in_the_version_of_the_base(installer, venv, wheels):
    make_wheel(wheels, "python_dateutil", "99.0")
    make_wheel(wheels, "pcm_like_pandas", requires=["python-dateutil>=2.8.2"])
    below = installed_versions(site_packages(venv.base, venv.python_version))
    assert (await installer.install(["pcm_like_pandas"])).failed == {}
    own = await installer.installed()
    assert own["python-dateutil"] == below["python-dateutil"] != "99.0"
    assert {name: version for name, version in own.items() if below.get(name, version) != version} == {}


async def test_a_package_that_the_base_has_too_comes_before_it_in_this_workspace_only(installer, venv, cache, wheels):
    make_wheel(wheels, "psutil", "98.0.1")
    make_wheel(wheels, "psutil", "99.0")
    make_wheel(wheels, "pcm_modern", requires=["psutil>=99"])
    assert (await installer.install(["psutil==98.0.1"])).installed == ["psutil==98.0.1"]
    assert run_in(venv, "import psutil; print(psutil.VERSION)") == "98.0.1"
    assert (await installer.install(["pcm_modern"])).installed == ["pcm_modern"]
    assert run_in(venv, "import psutil, kernel_bootstrap.kernel; print(psutil.VERSION)") == "99.0"
    other = await ensure_venv(VenvSpec(identity="another", cache_dir=cache))
    assert run_in(other, "import psutil; print(hasattr(psutil, 'VERSION'))") == "False"
    assert (await installer.uninstall(["psutil"])).removed == ["psutil"]
    assert run_in(venv, "import psutil; print(hasattr(psutil, 'VERSION'))") == "False"
    await release_venv(other)


@pytest.mark.parametrize("requirement", ["--index-url=http://x.invalid", "-e .", "not a requirement", "../x"])
async def test_what_is_no_requirement_never_reaches_uv(installer, requirement):
    report = await installer.install([requirement])
    assert report.failed[requirement].startswith("not a PEP 508 requirement")


async def test_a_package_named_like_our_part_of_the_kernel_is_refused(installer, wheels):
    make_wheel(wheels, "kernel_bootstrap")
    report = await installer.install(["Kernel.Bootstrap"])
    assert "belongs to py-code-mode" in report.failed["Kernel.Bootstrap"]


async def test_uninstalling_tells_what_went_and_what_was_not_there_and_leaves_the_base_alone(installer, venv, wheels):
    make_wheel(wheels, "pcm_leaving")
    await installer.install(["pcm_leaving"])
    report = await installer.uninstall(["PCM.leaving", "pcm_never", "ipykernel", "pyzmq", "IPython"])
    assert report.removed == ["PCM.leaving"]
    assert report.not_found == ["pcm_never", "ipykernel", "pyzmq", "IPython"]
    assert report.failed == {}
    assert await installer.installed() == {}
    assert run_in(venv, "import zmq, IPython, kernel_bootstrap.kernel; print('works')") == "works"


async def test_the_record_follows_what_is_installed(installer, venv, wheels):
    make_wheel(wheels, "pcm_recorded", "3.1")
    record = venv.path / RECORD_NAME
    await installer.install(["pcm_recorded"])
    assert "pcm-recorded==3.1" in record.read_text().splitlines()
    await installer.uninstall(["pcm_recorded"])
    assert "pcm-recorded==3.1" not in record.read_text().splitlines()


async def test_installs_at_the_same_time_all_succeed(venv, wheels):
    names = [f"pcm_same_time_{number}" for number in range(4)]
    for name in names:
        make_wheel(wheels, name)
    # One installer each, as sessions of the same workspace have.
    reports = await asyncio.gather(*(installer_of(venv).install([name]) for name in names))
    assert [report.installed for report in reports] == [[name] for name in names]
    record = (venv.path / RECORD_NAME).read_text()
    assert all(name.replace("_", "-") in record for name in names)


async def test_without_a_network_the_cache_of_uv_is_enough(installer, monkeypatch, tmp_path):
    wheels = tmp_path / "wheels"
    make_wheel(wheels, "pcm_cached")
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
    monkeypatch.setenv("UV_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    report = await installer.install(["pcm_cached", "pcm_uncached"])
    assert report.installed == ["pcm_cached"]
    assert report.failed["pcm_uncached"].startswith("the network cannot be reached")


async def test_a_missing_uv_is_an_install_error_that_says_how_to_get_it(installer, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InstallError, match="pip install uv"):
        await installer.install(["pcm_any"])


async def test_into_a_directory_nothing_of_the_running_python_is_touched(wheels, tmp_path):
    make_wheel(wheels, "pcm_here", "1.5", requires=["pcm_there"])
    make_wheel(wheels, "pcm_there")
    target = tmp_path / "packages"
    installer = UvInstaller.for_target(Path(sys.executable), target)
    assert await installer.installed() == {}
    assert (await installer.install(["pcm_here"])).installed == ["pcm_here"]
    assert await installer.installed() == {"pcm-here": "1.5", "pcm-there": "1.0"}
    with_it = f"import sys; sys.path.append({str(target)!r}); import pcm_here; print(pcm_here.VERSION)"
    assert run_python(sys.executable, with_it) == "1.5"
    without = "import importlib.util; print(importlib.util.find_spec('pcm_here'))"
    assert run_python(sys.executable, without) == "None"


async def test_from_a_directory_a_package_is_uninstalled_with_its_files(wheels, tmp_path):
    make_wheel(wheels, "pcm_here")
    target = tmp_path / "packages"
    installer = UvInstaller.for_target(Path(sys.executable), target)
    await installer.install(["pcm_here"])
    report = await installer.uninstall(["pcm_here", "pip"])
    assert (report.removed, report.not_found, report.failed) == (["pcm_here"], ["pip"], {})
    assert not (target / "pcm_here.py").exists()
    assert await installer.installed() == {}


async def test_a_directory_that_cannot_be_made_is_an_install_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "packages"
    with pytest.raises(InstallError, match=str(target)):
        await UvInstaller.for_target(Path(sys.executable), target).install(["pcm_any"])
