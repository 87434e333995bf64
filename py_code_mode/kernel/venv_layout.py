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
from py_code_mode.deps.uv import IPYKERNEL

FORMAT = 2
"""Raised when environments made earlier cannot be used any more."""

MARKER = "py-code-mode.json"

BASE = ""
"""The identity of the environment that holds the kernel's packages."""

POINTER = "py-code-mode-base.pth"
"""In the packages of a workspace: where those of its base are. Python puts them behind its own."""

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
    """The files of kernel_bootstrap that an environment gets a copy of."""
    package = Path(kernel_bootstrap.__file__).parent
    return sorted(path for path in package.rglob("*") if path.suffix == ".py" or path.name == "py.typed")


_hashes: dict[tuple[tuple[str, int, int], ...], str] = {}


def bootstrap_hash() -> str:
    """The hash of kernel_bootstrap's sources, read again only when one of them changed."""
    sources = bootstrap_sources()
    stats = [(path, path.stat()) for path in sources]
    seen = tuple((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in stats)
    if seen not in _hashes:
        _hashes.clear()
        _hashes[seen] = sources_hash(sources, Path(kernel_bootstrap.__file__).parent)
    return _hashes[seen]


def sources_hash(sources: list[Path], base: Path) -> str:
    """The hash of names (relative to ``base``) and contents of ``sources``. Raises OSError."""
    content = [[str(path.relative_to(base)), _digest(path.read_bytes(), 16)] for path in sources]
    return _digest(json.dumps(content).encode(), 16)


def site_packages(directory: Path, python_version: str) -> Path:
    """The site-packages of the environment in ``directory``."""
    minor = ".".join(python_version.split(".")[:2])
    return directory / "lib" / f"python{minor}" / "site-packages"


def looks_usable(directory: Path, marker: Marker) -> bool:
    """The checks that cost nothing: the interpreter runs, the kernel's packages are there or pointed to."""
    packages = site_packages(directory, marker.python_version)
    needed = ["ipykernel/__init__.py", "kernel_bootstrap/__init__.py"] if marker.identity == BASE else [POINTER]
    return os.access(directory / "bin" / "python", os.X_OK) and all((packages / name).is_file() for name in needed)


def environments(folder: Path) -> list[Path]:
    """The environments in ``folder``, complete or not, newest Python first."""
    found = [path for path in folder.glob("py3.*-*") if path.is_dir()]
    return sorted(found, key=lambda path: -int(path.name[4:].partition("-")[0] or 0))


def _digest(data: bytes, size: int) -> str:
    return hashlib.blake2b(data, digest_size=size).hexdigest()
