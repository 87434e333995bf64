"""Finding the Python that a virtualenv is made with, without ever downloading one."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from py_code_mode.deps.uvtool import run_process
from py_code_mode.errors import PythonNotFoundError, VenvError

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

MINIMUM = (3, 11)
"""The oldest Python that kernels run on."""

PROBE_TIMEOUT = 10.0
"""Seconds for a candidate to print its version; a broken shim can hang."""

_PROBE = (
    "import os, sys; v = sys.version_info; "
    "print(*v[:3], sep='.'); print(v.releaselevel); "
    "print(os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable))"
)
_NAME = re.compile(r"python3\.(\d+)")
_PLAIN = re.compile(r"\d+(\.\d+){0,2}")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that is installed: its real executable and its version, such as "3.12.1"."""

    path: Path
    version: str


@dataclass(frozen=True, slots=True)
class PythonRequest:
    """Which Python versions are wanted. ``text`` is how that was asked for."""

    text: str
    versions: SpecifierSet

    def accepts(self, version: str) -> bool:
        """Whether ``version`` is one of them, and recent enough for a kernel."""
        from packaging.version import Version  # 10 ms that most sessions do not need

        release = Version(version)
        return release.release[:2] >= MINIMUM and self.versions.contains(release, prereleases=True)


def parse_request(text: str | None) -> PythonRequest | None:
    """What ``python_version`` asks for; None (the running Python) for None. Raises VenvError."""
    if text is None:
        return None
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    expected = 'expected a version such as "3.12" or "3.12.1", or a specifier such as ">=3.12"'
    if not isinstance(text, str):
        raise VenvError(f"python_version is {text!r}, a {type(text).__name__}; {expected}")
    stripped = text.strip()
    if not _PLAIN.fullmatch(stripped):
        try:
            versions = SpecifierSet(stripped)
        except InvalidSpecifier:
            versions = SpecifierSet()
        if not versions:
            raise VenvError(f"python_version {text!r} is malformed; {expected}")
        return PythonRequest(stripped, versions)
    parts = tuple(int(part) for part in stripped.split("."))
    if parts < MINIMUM[: len(parts)]:
        raise VenvError(f"python_version {text!r} is too old: kernels need Python 3.11 or newer")
    return PythonRequest(stripped, SpecifierSet(f"=={stripped}" if len(parts) == 3 else f"=={stripped}.*"))


def running_interpreter() -> Interpreter | None:
    """The Python of this process, outside of any virtualenv; None where it has no executable of its own."""
    path = Path(getattr(sys, "_base_executable", None) or sys.executable or "/nonexistent").resolve()
    if not os.access(path, os.X_OK) or not path.is_file():
        return None
    return Interpreter(path, ".".join(map(str, sys.version_info[:3])))


def like_running() -> PythonRequest:
    """What None asks for where the running Python cannot be used itself: one like it."""
    from packaging.specifiers import SpecifierSet

    minor = f"3.{sys.version_info[1]}"
    return PythonRequest(minor, SpecifierSet(f"=={minor}.*"))


async def find_interpreter(request: PythonRequest | None, preferred: Iterable[Path] = ()) -> Interpreter:
    """An installed Python that ``request`` accepts: the running one if it does, else the newest found.

    Those of ``preferred`` that work come before the newest. Raises PythonNotFoundError.
    """
    running = running_interpreter()
    if running is not None and (request is None or request.accepts(running.version)):
        return running
    request = request or like_running()
    for candidate in dict.fromkeys(preferred):
        found = await _probe(candidate)
        if found is not None and request.accepts(found.version):
            return found
    others: list[Path] = []
    for minor, candidate in _candidates():
        if not _may_accept(request, minor):
            others.append(candidate)
            continue
        found = await _probe(candidate)
        if found is not None and request.accepts(found.version):
            return found
        others.append(candidate)
    raise PythonNotFoundError(await _explain(request, running, others))


def _candidates() -> Iterator[tuple[int, Path]]:
    """Executables named python3.N with their N: newest first, then in the order of the directories."""
    found: dict[Path, int] = {}
    for directory in _directories():
        try:
            names = [entry.name for entry in os.scandir(directory)]
        except OSError:
            continue
        for name in names:
            if match := _NAME.fullmatch(name):
                found.setdefault(directory / name, int(match[1]))
    # sorted is stable, so the directories keep their order.
    for path, minor in sorted(found.items(), key=lambda item: -item[1]):
        if os.access(path, os.X_OK):
            yield minor, path


def _directories() -> Iterator[Path]:
    yield from (Path(part) for part in os.environ.get("PATH", "").split(os.pathsep) if part.startswith("/"))
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from _newest_first(pyenv / "versions", "*/bin")
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    managed = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    yield from _newest_first(managed, "cpython-*/bin")
    yield from (Path("/usr/local/bin"), Path("/usr/bin"))
    yield from _newest_first(Path("/opt"), "*/bin")


def _newest_first(directory: Path, pattern: str) -> list[Path]:
    def numbers(path: Path) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", path.parent.name)]

    return sorted(directory.glob(pattern), key=numbers, reverse=True)


def _may_accept(request: PythonRequest, minor: int) -> bool:
    return any(request.accepts(f"3.{minor}.{patch}") for patch in range(50))


async def _probe(candidate: Path) -> Interpreter | None:
    """What ``candidate`` really is; None when it does not run (a shim of nothing) or is no final release."""
    try:
        # -I: neither the directory nor the user's site-packages can change what it prints.
        done = await run_process([candidate, "-I", "-c", _PROBE], timeout=PROBE_TIMEOUT)
    except (OSError, TimeoutError):
        return None
    lines = done.stdout.splitlines()
    if not done.ok or len(lines) != 3 or lines[1] != "final":
        return None
    return Interpreter(Path(lines[2]), lines[0])


async def _explain(request: PythonRequest, running: Interpreter | None, candidates: list[Path]) -> str:
    from packaging.version import Version

    probed = await asyncio.gather(*(_probe(path) for path in candidates))
    found = {item.version: item.path for item in [*probed, running] if item is not None}
    usable = sorted((v for v in found if Version(v).release[:2] >= MINIMUM), key=Version)
    listing = ", ".join(f"{version} ({found[version]})" for version in usable) or "none that kernels run on"
    wanted = request.text if _PLAIN.fullmatch(request.text) else "3.12"
    advice = f"install one, for instance with `uv python install {wanted}`"
    if usable:
        advice += f", ask for one that is there (python_version={usable[-1].rpartition('.')[0]!r})"
    return (
        f"no Python {request.text} is installed (kernels need 3.11 or newer). Looked at the running Python, "
        f"PATH, pyenv, uv's own, /usr/local/bin, /usr/bin and /opt; found: {listing}. To go on, {advice}, "
        f"or leave python_version out to use the Python that runs this program"
    )
