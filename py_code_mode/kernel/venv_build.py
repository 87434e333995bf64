"""Making one virtualenv: a base with the kernel in it, or a thin one over it, with what an earlier one held."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from py_code_mode.deps.base import IPYKERNEL
from py_code_mode.deps.distributions import pins
from py_code_mode.deps.locks import in_thread
from py_code_mode.deps.uv import RECORD_NAME, UvInstaller, write_constraints
from py_code_mode.deps.uvtool import Completed, run_process, run_uv
from py_code_mode.errors import InstallError, VenvError

from .interpreters import Interpreter
from .venv_layout import (
    BASE,
    BOOTSTRAP,
    POINTER,
    Marker,
    Venv,
    bootstrap_hash,
    bootstrap_sources,
    content_key,
    environments,
    site_packages,
    sources_hash,
)

PROBE_TIMEOUT = 60.0
"""Seconds for importing the kernel: a cold start can exceed 10 s under load (ipybox #55)."""

_IMPORT = "import ipykernel.kernelapp, ipykernel.ipkernel, kernel_bootstrap.forkserver as server; server.import_all()"

_NEARLY_FULL = 16 << 20
"""A disk with less free space is full for a virtualenv, bytes."""

_DISK_TROUBLE = ("No space left", "Read-only file system", "Permission denied", "quota exceeded", "cache at")


async def build_base(
    directory: Path, *, interpreter: Interpreter, progress: Callable[[str], None], uncached: bool = False
) -> bool:
    """Make the virtualenv with the kernel's packages in ``directory``, which does not exist yet.

    Returns whether the kernel can be imported there. ``uncached`` downloads what the kernel needs: uv links files
    from its cache, so that editing an installed file in place breaks it there too, for all environments that are
    made after that. Raises VenvError or OSError; then ``directory`` may be there in part.
    """
    minor = ".".join(interpreter.version.split(".")[:2])
    progress(f"Creating a virtualenv with Python {minor} (first time only)...")
    await _make_venv(directory, interpreter)
    progress("Installing ipykernel...")
    await _install_kernel(directory, uncached)
    packages = site_packages(directory, interpreter.version)
    await in_thread(_copy_bootstrap, packages)
    await in_thread(write_constraints, directory, packages)
    # Python keeps what it compiles: done here, the first kernel need not wait for it.
    works = await _imports(directory / "bin" / "python")
    await in_thread(_mark, directory, interpreter, BASE)
    return works


async def build_overlay(
    directory: Path,
    *,
    base: Venv,
    pointer: str,
    identity: str,
    packages: Sequence[str],
    progress: Callable[[str], None],
    uncached: bool = False,
) -> Marker:
    """Make the virtualenv of a workspace in ``directory``, which does not exist yet, over ``base``.

    Packages of its own come before those of ``base``, whose site-packages are at ``pointer`` seen from its own.
    ``packages`` are installed again as well as can be: one that fails is told to ``progress``. ``uncached`` as in
    ``build_base``. Raises OSError; then ``directory`` may be there in part.
    """
    interpreter = Interpreter(base.interpreter, base.python_version)
    await in_thread(_lay_over, directory, interpreter, pointer)
    if packages:
        here = site_packages(directory, interpreter.version)
        installer = UvInstaller(directory / "bin" / "python", here, base.path, uncached=uncached)
        await _install_again(installer, packages, progress)
    return await in_thread(_mark, directory, interpreter, identity)


def _lay_over(directory: Path, interpreter: Interpreter, pointer: str) -> None:
    # What PEP 405 asks for and no more: uv would take 20 ms, for scripts that nobody sources.
    packages = site_packages(directory, interpreter.version)
    packages.mkdir(parents=True)
    (packages / POINTER).write_text(f"{pointer}\n", "utf-8")
    scripts = directory / "bin"
    scripts.mkdir()
    (scripts / "python").symlink_to(interpreter.path)
    for name in ("python3", packages.parent.name):
        (scripts / name).symlink_to("python")
    settings = {
        "home": interpreter.path.parent,
        "include-system-site-packages": "false",
        "version_info": interpreter.version,
        "relocatable": "true",  # uv's: the scripts of packages find their Python beside them
    }
    (directory / "pyvenv.cfg").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()), "utf-8")


async def _make_venv(directory: Path, interpreter: Interpreter) -> None:
    # Relocatable: the scripts in bin find their Python beside them, so that it can be made aside and renamed.
    # Made in its final place, one whose maker was killed would be in the way of the next maker, with an
    # orphaned uv perhaps still writing into it.
    flags: list[str | Path] = [
        "--no-project",
        "--relocatable",
        "--no-python-downloads",
        "--python",
        interpreter.path,
    ]
    _check(await run_uv(["venv", *flags], [directory]), directory)


def _mark(directory: Path, interpreter: Interpreter, identity: str) -> Marker:
    marker = Marker(
        key=content_key(identity, interpreter.path, interpreter.version),
        identity=identity,
        python_version=interpreter.version,
        interpreter=str(interpreter.path),
        created=time.time(),
    )
    marker.write(directory)
    return marker


async def kernel_imports(directory: Path, base: Path, python_version: str) -> bool:
    """Whether the kernel of ``base`` really can be imported in ``directory``, and is the one that belongs there."""
    try:
        if await in_thread(sources_hash, site_packages(base, python_version) / "kernel_bootstrap") != bootstrap_hash():
            return False
    except OSError:
        return False
    return await _imports(directory / "bin" / "python")


async def _imports(python: Path) -> bool:
    try:
        done = await run_process([python, "-I", "-c", _IMPORT], timeout=PROBE_TIMEOUT)
    except OSError:  # TimeoutError is one
        return False
    return done.ok


def packages_to_restore(place: Path) -> list[str]:
    """Pins of what the predecessor of ``place`` held: what lies there, else its like that was used last."""
    minor = place.name.partition("-")[0]
    others = [path for path in environments(place.parent) if path.name.partition("-")[0] == minor and path != place]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for directory in [place, *others]:
        if found := pins(site_packages(directory, minor.removeprefix("py"))):
            return found
        try:
            return (directory / RECORD_NAME).read_text("utf-8").splitlines()
        except OSError:
            continue
    return []


async def _install_kernel(directory: Path, uncached: bool) -> None:
    # --compile-bytecode would cost 1.5 s here: only a tenth of these files is ever imported by a kernel.
    args: list[str | Path] = ["pip", "install", "--python", directory / "bin" / "python"]
    if uncached:
        _check(await run_uv(args, [IPYKERNEL], env={"UV_NO_CACHE": "1"}), directory)
        return
    # uv's cache first: when it does, no network is asked; when it does not, that shows at once.
    done = await run_uv([*args, "--offline"], [IPYKERNEL])
    if not done.ok:
        done = await run_uv(args, [IPYKERNEL])
    _check(done, directory)


def _copy_bootstrap(packages: Path) -> None:
    for source in bootstrap_sources():
        target = packages / "kernel_bootstrap" / source
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(BOOTSTRAP / source, target)


async def _install_again(installer: UvInstaller, packages: Sequence[str], progress: Callable[[str], None]) -> None:
    progress(f"Installing again what was there ({len(packages)} packages)...")
    try:
        report = await installer.install(packages)
    except InstallError as error:
        progress(f"What was there could not be installed again: {error.message}")
        return
    for pin, reason in report.failed.items():
        progress(f"{pin} could not be installed again: {reason}")


def _check(done: Completed, directory: Path) -> None:
    if done.ok:
        return
    message = f"the virtualenv in {directory.parent} could not be made: {done.reason()}"
    if done.network_failed:
        message += ". The first virtualenv needs the network, or an index that uv is told of (UV_INDEX_URL)"
    elif (full := shutil.disk_usage(directory.parent).free < _NEARLY_FULL) or any(
        text in done.stderr for text in _DISK_TROUBLE
    ):
        # uv works in parallel, and may tell of what came of it instead.
        message += ". No space left on the disk" if full and "No space left" not in message else ""
        message += ". Another place can be chosen with PY_CODE_MODE_CACHE, uv's own cache with UV_CACHE_DIR"
    raise VenvError(message)
