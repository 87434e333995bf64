"""The virtualenv of a workspace: found in the cache in a moment, or made there once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from py_code_mode.deps.locks import held, in_thread
from py_code_mode.deps.uvtool import UV_TIMEOUT
from py_code_mode.errors import VenvError

from .interpreters import Interpreter, PythonRequest, find_interpreter, parse_request, running_interpreter
from .venv_build import build, kernel_imports, packages_to_restore
from .venv_cache import CachedVenv, cached_venvs, clean_venvs
from .venv_claims import claim, discard, discard_unused, release, sweep
from .venv_layout import (
    BUILDING,
    Marker,
    cache_root,
    environments,
    identity_name,
    lock_path,
    looks_usable,
    place,
    site_packages,
)

__all__ = [
    "CachedVenv",
    "Venv",
    "VenvSpec",
    "cached_venvs",
    "clean_venvs",
    "ensure_venv",
    "release_venv",
    "remove_venv",
]

LOCK_TIMEOUT = 2 * UV_TIMEOUT
"""Seconds to wait for another maker, whose runs of uv are limited themselves."""

_TEMPORARY = "py-code-mode-venv-"
_OWNER = "owner"

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class VenvSpec:
    """Which virtualenv is wanted.

    ``identity`` names the workspace; every identity has environments of its own. ``python_version`` is a
    version ("3.12", "3.12.1") or a specifier (">=3.12"), None the version that runs. ``cache=False`` asks for
    a temporary one. ``cache_dir`` is the cache, by default ``venvs`` in PY_CODE_MODE_CACHE, else in the
    user's cache directory.
    """

    identity: str
    python_version: str | None = None
    cache: bool = True
    cache_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Venv:
    """A virtualenv that is ready. ``python`` is its interpreter, ``key`` the hash of what it is made of."""

    path: Path
    python: Path
    python_version: str
    cached: bool
    key: str

    def site_packages(self) -> Path:
        """Where its packages are."""
        return site_packages(self.path, self.python_version)


async def ensure_venv(spec: VenvSpec, *, progress: Progress | None = None, repair: bool = False) -> Venv:
    """The virtualenv that ``spec`` asks for, made now if it has to be. Each call needs one ``release_venv``.

    One that is there costs a few file system calls. ``progress`` gets short lines while one is made or waited
    for. ``repair`` tries the one that is there and makes it anew if it cannot run a kernel. Cancelling leaves
    neither a process nor half an environment.

    Raises PythonNotFoundError, or VenvError for anything else that is in the way.
    """
    request = parse_request(spec.python_version)
    tell = progress or (lambda line: None)
    where = cache_root(spec.cache_dir) if spec.cache else Path(tempfile.gettempdir())
    try:
        if not spec.cache:
            return await _make_temporary(spec, request, tell)
        if not repair and (venv := _find(where, spec, request)):
            return venv
        return await _make_cached(where, spec, request, tell, repair)
    except OSError as error:
        chosen = "PY_CODE_MODE_CACHE" if spec.cache else "TMPDIR"
        raise VenvError(
            f"no virtualenv can be made in {where}: {error.strerror or error}. "
            f"Another place can be chosen with {chosen}"
        ) from error


async def release_venv(venv: Venv) -> None:
    """Give back what ``ensure_venv`` gave: a temporary one is removed, a cached one is no longer used."""
    if venv.cached:
        release(venv.path)
    else:
        await remove_venv(venv)


async def remove_venv(venv: Venv) -> None:
    """Remove the temporary ``venv``. Raises ValueError for a cached one: others may use it."""
    if venv.cached:
        raise ValueError(f"{venv.path} is in the cache: see clean_venvs")
    home = venv.path.parent
    await in_thread(shutil.rmtree, home, ignore_errors=True)
    fd = _owned.pop(home, None)
    if fd is not None:
        os.close(fd)


def _find(root: Path, spec: VenvSpec, request: PythonRequest | None) -> Venv | None:
    running = running_interpreter()
    if running is not None and (request is None or request.accepts(running.version)):
        return _open(place(root, spec.identity, running.path, running.version))
    if request is None:
        return None
    # Which interpreter another version stands for is known from the environments that are there: asking one
    # would start a process.
    for directory in environments(root / identity_name(spec.identity)):
        marker = Marker.read(directory)
        if marker and request.accepts(marker.python_version) and marker.is_current and (venv := _open(directory)):
            return venv
    return None


def _open(directory: Path, *, wait: bool = False) -> Venv | None:
    marker = claim(directory, wait=wait)
    if marker is None:
        return None
    if not looks_usable(directory, marker):
        release(directory)
        return None
    return _venv(directory, marker, cached=True)


def _venv(directory: Path, marker: Marker, *, cached: bool) -> Venv:
    return Venv(directory, directory / "bin" / "python", marker.python_version, cached, marker.key)


async def _make_cached(root: Path, spec: VenvSpec, request: PythonRequest | None, tell: Progress, repair: bool) -> Venv:
    folder = root / identity_name(spec.identity)
    lock = lock_path(root, folder.name)
    await in_thread(lock.parent.mkdir, parents=True, exist_ok=True)

    def waiting() -> None:
        tell("Waiting for this virtualenv, which is being made elsewhere...")

    async with held(lock, timeout=LOCK_TIMEOUT, waiting=waiting):
        if venv := await _made_meanwhile(root, spec, request, repair):
            return venv
        interpreter = await find_interpreter(request)
        target = place(root, spec.identity, interpreter.path, interpreter.version)
        await _replace(folder, target, interpreter, spec.identity, tell)
        if repair and not await kernel_imports(target, interpreter.version):
            tell("uv's cache holds broken files; downloading them anew...")
            await _replace(folder, target, interpreter, spec.identity, tell, uncached=True)
        venv = _open(target, wait=True)
        if venv is None:
            raise VenvError(f"the virtualenv {target} was damaged while it was made")
        return venv


async def _made_meanwhile(root: Path, spec: VenvSpec, request: PythonRequest | None, repair: bool) -> Venv | None:
    venv = _find(root, spec, request)
    if venv is None or not repair:
        return venv
    try:
        works = await kernel_imports(venv.path, venv.python_version)
    except BaseException:
        release(venv.path)
        raise
    if works:
        return venv
    release(venv.path)
    return None


async def _replace(
    folder: Path,
    target: Path,
    interpreter: Interpreter,
    identity: str,
    tell: Progress,
    uncached: bool = False,
) -> None:
    aside = await in_thread(_prepare, folder)
    try:
        packages = await in_thread(packages_to_restore, folder, target)
        made = aside / "venv"
        await build(
            made,
            interpreter=interpreter,
            identity=identity,
            packages=packages,
            progress=tell,
            uncached=uncached,
        )
        await in_thread(_publish, made, target)
    finally:
        await in_thread(shutil.rmtree, aside, ignore_errors=True)


def _prepare(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    return Path(tempfile.mkdtemp(prefix=BUILDING, dir=folder))


def _publish(made: Path, target: Path) -> None:
    if target.is_dir():  # a broken one: whoever still runs in it is no worse off
        discard(target)
    made.rename(target)
    # What an upgrade left behind. One for another interpreter that is still there is somebody else's.
    for other in environments(target.parent):
        marker = Marker.read(other)
        if other != target and (marker is None or not marker.is_current):
            discard_unused(other)


_owned: dict[Path, int] = {}
"""Homes of temporary environments and the locked file that says that their maker lives."""


async def _make_temporary(spec: VenvSpec, request: PythonRequest | None, tell: Progress) -> Venv:
    interpreter = await find_interpreter(request)
    home = await in_thread(_temporary_home)
    try:
        marker = await build(home / "venv", interpreter=interpreter, identity=spec.identity, packages=[], progress=tell)
    except BaseException:
        await in_thread(shutil.rmtree, home, ignore_errors=True)
        os.close(_owned.pop(home))
        raise
    return _venv(home / "venv", marker, cached=False)


def _temporary_home() -> Path:
    base = Path(tempfile.gettempdir()).absolute()
    for other in base.glob(f"{_TEMPORARY}*"):
        _remove_orphan(other)
    home = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=base))
    fd = os.open(home / _OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    _owned[home] = fd
    return home


def _remove_orphan(home: Path) -> None:
    """Remove a temporary environment of this user whose maker was killed."""
    with contextlib.suppress(OSError):
        if home.lstat().st_uid != os.getuid():
            return
        fd = os.open(home / _OWNER, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(home, ignore_errors=True)
        finally:
            os.close(fd)
