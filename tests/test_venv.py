"""Virtualenvs of workspaces: made, found again, repaired, shared, cleaned up. All of them are real."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

import kernel_bootstrap
from py_code_mode.deps.uv import UvInstaller
from py_code_mode.errors import PythonNotFoundError, VenvError
from py_code_mode.kernel.interpreters import find_interpreter, parse_request
from py_code_mode.kernel.venv import (
    VenvSpec,
    cached_venvs,
    clean_venvs,
    ensure_venv,
    release_venv,
    remove_venv,
)
from py_code_mode.kernel.venv_layout import MARKER

from .venvs import make_venv, make_wheel, run_in, use_only

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One environment for all tests that only look at it."""
    cache = tmp_path_factory.mktemp("shared")
    return cache, make_venv(cache)


@pytest.fixture
def cache(tmp_path, shared, monkeypatch):
    """A cache of the test's own. uv's cache is warm, thanks to ``shared``, so no network is needed."""
    use_only(tmp_path / "wheels", monkeypatch)
    return tmp_path / "cache"


@pytest.fixture
def filled(cache, shared):
    """A cache of the test's own in which the environment of "workspace" is there: a copy, by hard links.

    A test that changes a file in it has to replace that file.
    """
    source, venv = shared
    shutil.copytree(source, cache, symlinks=True, copy_function=os.link)
    marker = cache / venv.path.relative_to(source) / MARKER
    text = marker.read_text()
    marker.unlink()  # locks belong to the file itself, they would reach the other links
    marker.write_text(text)
    return cache


def maker(cache: Path, mode: str = "", *, identity: str = "workspace", prefix: tuple[str, ...] = ()):
    argv = [*prefix, sys.executable, "-m", "tests.venv_maker", str(cache), identity, mode]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def leftovers(cache: Path) -> list[Path]:
    return [path for pattern in ("*/.build-*", "*/.trash-*") for path in cache.glob(pattern)]


def age(venv) -> None:
    """Make ``venv`` look as if an older version of py-code-mode had made it; it moves."""
    marker = json.loads((venv.path / MARKER).read_text())
    marker["key"] = "0" * 16
    (venv.path / MARKER).write_text(json.dumps(marker))
    venv.path.rename(old := venv.path.with_name(f"{venv.path.name.partition('-')[0]}-{'0' * 16}"))
    return old


async def test_a_new_environment_holds_the_kernel_and_our_part_of_it_and_nothing_of_the_host(shared):
    _, venv = shared
    code = (
        "import importlib.util as u, importlib.metadata as m, kernel_bootstrap, sys;"
        "print(m.version('ipykernel'), kernel_bootstrap.__file__, u.find_spec('py_code_mode'), end=' ');"
        "print(sys.version_info[:2])"
    )
    version, where, host, python = run_in(venv, code).split(maxsplit=3)
    assert tuple(map(int, version.split(".")[:2])) >= (7, 4)
    assert Path(where).parent == venv.site_packages() / "kernel_bootstrap"
    assert host == "None"
    assert python == str(sys.version_info[:2])
    ours = {path.name for path in Path(kernel_bootstrap.__file__).parent.glob("*.py")}
    assert {path.name for path in Path(where).parent.glob("*.py")} == ours


async def test_progress_is_told_while_one_is_made_and_not_afterwards(cache):
    lines: list[str] = []
    spec = VenvSpec(identity="workspace", cache_dir=cache)
    first = await ensure_venv(spec, progress=lines.append)
    assert [line.split()[0] for line in lines] == ["Creating", "Installing"]
    lines.clear()
    assert await ensure_venv(spec, progress=lines.append) == first
    assert lines == []


def test_one_that_is_there_is_found_without_a_process_or_a_connection(shared):
    cache, venv = shared
    out, _ = maker(cache, "quietly").communicate(timeout=30)
    assert out == f"ready {venv.path}\n"


def test_scripts_of_the_environment_run_where_it_was_moved_to(shared):
    _, venv = shared
    done = subprocess.run([venv.path / "bin" / "ipython", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


async def test_every_workspace_has_an_environment_of_its_own(cache):
    one = await ensure_venv(VenvSpec(identity="one", cache_dir=cache))
    two = await ensure_venv(VenvSpec(identity="two", cache_dir=cache))
    make_wheel(cache.parent / "wheels", "pcm_only_one")
    await UvInstaller(one.python, one.site_packages()).install(["pcm_only_one"])
    assert run_in(one, "import pcm_only_one; print('there')") == "there"
    assert "pcm-only-one" not in await UvInstaller(two.python, two.site_packages()).installed()


async def test_another_python_version_is_an_environment_beside_the_first_and_is_found_again(cache, monkeypatch):
    minor = 12 if sys.version_info[1] != 12 else 13
    try:
        await find_interpreter(parse_request(f"3.{minor}"))
    except PythonNotFoundError:
        pytest.skip(f"no Python 3.{minor} on this machine")
    # Not offline: wheels of that version need not be in uv's cache yet.
    monkeypatch.delenv("UV_OFFLINE")
    venv = await ensure_venv(VenvSpec(identity="workspace", python_version=f"3.{minor}", cache_dir=cache))
    assert run_in(venv, "import sys, ipykernel; print(sys.version_info[1])") == str(minor)
    again = await ensure_venv(VenvSpec(identity="workspace", python_version=f">=3.{minor}", cache_dir=cache))
    assert again == venv


async def test_settings_of_the_hosts_project_do_not_reach_the_environment(cache, tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text('[tool.uv]\nrequired-version = "<0.1"\n')
    monkeypatch.chdir(tmp_path)
    for name in (
        "VIRTUAL_ENV",
        "UV_PROJECT_ENVIRONMENT",
        "PYTHONHOME",
        "PYTHONPATH",
        "UV_TARGET",
        "UV_PYTHON",
    ):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    await ensure_venv(VenvSpec(identity="workspace", cache_dir=cache))
    assert not (tmp_path / "elsewhere").exists()


async def test_the_cache_directory_can_be_chosen_in_the_environment(cache, monkeypatch):
    monkeypatch.setenv("PY_CODE_MODE_CACHE", str(cache))
    venv = await ensure_venv(VenvSpec(identity="workspace"))
    assert venv.path.is_relative_to(cache)
    assert [found.path for found in cached_venvs()] == [venv.path]


def test_of_processes_that_want_the_same_one_at_once_one_makes_it(cache):
    makers = [maker(cache) for _ in range(3)]
    outputs = [process.communicate(timeout=50)[0].splitlines() for process in makers]
    assert len({lines[-1] for lines in outputs}) == 1
    assert outputs[0][-1].startswith("ready ")
    assert sum(line.startswith("Creating") for lines in outputs for line in lines) == 1
    assert leftovers(cache) == []


async def test_of_tasks_that_want_the_same_one_at_once_one_makes_it_and_the_others_say_that_they_wait(cache):
    lines: list[str] = []
    spec = VenvSpec(identity="workspace", cache_dir=cache)
    venvs = await asyncio.gather(*(ensure_venv(spec, progress=lines.append) for _ in range(5)))
    assert len({venv.path for venv in venvs}) == 1
    assert sum(line.startswith("Creating") for line in lines) == 1
    assert sum(line.startswith("Waiting") for line in lines) == 4


async def test_what_a_killed_maker_left_is_removed_and_the_environment_made(cache):
    process = maker(cache)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("Installing"):
        pass
    process.kill()
    process.communicate()
    assert leftovers(cache) != []
    assert cached_venvs(cache) == []
    venv = await ensure_venv(VenvSpec(identity="workspace", cache_dir=cache))
    assert run_in(venv, "import ipykernel; print('works')") == "works"
    assert leftovers(cache) == []


@pytest.mark.parametrize("at", ["Creating", "Installing"])
@pytest.mark.parametrize("cached", [True, False])
async def test_cancelling_leaves_no_process_and_nothing_on_the_disk(cache, tmp_path, monkeypatch, at, cached):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    spec = VenvSpec(identity="workspace", cache_dir=cache, cache=cached)
    reached = asyncio.Event()
    task = asyncio.create_task(ensure_venv(spec, progress=lambda line: reached.set() if line.startswith(at) else None))
    await reached.wait()
    while not psutil.Process().children():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert psutil.Process().children(recursive=True) == []
    assert leftovers(cache) == []
    assert list(temporary.iterdir()) == []
    venv = await ensure_venv(spec)
    assert run_in(venv, "import ipykernel; print('works')") == "works"
    await release_venv(venv)


async def test_a_waiter_that_is_cancelled_does_not_disturb_the_maker(cache):
    spec = VenvSpec(identity="workspace", cache_dir=cache)
    makes, waits = asyncio.Event(), asyncio.Event()
    making = asyncio.create_task(ensure_venv(spec, progress=lambda line: makes.set()))
    await makes.wait()
    waiting = asyncio.create_task(
        ensure_venv(spec, progress=lambda line: waits.set() if line.startswith("Waiting") else None)
    )
    await waits.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await making).python.exists()


def _dangling(venv) -> None:
    (venv.path / "bin" / "python").unlink()
    (venv.path / "bin" / "python").symlink_to("/nonexistent/python")


BREAKS = {
    "its Python is gone": _dangling,
    "ipykernel is gone": lambda venv: shutil.rmtree(venv.site_packages() / "ipykernel"),
    "kernel_bootstrap is gone": lambda venv: shutil.rmtree(venv.site_packages() / "kernel_bootstrap"),
    "all packages are gone": lambda venv: shutil.rmtree(venv.site_packages()),
    "its marker is nonsense": lambda venv: (venv.path / MARKER).write_text("{"),
}


@pytest.mark.parametrize("damage", BREAKS.values(), ids=BREAKS)
async def test_one_that_was_broken_by_hand_is_made_again_with_what_was_installed_in_it(filled, damage):
    make_wheel(filled.parent / "wheels", "pcm_kept", "1.2")
    make_wheel(filled.parent / "wheels", "pcm_kept", "1.3")
    spec = VenvSpec(identity="workspace", cache_dir=filled)
    venv = await ensure_venv(spec)
    await UvInstaller(venv.python, venv.site_packages()).install(["pcm_kept==1.2"])
    damage(venv)
    again = await ensure_venv(spec)
    assert again == venv
    assert run_in(again, "import ipykernel, kernel_bootstrap, pcm_kept; print(pcm_kept.VERSION)") == "1.2"
    assert leftovers(filled) == []


def _spoil_ipykernel(venv) -> None:
    path = venv.site_packages() / "ipykernel" / "kernelapp.py"
    path.unlink()
    path.write_text("raise ImportError('spoiled')")


def _spoil_bootstrap(venv) -> None:
    path = venv.site_packages() / "kernel_bootstrap" / "errors.py"
    path.unlink()
    path.write_text("")


@pytest.mark.parametrize("damage", [_spoil_ipykernel, _spoil_bootstrap])
async def test_damage_that_only_a_kernel_would_notice_is_cured_by_repair(filled, damage):
    spec = VenvSpec(identity="workspace", cache_dir=filled)
    venv = await ensure_venv(spec)
    damage(venv)
    repaired = await ensure_venv(spec, repair=True)
    code = "import ipykernel.kernelapp; from kernel_bootstrap.errors import CodeModeError; print('works')"
    assert run_in(repaired, code) == "works"


async def test_repair_leaves_one_alone_that_works(shared):
    cache, venv = shared
    before = (venv.path / "pyvenv.cfg").stat().st_ino
    assert await ensure_venv(VenvSpec(identity="workspace", cache_dir=cache), repair=True) == venv
    assert (venv.path / "pyvenv.cfg").stat().st_ino == before


async def test_an_upgrade_takes_over_what_was_installed_and_removes_the_old_one(filled):
    make_wheel(filled.parent / "wheels", "pcm_kept")
    spec = VenvSpec(identity="workspace", cache_dir=filled)
    venv = await ensure_venv(spec)
    await UvInstaller(venv.python, venv.site_packages()).install(["pcm_kept"])
    await release_venv(venv)
    old = age(venv)
    again = await ensure_venv(spec)
    assert run_in(again, "import pcm_kept; print(pcm_kept.VERSION)") == "1.0"
    assert not old.exists()


async def test_an_upgrade_keeps_the_old_one_while_somebody_uses_it(filled):
    spec = VenvSpec(identity="workspace", cache_dir=filled)
    old = age(await ensure_venv(spec))
    assert (await ensure_venv(spec)).path != old
    assert old.exists()


async def test_what_cannot_be_installed_again_is_told_and_does_not_keep_the_rest_out(filled):
    gone = make_wheel(filled.parent / "wheels", "pcm_gone")
    make_wheel(filled.parent / "wheels", "pcm_kept")
    spec = VenvSpec(identity="workspace", cache_dir=filled)
    venv = await ensure_venv(spec)
    await UvInstaller(venv.python, venv.site_packages()).install([f"pcm_gone @ {gone.as_uri()}", "pcm_kept"])
    gone.unlink()
    BREAKS["its Python is gone"](venv)
    lines: list[str] = []
    again = await ensure_venv(spec, progress=lines.append)
    assert any(line.startswith("pcm-gone") and "could not be installed again" in line for line in lines)
    assert run_in(again, "import pcm_kept; print(pcm_kept.VERSION)") == "1.0"


async def test_a_temporary_one_works_and_is_removed_when_it_is_given_back(cache):
    venv = await ensure_venv(VenvSpec(identity="workspace", cache_dir=cache, cache=False))
    assert run_in(venv, "import ipykernel, kernel_bootstrap; print('works')") == "works"
    assert not cache.exists()
    await release_venv(venv)
    assert not venv.path.parent.exists()


async def test_a_temporary_one_of_a_killed_process_is_removed_by_the_next(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    orphan = tmp_path / "py-code-mode-venv-orphan"
    (orphan / "venv").mkdir(parents=True)
    (orphan / "owner").touch()
    mine = await ensure_venv(VenvSpec(identity="workspace", cache=False))
    also_mine = await ensure_venv(VenvSpec(identity="workspace", cache=False))
    assert not orphan.exists()
    assert mine.python.exists()
    await remove_venv(mine)
    await remove_venv(also_mine)


async def test_a_cached_one_cannot_be_removed_as_if_it_were_temporary(shared):
    _, venv = shared
    with pytest.raises(ValueError, match="in the cache"):
        await remove_venv(venv)
    assert venv.python.exists()


async def test_the_list_of_the_cache_tells_what_is_there(filled):
    before = time.time()
    venv = await ensure_venv(VenvSpec(identity="workspace", cache_dir=filled))
    (broken := venv.path.with_name("py3.11-abandoned")).mkdir()
    listed = {found.path: found for found in cached_venvs(filled)}
    assert set(listed) == {venv.path, broken}
    found = listed[venv.path]
    assert (found.identity, found.python_version, found.complete) == ("workspace", venv.python_version, True)
    assert found.last_used.timestamp() >= before - 1
    assert found.size > 1_000_000
    assert found.in_use
    assert not listed[broken].complete


async def test_cleaning_removes_what_nobody_can_use_and_what_was_not_used_for_long(cache):
    venvs = {name: await ensure_venv(VenvSpec(identity=name, cache_dir=cache)) for name in ("new", "old", "stale")}
    for venv in venvs.values():
        await release_venv(venv)
    stale = age(venvs["stale"])
    os.utime(venvs["old"].path / MARKER, (time.time() - 40 * 86400,) * 2)
    assert [found.path for found in clean_venvs(cache_dir=cache)] == [stale]
    assert [found.path for found in clean_venvs(older_than=30, cache_dir=cache)] == [venvs["old"].path]
    assert [found.path for found in clean_venvs(everything=True, cache_dir=cache)] == [venvs["new"].path]
    assert cached_venvs(cache) == []


def test_cleaning_never_removes_one_that_a_live_process_uses(filled):
    process = maker(filled, "hold")
    assert process.stdout is not None
    while not (line := process.stdout.readline()).startswith("ready"):
        pass
    assert clean_venvs(everything=True, cache_dir=filled) == []
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [str(found.path) for found in clean_venvs(everything=True, cache_dir=filled)] == [line.split()[1]]


async def test_one_that_was_used_twice_is_in_use_until_it_is_given_back_twice(filled):
    spec = VenvSpec(identity="workspace", cache_dir=filled)
    venv = await ensure_venv(spec)
    await ensure_venv(spec)
    await release_venv(venv)
    assert clean_venvs(everything=True, cache_dir=filled) == []
    await release_venv(venv)
    assert len(clean_venvs(everything=True, cache_dir=filled)) == 1


def test_one_that_is_being_made_is_not_cleaned_away(cache):
    process = maker(cache)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("Creating"):
        pass
    assert clean_venvs(everything=True, cache_dir=cache) == []
    out, _ = process.communicate(timeout=30)
    path = Path(out.splitlines()[-1].removeprefix("ready "))
    assert (path / MARKER).exists()


async def test_a_cache_directory_that_cannot_be_written_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(VenvError) as caught:
        await ensure_venv(VenvSpec(identity="workspace", cache_dir=tmp_path / "file" / "cache"))
    assert str(tmp_path / "file" / "cache") in str(caught.value)
    assert "PY_CODE_MODE_CACHE" in str(caught.value)


async def test_a_missing_uv_is_an_error_that_says_how_to_get_it(cache, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VenvError, match="pip install uv"):
        await ensure_venv(VenvSpec(identity="workspace", cache_dir=cache))
    assert leftovers(cache) == []


async def test_without_network_and_with_an_empty_cache_the_error_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("UV_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.delenv("UV_OFFLINE", raising=False)
    with pytest.raises(VenvError, match="needs the network"):
        await ensure_venv(VenvSpec(identity="workspace", cache_dir=tmp_path / "cache"))


def confined(*flags: str) -> tuple[str, ...]:
    """A command prefix for namespaces of the process's own; skips where the machine does not allow them."""
    prefix = ("unshare", "--map-root-user", *flags)
    with contextlib.suppress(OSError):
        if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
            return prefix
    pytest.skip("namespaces are not allowed on this machine")


def mounted(directory: Path, options: str) -> tuple[str, ...]:
    """A command prefix for a process that sees ``directory`` as a mount with ``options``."""
    script = f'mount {options} "$0" && exec "$@"'
    return (*confined("--mount"), "sh", "-c", script, str(directory))


def test_without_a_network_a_warm_cache_of_uv_is_enough(cache, monkeypatch):
    monkeypatch.delenv("UV_OFFLINE")
    out, _ = maker(cache, prefix=confined("--net")).communicate(timeout=50)
    assert out.splitlines()[-1].startswith("ready ")


def test_a_full_disk_is_an_error_that_names_the_directory(cache):
    cache.mkdir()
    out, _ = maker(cache, prefix=mounted(cache, "-t tmpfs -o size=4m tmpfs")).communicate(timeout=50)
    last = out.splitlines()[-1]
    assert last.startswith("refused")
    assert str(cache) in last
    assert "No space left" in last
    assert "PY_CODE_MODE_CACHE" in last


def test_a_read_only_cache_that_holds_the_environment_does(shared):
    cache, venv = shared
    prefix = mounted(cache, f"--bind -o ro {cache}")
    out, _ = maker(cache, prefix=prefix).communicate(timeout=30)
    assert out == f"ready {venv.path}\n"


def test_a_read_only_cache_that_does_not_is_an_error_that_names_it(shared):
    cache, _ = shared
    prefix = mounted(cache, f"--bind -o ro {cache}")
    out, _ = maker(cache, identity="another", prefix=prefix).communicate(timeout=30)
    assert out.startswith("refused")
    assert str(cache) in out
    assert "PY_CODE_MODE_CACHE" in out
