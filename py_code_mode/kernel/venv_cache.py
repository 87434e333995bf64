"""The environments in the cache as a person sees them: the list, and cleaning up."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from py_code_mode.deps.locks import tried

from .venv_claims import discard_unused, in_use, sweep
from .venv_layout import BASE, MARKER, Marker, cache_root, environments, identity_name, lock_path, looks_usable


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedVenv:
    """One environment of the cache. An incomplete one has no version.

    ``is_base``: it holds the kernel's packages, for all workspaces with its Python. ``identity`` names the workspace
    otherwise; None where it is not known, and for a base.
    """

    path: Path
    is_base: bool
    identity: str | None
    python_version: str | None
    last_used: datetime
    complete: bool
    current: bool
    """False for one that no session of this version of py-code-mode would use again."""

    @property
    def in_use(self) -> bool:
        """Whether a live process uses it. Asked anew each time."""
        return in_use(self.path)

    @property
    def size(self) -> int:
        """Bytes of its files. Added up anew each time; many are shared with uv's cache by hard links."""
        total = 0
        for parent, _, names in os.walk(self.path):
            for name in names:
                with contextlib.suppress(OSError):
                    total += (Path(parent) / name).lstat().st_size
        return total


def cached_venvs(cache_dir: Path | None = None) -> list[CachedVenv]:
    """The environments in the cache, the last used first."""
    root = cache_root(cache_dir)
    found = [_describe(path) for folder in _folders(root) for path in environments(folder)]
    return sorted(found, key=lambda venv: venv.last_used, reverse=True)


def clean_venvs(
    older_than: float | None = None, everything: bool = False, cache_dir: Path | None = None
) -> list[CachedVenv]:
    """Remove environments that nobody uses, and return them.

    Always: the incomplete and those that no session would use again. ``older_than``: also those not used for
    so many days. ``everything``: all. One that a live process uses or makes is never removed.
    """
    root = cache_root(cache_dir)
    limit = None if older_than is None else datetime.now(UTC) - timedelta(days=older_than)
    removed = []
    for folder in _folders(root):
        with tried(lock_path(root, folder.name)) as locked:
            if not locked:
                continue
            sweep(folder)
            for path in environments(folder):
                venv = _describe(path)
                unwanted = everything or not venv.current or (limit is not None and venv.last_used < limit)
                if unwanted and discard_unused(path):
                    removed.append(venv)
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()
    return removed


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("*") if path.is_dir() and path.name != "locks")


def _describe(path: Path) -> CachedVenv:
    marker = Marker.read(path)
    try:
        used = (path / MARKER if marker else path).stat().st_mtime
    except OSError:
        used = time.time()
    complete = marker is not None and looks_usable(path, marker)
    return CachedVenv(
        path=path,
        is_base=path.parent.name == identity_name(BASE),
        identity=(marker.identity or None) if marker else None,
        python_version=marker.python_version if marker else None,
        last_used=datetime.fromtimestamp(used, UTC),
        complete=complete,
        current=complete and marker is not None and marker.is_current,
    )
