"""Virtualenvs and their bases that were broken, or made by an older version: made anew, with what was in them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from py_code_mode.deps.base import SAME_VERSIONS
from py_code_mode.kernel.venv import Venv, VenvSpec, ensure_venv, release_venv
from py_code_mode.kernel.venv_layout import MARKER, POINTER, site_packages

from .venvs import age, copy_cache, installer, leftovers, make_venv, make_wheel, run_in, use_only


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One environment for all tests that only look at it."""
    cache = tmp_path_factory.mktemp("shared")
    return cache, make_venv(cache)


@pytest.fixture
def wheels(tmp_path, shared, monkeypatch):
    """Where uv finds packages. Its cache is warm, thanks to ``shared``, so no network is needed."""
    use_only(tmp_path / "wheels", monkeypatch)
    return tmp_path / "wheels"


@pytest.fixture
def workspace(shared, tmp_path):
    """A workspace of the test's own, over the base of all tests here."""
    return VenvSpec(identity=str(tmp_path), cache_dir=shared[0])


@pytest.fixture
def filled(shared, wheels, tmp_path):
    """A workspace over a base of the test's own."""
    return VenvSpec(identity="workspace", cache_dir=copy_cache(*shared, tmp_path / "cache"))


def _dangling(directory: Path) -> None:
    (directory / "bin" / "python").unlink()
    (directory / "bin" / "python").symlink_to("/nonexistent/python")


def _half_built(directory: Path) -> None:
    (directory / MARKER).unlink()
    shutil.rmtree(directory / "bin")


def _of_base(venv, name: str) -> Path:
    return site_packages(venv.base, venv.python_version) / name


BREAKS = {
    "its Python is gone": lambda venv: _dangling(venv.path),
    "its pointer to the base is gone": lambda venv: (venv.site_packages() / POINTER).unlink(),
    "its packages are gone": lambda venv: shutil.rmtree(venv.site_packages()),
    "its settings are gone": lambda venv: (venv.path / "pyvenv.cfg").unlink(),
    "its marker is nonsense": lambda venv: (venv.path / MARKER).write_text("{"),
    "it is half built": lambda venv: _half_built(venv.path),
}

BREAKS_OF_BASE = {
    "its Python is gone": lambda venv: _dangling(venv.base),
    "ipykernel is gone": lambda venv: shutil.rmtree(_of_base(venv, "ipykernel")),
    "kernel_bootstrap is gone": lambda venv: shutil.rmtree(_of_base(venv, "kernel_bootstrap")),
    "its list of versions is gone": lambda venv: (venv.base / SAME_VERSIONS).unlink(),
    "it is half built": lambda venv: _half_built(venv.base),
    "it is gone": lambda venv: shutil.rmtree(venv.base),
    "the one over it is half built, too": lambda venv: (_half_built(venv.path), _half_built(venv.base)),
}


async def _break_and_find(spec: VenvSpec, wheels: Path, damage: Callable[[Venv], object]) -> None:
    make_wheel(wheels, "pcm_kept", "1.2")
    make_wheel(wheels, "pcm_kept", "1.3")
    venv = await ensure_venv(spec)
    await installer(venv).install(["pcm_kept==1.2"])
    damage(venv)
    again = await ensure_venv(spec)
    assert again == venv
    assert run_in(again, "import kernel_bootstrap.kernel, pcm_kept; print(pcm_kept.VERSION)") == "1.2"
    assert spec.cache_dir is not None
    assert leftovers(spec.cache_dir) == []


@pytest.mark.parametrize("damage", BREAKS.values(), ids=BREAKS)
async def test_one_that_was_broken_by_hand_is_made_again_with_what_was_installed_in_it(workspace, wheels, damage):
    await _break_and_find(workspace, wheels, damage)


@pytest.mark.parametrize("damage", BREAKS_OF_BASE.values(), ids=BREAKS_OF_BASE)
async def test_a_base_that_was_broken_by_hand_is_made_again_under_what_was_installed_over_it(filled, wheels, damage):
    await _break_and_find(filled, wheels, damage)


def _spoil(path: Path, text: str = "raise RuntimeError('spoiled')") -> None:
    path.unlink()  # it is linked to the copy of others
    path.write_text(text)


SPOILS = {
    "the pointer": lambda venv: _spoil(venv.site_packages() / POINTER, "/nonexistent\n"),
    "a package that comes before one of the base": lambda venv: _spoil(venv.site_packages() / "platformdirs.py"),
}

SPOILS_OF_BASE = {
    "ipykernel": lambda venv: _spoil(_of_base(venv, "ipykernel/kernelapp.py")),
    "a file of kernel_bootstrap was edited": lambda venv: _spoil(_of_base(venv, "kernel_bootstrap/errors.py"), ""),
    "a file of kernel_bootstrap is gone": lambda venv: _of_base(venv, "kernel_bootstrap/streams.py").unlink(),
}


async def _spoil_and_repair(spec: VenvSpec, wheels: Path, damage: Callable[[Venv], object]) -> None:
    make_wheel(wheels, "platformdirs", "99.0")
    venv = await ensure_venv(spec)
    await installer(venv).install(["platformdirs==99.0"])
    damage(venv)
    repaired = await ensure_venv(spec, repair=True)
    code = "import kernel_bootstrap.kernel, platformdirs as p; kernel_bootstrap.errors.CodeModeError; print(p.VERSION)"
    assert run_in(repaired, code) == "99.0"


@pytest.mark.parametrize("damage", SPOILS.values(), ids=SPOILS)
async def test_damage_that_only_a_kernel_would_notice_is_cured_by_repair(workspace, wheels, damage):
    await _spoil_and_repair(workspace, wheels, damage)


@pytest.mark.parametrize("damage", SPOILS_OF_BASE.values(), ids=SPOILS_OF_BASE)
async def test_damage_to_the_base_that_only_a_kernel_would_notice_is_cured_by_repair(filled, wheels, damage):
    await _spoil_and_repair(filled, wheels, damage)


async def test_a_repair_that_finds_a_broken_file_in_the_cache_of_uv_does_without_that_cache(workspace, wheels):
    make_wheel(wheels, "platformdirs", "99.0")
    venv = await ensure_venv(workspace)
    await installer(venv).install(["platformdirs==99.0"])
    package = venv.site_packages() / "platformdirs.py"
    if package.stat().st_nlink == 1:
        pytest.skip("uv does not link files here")
    package.write_text("raise RuntimeError('spoiled, in the cache as well')")
    lines: list[str] = []
    repaired = await ensure_venv(workspace, progress=lines.append, repair=True)
    assert run_in(repaired, "import kernel_bootstrap.kernel, platformdirs; print(platformdirs.VERSION)") == "99.0"
    assert any("uv's cache holds broken files" in line for line in lines)


async def test_repair_leaves_one_alone_that_works(shared):
    cache, venv = shared
    before = (venv.path / "pyvenv.cfg").stat().st_ino
    assert await ensure_venv(VenvSpec(identity="workspace", cache_dir=cache), repair=True) == venv
    assert (venv.path / "pyvenv.cfg").stat().st_ino == before


async def test_an_upgrade_takes_over_what_was_installed_and_removes_the_old_ones(filled, wheels):
    make_wheel(wheels, "pcm_kept")
    venv = await ensure_venv(filled)
    await installer(venv).install(["pcm_kept"])
    await release_venv(venv)
    old = [age(venv.path), age(venv.base)]
    again = await ensure_venv(filled)
    assert run_in(again, "import pcm_kept; print(pcm_kept.VERSION)") == "1.0"
    assert not any(path.exists() for path in old)


async def test_an_upgrade_keeps_the_old_ones_while_somebody_uses_them(filled):
    venv = await ensure_venv(filled)
    old = [age(venv.path), age(venv.base)]
    again = await ensure_venv(filled)
    assert not {again.path, again.base} & set(old)
    assert all(path.exists() for path in old)


async def test_what_cannot_be_installed_again_is_told_and_does_not_keep_the_rest_out(workspace, wheels):
    gone = make_wheel(wheels, "pcm_gone")
    make_wheel(wheels, "pcm_kept")
    venv = await ensure_venv(workspace)
    await installer(venv).install([f"pcm_gone @ {gone.as_uri()}", "pcm_kept"])
    gone.unlink()
    BREAKS["its Python is gone"](venv)
    lines: list[str] = []
    again = await ensure_venv(workspace, progress=lines.append)
    assert any(line.startswith("pcm-gone") and "could not be installed again" in line for line in lines)
    assert run_in(again, "import pcm_kept; print(pcm_kept.VERSION)") == "1.0"
