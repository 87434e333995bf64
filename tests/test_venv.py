"""Virtualenvs of workspaces and the bases they lie over: made, found again, shared, cleaned up. All are real."""

from __future__ import annotations

import asyncio
import contextlib
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
from py_code_mode.errors import PythonNotFoundError, VenvError
from py_code_mode.kernel.interpreters import find_interpreter, parse_request
from py_code_mode.kernel.venv import (
    VenvSpec,
    ensure_venv,
    release_venv,
    remove_venv,
)
from py_code_mode.kernel.venv_cache import cached_venvs, clean_venvs
from py_code_mode.kernel.venv_layout import BASE, MARKER, POINTER, Marker, content_key, place, site_packages

from .venvs import (
    age,
    copy_cache,
    installer,
    leftovers,
    make_venv,
    make_wheel,
    output_of,
    run_in,
    run_python,
    use_only,
)

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
    """A cache of the test's own in which the environment of "workspace" is there."""
    return copy_cache(*shared, cache)


def maker(cache: Path, mode: str = "", *, identity: str = "workspace", prefix: tuple[str, ...] = ()):
    argv = [*prefix, sys.executable, "-m", "tests.venv_maker", str(cache), identity, mode]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


async def test_a_new_environment_holds_the_kernel_and_our_part_of_it_and_nothing_of_the_host(shared):
    _, venv = shared
    code = (
        "import importlib.util as u, importlib.metadata as m, kernel_bootstrap, sys;"
        "print(m.version('ipykernel'), kernel_bootstrap.__file__, u.find_spec('py_code_mode'), end=' ');"
        "print(sys.version_info[:2])"
    )
    version, where, host, python = run_in(venv, code).split(maxsplit=3)
    assert tuple(map(int, version.split(".")[:2])) >= (7, 4)
    assert Path(where).parent == site_packages(venv.base, venv.python_version) / "kernel_bootstrap"
    assert host == "None"
    assert python == str(sys.version_info[:2])
    ours = {path.name for path in Path(kernel_bootstrap.__file__).parent.glob("*.py")}
    assert {path.name for path in Path(where).parent.glob("*.py")} == ours
    assert [path.name for path in venv.site_packages().iterdir()] == [POINTER]


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


async def test_scripts_run_where_the_environments_were_moved_to(filled):
    make_wheel(filled.parent / "wheels", "pcm_script", body="def main():\n    print('said')", script="pcm-say")
    venv = await ensure_venv(VenvSpec(identity="workspace", cache_dir=filled))
    await installer(venv).install(["pcm_script"])
    (venv.site_packages() / POINTER).unlink()  # so that it is made again aside
    made_aside = await ensure_venv(VenvSpec(identity="workspace", cache_dir=filled))
    moved = filled.with_name("moved")
    filled.rename(moved)
    for script, wanted in ((made_aside.path / "bin/pcm-say", "said\n"), (made_aside.base / "bin/ipython", "9.")):
        assert output_of(moved / script.relative_to(filled), "--version").startswith(wanted)


async def test_a_cache_that_was_moved_works_where_it_is_now(filled):
    spec = VenvSpec(identity="workspace", cache_dir=filled)
    make_wheel(filled.parent / "wheels", "pcm_kept")
    await installer(await ensure_venv(spec)).install(["pcm_kept"])
    filled.rename(moved := filled.with_name("moved"))
    lines: list[str] = []
    venv = await ensure_venv(VenvSpec(identity="workspace", cache_dir=moved), progress=lines.append)
    code = "import kernel_bootstrap, pcm_kept; print(kernel_bootstrap.__file__)"
    assert Path(run_in(venv, code)).is_relative_to(venv.base)
    assert lines == []


async def test_workspaces_share_the_base_and_nothing_is_downloaded_for_a_new_one(filled, monkeypatch, tmp_path):
    venv = await ensure_venv(VenvSpec(identity="workspace", cache_dir=filled))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    lines: list[str] = []
    other = await ensure_venv(VenvSpec(identity="another", cache_dir=filled), progress=lines.append)
    assert (other.base, lines) == (venv.base, [])
    assert run_in(other, "import ipykernel.kernelapp, kernel_bootstrap.kernel; print('works')") == "works"
    assert sum(path.stat().st_size for path in other.path.rglob("*") if not path.is_symlink()) < 100_000


async def test_every_workspace_has_an_environment_of_its_own(cache):
    one = await ensure_venv(VenvSpec(identity="one", cache_dir=cache))
    two = await ensure_venv(VenvSpec(identity="two", cache_dir=cache))
    make_wheel(cache.parent / "wheels", "pcm_only_one")
    await installer(one).install(["pcm_only_one"])
    assert run_in(one, "import pcm_only_one; print('there')") == "there"
    assert "pcm-only-one" not in await installer(two).installed()


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
    # A newer Python that another workspace brought in does not part this one from its packages.
    version, interpreter = f"3.{minor + 1}.0", venv.python.resolve()
    newer = place(cache, BASE, interpreter, version)
    shutil.copytree(venv.base, newer, symlinks=True, copy_function=os.link)
    (newer / "lib" / f"python3.{minor}").rename(newer / "lib" / f"python3.{minor + 1}")
    (newer / MARKER).unlink()
    content = {"identity": BASE, "python_version": version, "interpreter": str(interpreter), "created": 0.0}
    Marker(key=content_key(BASE, interpreter, version), **content).write(newer)
    assert await ensure_venv(VenvSpec(identity="workspace", python_version=f">=3.{minor}", cache_dir=cache)) == venv
    other = await ensure_venv(VenvSpec(identity="other", python_version=f">=3.{minor}", cache_dir=cache))
    assert other.base == newer


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
    assert {found.path for found in cached_venvs()} == {venv.path, venv.base}


def test_of_processes_that_want_the_same_one_at_once_one_makes_it(cache):
    makers = [maker(cache) for _ in range(3)]
    outputs = [process.communicate(timeout=50)[0].splitlines() for process in makers]
    assert len({lines[-1] for lines in outputs}) == 1
    assert outputs[0][-1].startswith("ready ")
    assert sum(line.startswith("Creating") for lines in outputs for line in lines) == 1
    assert leftovers(cache) == []


@pytest.mark.parametrize("base_is_there", [True, False])
def test_processes_that_want_environments_of_their_own_at_once_share_one_base(cache, base_is_there):
    if base_is_there:
        maker(cache, identity="first").communicate(timeout=50)
    makers = [maker(cache, identity=str(number)) for number in range(3)]
    outputs = [process.communicate(timeout=50)[0].splitlines() for process in makers]
    paths = [Path(lines[-1].removeprefix("ready ")) for lines in outputs]
    assert len({path.parent for path in paths}) == 3
    assert sum(line.startswith("Creating") for lines in outputs for line in lines) == (0 if base_is_there else 1)
    assert len([found for found in cached_venvs(cache) if found.is_base]) == 1
    for path in paths:
        assert run_python(path / "bin" / "python", "import kernel_bootstrap.kernel; print('works')") == "works"
    assert leftovers(cache) == []


def test_a_base_that_is_gone_is_made_once_by_those_who_need_it_while_another_works_on(filled):
    using = maker(filled, "hold")
    assert using.stdout is not None
    assert using.stdout.readline().startswith("ready")
    shutil.rmtree(next(found.path for found in cached_venvs(filled) if found.is_base))
    makers = [maker(filled, identity=identity) for identity in ("workspace", "workspace", "new", "newer")]
    outputs = [process.communicate(timeout=50)[0].splitlines() for process in makers]
    assert sum(line.startswith("Creating") for lines in outputs for line in lines) == 1
    for lines in outputs:
        path = Path(lines[-1].removeprefix("ready "))
        assert run_python(path / "bin" / "python", "import kernel_bootstrap.kernel; print('works')") == "works"
    using.communicate()
    assert leftovers(filled) == []


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
    before = set(psutil.Process().children(recursive=True))  # servers of other tests
    reached = asyncio.Event()
    task = asyncio.create_task(ensure_venv(spec, progress=lambda line: reached.set() if line.startswith(at) else None))
    await reached.wait()
    while set(psutil.Process().children(recursive=True)) <= before:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert set(psutil.Process().children(recursive=True)) <= before
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


async def test_a_temporary_one_works_and_is_removed_when_it_is_given_back(cache):
    venv = await ensure_venv(VenvSpec(identity="workspace", cache_dir=cache, cache=False))
    assert run_in(venv, "import ipykernel, kernel_bootstrap; print('works')") == "works"
    assert [found.path for found in cached_venvs(cache)] == [venv.base]
    assert clean_venvs(everything=True, cache_dir=cache) == []  # it needs its base
    await release_venv(venv)
    assert not venv.path.parent.exists()
    assert [found.path for found in clean_venvs(everything=True, cache_dir=cache)] == [venv.base]


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
    assert set(listed) == {venv.path, venv.base, broken}
    found, base = listed[venv.path], listed[venv.base]
    assert (found.identity, found.is_base, found.size < 100_000) == ("workspace", False, True)
    assert (base.identity, base.is_base, base.size > 1_000_000) == (None, True, True)
    for each in (found, base):
        assert (each.python_version, each.complete, each.in_use) == (venv.python_version, True, True)
        assert each.last_used.timestamp() >= before - 1
    assert (listed[broken].identity, listed[broken].complete) == (None, False)


def _unused_for(days: float, *directories: Path) -> None:
    for directory in directories:
        os.utime(directory / MARKER, (time.time() - days * 86400,) * 2)


async def test_cleaning_removes_what_nobody_can_use_and_what_was_not_used_for_long(cache):
    venvs = {name: await ensure_venv(VenvSpec(identity=name, cache_dir=cache)) for name in ("new", "old", "stale")}
    for venv in venvs.values():
        await release_venv(venv)
    base = venvs["new"].base
    stale = age(venvs["stale"].path)
    _unused_for(40, venvs["old"].path)
    assert [found.path for found in clean_venvs(cache_dir=cache)] == [stale]
    assert [found.path for found in clean_venvs(older_than=30, cache_dir=cache)] == [venvs["old"].path]
    assert {found.path for found in clean_venvs(everything=True, cache_dir=cache)} == {venvs["new"].path, base}
    assert cached_venvs(cache) == []


async def test_a_base_that_was_cleaned_away_is_made_again_under_the_workspaces_that_are_left(filled):
    make_wheel(filled.parent / "wheels", "pcm_kept")
    spec = VenvSpec(identity="workspace", cache_dir=filled)
    venv = await ensure_venv(spec)
    await installer(venv).install(["pcm_kept"])
    await release_venv(venv)
    _unused_for(40, venv.base)
    assert [found.path for found in clean_venvs(older_than=30, cache_dir=filled)] == [venv.base]
    before = (venv.path / "pyvenv.cfg").stat().st_ino
    assert await ensure_venv(spec) == venv
    assert run_in(venv, "import kernel_bootstrap.kernel, pcm_kept; print(pcm_kept.VERSION)") == "1.0"
    assert (venv.path / "pyvenv.cfg").stat().st_ino == before


def test_cleaning_never_removes_what_a_live_process_uses_its_base_included(filled):
    process = maker(filled, "hold")
    assert process.stdout is not None
    while not (line := process.stdout.readline()).startswith("ready"):
        pass
    _unused_for(40, *(found.path for found in cached_venvs(filled)))
    assert clean_venvs(older_than=30, everything=True, cache_dir=filled) == []
    process.send_signal(signal.SIGKILL)
    process.communicate()
    removed = clean_venvs(everything=True, cache_dir=filled)
    assert {found.is_base for found in removed} == {True, False}
    assert line.split()[1] in {str(found.path) for found in removed}


async def test_one_that_was_used_twice_is_in_use_until_it_is_given_back_twice(filled):
    spec = VenvSpec(identity="workspace", cache_dir=filled)
    venv = await ensure_venv(spec)
    await ensure_venv(spec)
    await release_venv(venv)
    assert clean_venvs(everything=True, cache_dir=filled) == []
    await release_venv(venv)
    assert len(clean_venvs(everything=True, cache_dir=filled)) == 2


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
