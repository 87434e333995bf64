"""The layout of the cache of virtualenvs, and what an environment says of itself.

    <cache>/locks/<identity>.lock              held while an environment of that workspace is made or removed
    <cache>/base/py3.12-<key>/                 the kernel's packages, for all workspaces with this Python
    <cache>/<identity>/py3.12-<key>/           the packages of one workspace, over a base; complete with its marker
    <cache>/<identity>/.build-*, .trash-*      being made, being removed; left behind only by a killed process

The marker is written last and before the rename into place, so an environment appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import kernel_bootstrap
from py_code_mode.deps.base import COMPATIBLE_VERSIONS, IPYKERNEL, SAME_VERSIONS

FORMAT = 2
"""Raised when environments made earlier cannot be used any more."""

MARKER = "py-code-mode.json"

BASE = ""
"""The identity of the environment that holds the kernel's packages. No workspace has an empty one."""

POINTER = "py-code-mode-base.pth"
"""In the packages of a workspace: where those of its base are. Python puts them behind its own."""

BOOTSTRAP = Path(kernel_bootstrap.__file__).parent
"""The package that the kernel side of environments is copied from."""

BUILDING = ".build-"
TRASH = ".trash-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """What an environment says of itself. ``created`` is in seconds since the epoch."""

    key: str
    identity: str
    python_version: str
    interpreter: str
    created: float

    @property
    def is_current(self) -> bool:
        """Whether it would be made the same today, from an interpreter that is still there."""
        key = content_key(self.identity, Path(self.interpreter), self.python_version)
        return key == self.key and os.access(self.interpreter, os.X_OK)

    def write(self, directory: Path) -> None:
        """Write it into ``directory``, which is complete from then on."""
        temporary = directory / f"{MARKER}.new"
        temporary.write_text(json.dumps(asdict(self), indent=1), "utf-8")
        temporary.replace(directory / MARKER)

    @classmethod
    def read(cls, directory: Path) -> Marker | None:
        """The marker in ``directory``; None when there is none, or none of this format."""
        try:
            return cls.parse((directory / MARKER).read_bytes())
        except OSError:
            return None

    @classmethod
    def parse(cls, data: bytes) -> Marker | None:
        """The marker in ``data``, or None."""
        try:
            return cls(**json.loads(data))
        except (ValueError, TypeError):
            return None


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


def cache_root(cache_dir: Path | None) -> Path:
    """The directory of the cache: ``cache_dir``, else in PY_CODE_MODE_CACHE, else in the user's cache."""
    if cache_dir is None:
        if chosen := os.environ.get("PY_CODE_MODE_CACHE"):
            cache_dir = Path(chosen) / "venvs"
        else:
            import platformdirs

            cache_dir = platformdirs.user_cache_path("py-code-mode") / "venvs"
    # Absolute, because uv runs in a directory of its own.
    return cache_dir.expanduser().absolute()


def identity_name(identity: str) -> str:
    """The folder name of the workspace ``identity``."""
    return "base" if identity == BASE else _digest(identity.encode("utf-8", "surrogatepass"), 6)


def content_key(identity: str, interpreter: Path, python_version: str) -> str:
    """The hash of everything that an environment is made of, and whom it is for."""
    parts = [FORMAT, IPYKERNEL, bootstrap_hash(), str(interpreter), python_version, identity]
    return _digest(json.dumps(parts).encode(), 8)


def place(root: Path, identity: str, interpreter: Path, python_version: str) -> Path:
    """Where the environment of ``identity`` on that interpreter lies."""
    minor = ".".join(python_version.split(".")[:2])
    key = content_key(identity, interpreter, python_version)
    return root / identity_name(identity) / f"py{minor}-{key}"


def lock_path(root: Path, folder: str) -> Path:
    """The lock of the environments in ``folder``. Locks are never removed: that would split waiters."""
    return root / "locks" / f"{folder}.lock"


def bootstrap_sources() -> list[Path]:
    """The files of kernel_bootstrap that an environment gets a copy of, relative to the package."""
    return [Path(name) for name, _, _ in _bootstrap_stats(BOOTSTRAP)]


_known_hash: tuple[list[tuple[str, int, int]], str] = ([], "")


def bootstrap_hash() -> str:
    """The hash of kernel_bootstrap's sources, read again only when one of them changed."""
    global _known_hash
    seen = _bootstrap_stats(BOOTSTRAP)
    if seen != _known_hash[0]:
        _known_hash = seen, sources_hash(BOOTSTRAP)
    return _known_hash[1]


def sources_hash(package: Path) -> str:
    """The hash of what makes up kernel_bootstrap, in the copy that ``package`` is. Raises OSError."""
    found = hashlib.blake2b(digest_size=16)
    for name in bootstrap_sources():
        content = (package / name).read_bytes()
        found.update(f"{name}\0{len(content)}\0".encode())
        found.update(content)
    return found.hexdigest()


def _bootstrap_stats(folder: Path | str, prefix: str = "") -> list[tuple[str, int, int]]:
    """Name, time of the last change and size of each source in ``folder``, sorted."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".py") or entry.name == "py.typed":
                stat = entry.stat()
                found.append((prefix + entry.name, stat.st_mtime_ns, stat.st_size))
            elif entry.is_dir() and entry.name != "__pycache__":
                found += _bootstrap_stats(entry.path, f"{prefix}{entry.name}/")
    return sorted(found)


def site_packages(directory: Path, python_version: str) -> Path:
    """The site-packages of the environment in ``directory``."""
    minor = ".".join(python_version.split(".")[:2])
    return directory / "lib" / f"python{minor}" / "site-packages"


def path_between(start: Path, end: Path) -> str:
    """The relative path of ``end`` from the directory ``start``, by their names alone: the cache can be moved."""
    return os.path.relpath(end, start)


def looks_usable(directory: Path, marker: Marker) -> bool:
    """The checks that cost nothing: the interpreter runs, the kernel's packages are there or pointed to."""
    packages = site_packages(directory, marker.python_version)
    needed = [directory / "pyvenv.cfg"]
    if marker.identity == BASE:
        needed += [directory / name for name in (SAME_VERSIONS, COMPATIBLE_VERSIONS)]
        needed += [packages / name / "__init__.py" for name in ("ipykernel", "kernel_bootstrap")]
    else:
        needed.append(packages / POINTER)
    return os.access(directory / "bin" / "python", os.X_OK) and all(path.is_file() for path in needed)


def environments(folder: Path) -> list[Path]:
    """The environments in ``folder``, complete or not, newest Python first."""
    found = [path for path in folder.glob("py3.*-*") if path.is_dir()]
    return sorted(found, key=lambda path: -int(path.name[4:].partition("-")[0] or 0))


def _digest(data: bytes, size: int) -> str:
    return hashlib.blake2b(data, digest_size=size).hexdigest()
