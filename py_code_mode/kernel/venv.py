"""The virtualenv of a workspace: found in the cache in a moment, or made there once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from py_code_mode.deps.locks import held, in_thread
from py_code_mode.deps.uvtool import UV_TIMEOUT
from py_code_mode.errors import VenvError

from .interpreters import Interpreter, PythonRequest, find_interpreter, parse_request, running_interpreter
from .venv_build import build_base, build_overlay, kernel_imports, packages_to_restore
from .venv_cache import CachedVenv, cached_venvs, clean_venvs
from .venv_claims import claim, discard, discard_unused, release, sweep
from .venv_layout import (
    BASE,
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
    """A virtualenv that is ready. ``python`` is its interpreter, ``key`` the hash of what it is made of.

    It holds what the workspace asked for. The kernel's own packages come from ``base``, a virtualenv that all
    workspaces with this ``interpreter`` share.
    """

    path: Path
    python: Path
    python_version: str
    cached: bool
    key: str
    interpreter: Path
    base: Path

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
    root = cache_root(spec.cache_dir)
    base: Venv | None = None
    try:
        base = await _found_or_made(root, _Base(root, request), tell, repair)
        if spec.cache:
            return await _found_or_made(root, _Overlay(root, spec.identity, base), tell, repair)
        return await _make_temporary(spec, base, tell)
    except BaseException as error:
        if base is not None:
            release(base.path)
        if not isinstance(error, OSError):
            raise
        where, chosen = (root, "PY_CODE_MODE_CACHE") if spec.cache else (tempfile.gettempdir(), "TMPDIR")
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
    release(venv.base)


async def remove_venv(venv: Venv) -> None:
    """Remove the temporary ``venv``. Raises ValueError for a cached one: others may use it."""
    if venv.cached:
        raise ValueError(f"{venv.path} is in the cache: see clean_venvs")
    home = venv.path.parent
    await in_thread(shutil.rmtree, home, ignore_errors=True)
    fd = _owned.pop(home, None)
    if fd is not None:
        os.close(fd)


class _Base:
    """How the shared virtualenv with the kernel's packages is found and made."""

    identity = BASE

    def __init__(self, root: Path, request: PythonRequest | None) -> None:
        self._root = root
        self._request = request

    def find(self, *, wait: bool = False) -> Venv | None:
        """The one that is there, claimed."""
        request, running = self._request, running_interpreter()
        if running is not None and (request is None or request.accepts(running.version)):
            return _open(place(self._root, BASE, running.path, running.version), wait=wait)
        if request is None:
            return None
        # Which interpreter another version stands for is known from the environments that are there: asking one
        # would start a process.
        for directory in environments(self._root / identity_name(BASE)):
            marker = Marker.read(directory)
            fits = marker and request.accepts(marker.python_version) and marker.is_current
            if fits and (venv := _open(directory, wait=wait)):
                return venv
        return None

    async def make(self, folder: Path, tell: Progress, repair: bool) -> None:
        """Make it in its place in ``folder``."""
        interpreter = await find_interpreter(self._request)
        target = place(self._root, BASE, interpreter.path, interpreter.version)

        async def build(aside: Path, uncached: bool = False) -> None:
            await build_base(aside, interpreter=interpreter, progress=tell, uncached=uncached)

        await _replace(folder, target, build)
        if repair and not await kernel_imports(target, target, interpreter.version):
            tell("uv's cache holds broken files; downloading them anew...")
            await _replace(folder, target, lambda aside: build(aside, uncached=True))


class _Overlay:
    """How the virtualenv of one workspace is found and made."""

    def __init__(self, root: Path, identity: str, base: Venv) -> None:
        self.identity = identity
        self._base = base
        self._target = place(root, identity, base.interpreter, base.python_version)

    def find(self, *, wait: bool = False) -> Venv | None:
        """The one that is there, claimed."""
        return _open(self._target, self._base.path, wait=wait)

    async def make(self, folder: Path, tell: Progress, repair: bool) -> None:
        """Make it in its place in ``folder``, with the packages that its predecessor had."""
        packages = await in_thread(packages_to_restore, folder, self._target)

        async def build(aside: Path) -> None:
            await _build_overlay(aside, self._base, self.identity, packages, tell)

        await _replace(folder, self._target, build)


async def _build_overlay(aside: Path, base: Venv, identity: str, packages: list[str], tell: Progress) -> Marker:
    interpreter = Interpreter(base.interpreter, base.python_version)
    return await build_overlay(
        aside, base=base.path, interpreter=interpreter, identity=identity, packages=packages, progress=tell
    )


def _open(directory: Path, base: Path | None = None, *, wait: bool = False) -> Venv | None:
    marker = claim(directory, wait=wait)
    if marker is None:
        return None
    if not looks_usable(directory, marker):
        release(directory)
        return None
    return _venv(directory, marker, base or directory, cached=True)


def _venv(directory: Path, marker: Marker, base: Path, *, cached: bool) -> Venv:
    python = directory / "bin" / "python"
    return Venv(directory, python, marker.python_version, cached, marker.key, Path(marker.interpreter), base)


async def _found_or_made(root: Path, wanted: _Base | _Overlay, tell: Progress, repair: bool) -> Venv:
    if not repair and (venv := wanted.find()):
        return venv
    folder = root / identity_name(wanted.identity)
    lock = lock_path(root, folder.name)
    await in_thread(lock.parent.mkdir, parents=True, exist_ok=True)

    def waiting() -> None:
        tell("Waiting for this virtualenv, which is being made elsewhere...")

    async with held(lock, timeout=LOCK_TIMEOUT, waiting=waiting):
        if venv := await _made_meanwhile(wanted, repair):
            return venv
        await wanted.make(folder, tell, repair)
        if venv := wanted.find(wait=True):
            return venv
        raise VenvError(f"the virtualenv in {folder} was damaged while it was made")


async def _made_meanwhile(wanted: _Base | _Overlay, repair: bool) -> Venv | None:
    venv = wanted.find()
    if venv is None or not repair:
        return venv
    try:
        works = await kernel_imports(venv.path, venv.base, venv.python_version)
    except BaseException:
        release(venv.path)
        raise
    if works:
        return venv
    release(venv.path)
    return None


async def _replace(folder: Path, target: Path, build: Callable[[Path], Awaitable[None]]) -> None:
    aside = await in_thread(_prepare, folder)
    try:
        made = aside / "venv"
        await build(made)
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


async def _make_temporary(spec: VenvSpec, base: Venv, tell: Progress) -> Venv:
    home = await in_thread(_temporary_home)
    try:
        marker = await _build_overlay(home / "venv", base, spec.identity, [], tell)
    except BaseException:
        await in_thread(shutil.rmtree, home, ignore_errors=True)
        os.close(_owned.pop(home))
        raise
    return _venv(home / "venv", marker, base.path, cached=False)


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
