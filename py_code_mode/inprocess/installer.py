"""Packages for in-process sessions: in a directory of the workspace, behind this process's own packages."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from py_code_mode.deps.installer import InstallReport, UninstallReport
from py_code_mode.deps.uv import UvInstaller
from py_code_mode.kernel.venv_layout import cache_root, identity_name


def packages_directory(identity: str) -> Path:
    """Where the packages of the workspace ``identity`` are: in the cache, beside the virtualenvs."""
    version = f"py{sys.version_info.major}.{sys.version_info.minor}"
    return cache_root(None).parent / "inprocess" / identity_name(identity) / version


class BesideInstaller:
    """The ``Installer`` into ``directory``, where this process looks after its own environment.

    That environment is never changed and comes first: where it has a package in a version that does not
    satisfy a requirement, that cannot be installed here.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._uv = UvInstaller.for_target(Path(sys.executable), directory)

    async def installed(self) -> dict[str, str]:
        """See ``Installer``."""
        return {**await self._uv.installed(), **await asyncio.to_thread(_own, self._directory)}

    async def install(self, requirements: Sequence[str]) -> InstallReport:
        """See ``Installer``."""
        own = await asyncio.to_thread(_own, self._directory)
        hidden = {text: reason for text in requirements if (reason := _hidden(text, own))}
        report = await self._uv.install([text for text in requirements if text not in hidden])
        report.failed.update(hidden)
        importlib.invalidate_caches()
        return report

    async def uninstall(self, names: Sequence[str]) -> UninstallReport:
        """See ``Installer``."""
        own = await asyncio.to_thread(_own, self._directory)
        kept = [name for name in names if canonicalize_name(name) in own]
        report = await self._uv.uninstall([name for name in names if name not in kept])
        for name in kept:
            report.failed[name] = f"{name} belongs to the environment of this process, which is never changed"
        importlib.invalidate_caches()
        return report


class SearchPath:
    """Directories at the end of ``sys.path``, each there as long as a session uses it."""

    _users: ClassVar[dict[str, int]] = {}

    @classmethod
    def add(cls, directory: Path) -> None:
        """A session opens; called on the engine's loop."""
        name = str(directory)
        cls._users[name] = cls._users.get(name, 0) + 1
        if name not in sys.path:
            sys.path.append(name)

    @classmethod
    def remove(cls, directory: Path) -> None:
        """A session has closed; called on the engine's loop."""
        name = str(directory)
        cls._users[name] -= 1
        if not cls._users[name]:
            del cls._users[name]
            sys.path[:] = [entry for entry in sys.path if entry != name]


def _own(directory: Path) -> dict[str, str]:
    """The versions of what this process has without ``directory``, by canonical name."""
    path = [entry for entry in sys.path if entry != str(directory)]
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions(path=path):
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(str(canonicalize_name(name)), distribution.version)
    return found


def _hidden(text: str, own: dict[str, str]) -> str | None:
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return None  # the installer says why
    version = own.get(str(canonicalize_name(requirement.name)))
    if version is None or requirement.specifier.contains(version, prereleases=True):
        return None
    return (
        f"this process has {requirement.name} {version} in its own environment, which comes first and is "
        "never changed: use the kernel executor, which has an environment of its own"
    )
