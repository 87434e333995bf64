"""The virtualenv of a workspace: found in the cache in a moment, or made there once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from py_code_mode.deps.locks import held, in_thread
from py_code_mode.deps.uvtool import UV_TIMEOUT
from py_code_mode.errors import VenvError

from .interpreters import Interpreter, PythonRequest, find_interpreter, like_running, parse_request, running_interpreter
from .venv_claims import claim, discard, discard_unused, release, sweep
from .venv_layout import (
    BASE,
    BUILDING,
    Marker,
    Venv,
    cache_root,
    environments,
    identity_name,
    lock_path,
    looks_usable,
    path_between,
    place,
    site_packages,
)
from .venv_temporary import make_home, remove_home

__all__ = ["Venv", "VenvSpec", "ensure_venv", "release_venv", "remove_venv"]

LOCK_TIMEOUT = 2 * UV_TIMEOUT
"""Seconds to wait for another maker, whose runs of uv are limited themselves."""

Progress = Callable[[str], None]

T = TypeVar("T")


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
        base = await _found_or_made(root, _Base(root, spec.identity, request), tell, repair)
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
    await in_thread(remove_home, venv.path.parent)


class _Base:
    """How the shared virtualenv with the kernel's packages is found and made, for the workspace ``user``."""

    identity = BASE

    def __init__(self, root: Path, user: str, request: PythonRequest | None) -> None:
        self._root = root
        self._user = user
        self._request = request

    def find(self) -> Venv | None:
        """The one that is there, claimed."""
        return next(filter(None, (_open(self._place(known)) for known in self._known())), None)

    async def make(self, tell: Progress, repair: bool) -> Venv | None:
        """Make it in its place. None: it was damaged meanwhile."""
        from .venv_build import build_base  # here, because it imports a lot that finding does not need

        interpreter = await find_interpreter(self._request, [known.path for known in self._known()])
        target = self._place(interpreter)

        async def build(aside: Path, uncached: bool = False) -> bool:
            return await build_base(aside, interpreter=interpreter, progress=tell, uncached=uncached)

        if not await _replace(target, build):
            tell("uv's cache holds broken files; downloading them anew...")
            await _replace(target, lambda aside: build(aside, uncached=True))
        return _open(target, wait=True)

    def _place(self, interpreter: Interpreter) -> Path:
        return place(self._root, BASE, interpreter.path, interpreter.version)

    def _known(self) -> Iterator[Interpreter]:
        """Interpreters to look for first, found without starting a process."""
        request, running = self._request, running_interpreter()
        if running is not None and (request is None or request.accepts(running.version)):
            yield running
            return
        request = request or like_running()
        # The workspace's own comes first: a newer Python that came later does not part it from its packages.
        for identity in (self._user, BASE):
            for directory in environments(self._root / identity_name(identity)):
                marker = Marker.read(directory)
                if marker is not None and request.accepts(marker.python_version) and marker.is_current:
                    yield Interpreter(Path(marker.interpreter), marker.python_version)


class _Overlay:
    """How the virtualenv of one workspace is found and made."""

    def __init__(self, root: Path, identity: str, base: Venv) -> None:
        self.identity = identity
        self._base = base
        self._target = place(root, identity, base.interpreter, base.python_version)

    def find(self) -> Venv | None:
        """The one that is there, claimed."""
        return _open(self._target, self._base)

    async def make(self, tell: Progress, repair: bool) -> Venv | None:
        """Make it in its place, with the packages that its predecessor had. None: it was damaged meanwhile."""
        from .venv_build import build_overlay, kernel_imports, packages_to_restore

        target, base = self._target, self._base
        packages = await in_thread(packages_to_restore, target)
        pointer = path_between(site_packages(target, base.python_version), base.site_packages())

        async def build(aside: Path, uncached: bool = False) -> Marker:
            return await build_overlay(
                aside,
                base=base,
                pointer=pointer,
                identity=self.identity,
                packages=packages,
                progress=tell,
                uncached=uncached,
            )

        await _replace(target, build)
        if repair and packages and not await kernel_imports(target, base.path, base.python_version):
            tell("uv's cache holds broken files; downloading them anew...")
            await _replace(target, lambda aside: build(aside, uncached=True))
        return _open(target, base, wait=True)


def _open(directory: Path, base: Venv | None = None, *, wait: bool = False) -> Venv | None:
    marker = claim(directory, wait=wait)
    if marker is None:
        return None
    if not looks_usable(directory, marker):
        release(directory)
        return None
    return _venv(directory, marker, base.path if base else directory, cached=True)


def _venv(directory: Path, marker: Marker, base: Path, *, cached: bool) -> Venv:
    python = directory / "bin" / "python"
    return Venv(directory, python, marker.python_version, cached, marker.key, Path(marker.interpreter), base)


async def _found_or_made(root: Path, wanted: _Base | _Overlay, tell: Progress, repair: bool) -> Venv:
    if not repair and (venv := wanted.find()):
        return venv
    folder = root / identity_name(wanted.identity)

    def waiting() -> None:
        tell("Waiting for this virtualenv, which is being made elsewhere...")

    async with held(lock_path(root, folder.name), timeout=LOCK_TIMEOUT, waiting=waiting):
        if venv := await _made_meanwhile(wanted, repair) or await wanted.make(tell, repair):
            return venv
        raise VenvError(f"the virtualenv in {folder} was damaged while it was made")


async def _made_meanwhile(wanted: _Base | _Overlay, repair: bool) -> Venv | None:
    venv = wanted.find()
    if venv is None or not repair:
        return venv
    from .venv_build import kernel_imports

    try:
        works = await kernel_imports(venv.path, venv.base, venv.python_version)
    except BaseException:
        release(venv.path)
        raise
    if works:
        return venv
    release(venv.path)
    return None


async def _replace(target: Path, build: Callable[[Path], Awaitable[T]]) -> T:
    aside = await in_thread(_prepare, target.parent)
    try:
        made = aside / "venv"
        result = await build(made)
        await in_thread(_publish, made, target)
    finally:
        await in_thread(shutil.rmtree, aside, ignore_errors=True)
    return result


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


async def _make_temporary(spec: VenvSpec, base: Venv, tell: Progress) -> Venv:
    from .venv_build import build_overlay

    home = await in_thread(make_home)
    try:
        pointer = str(base.site_packages())
        marker = await build_overlay(
            home / "venv", base=base, pointer=pointer, identity=spec.identity, packages=[], progress=tell
        )
    except BaseException:
        await in_thread(remove_home, home)
        raise
    return _venv(home / "venv", marker, base.path, cached=False)
