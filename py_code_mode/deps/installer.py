"""The ``Installer`` seam: what changes the packages of a workspace's environment, and its in-memory twin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


@dataclass(frozen=True, slots=True)
class InstallReport:
    """What ``Installer.install`` did. Every requirement that was passed is in exactly one of the two.

    ``installed`` holds requirements as they were given, ``failed`` the others with the reason of each.
    """

    installed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UninstallReport:
    """What ``Installer.uninstall`` did. Every name that was passed is in exactly one of the three."""

    removed: list[str] = field(default_factory=list)
    not_found: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


class Installer(Protocol):
    """Changes the packages of one environment. The dependency manager calls it, one call at a time.

    A requirement is PEP 508 text; one that came from requirements.txt may have a direct URL or a marker.
    """

    async def installed(self) -> dict[str, str]:
        """The versions of what is installed, by canonical name (PEP 503)."""
        ...

    async def install(self, requirements: Sequence[str]) -> InstallReport:
        """Install all in one call, so that their versions are chosen together.

        If that fails, each is tried alone to find the guilty. Raises InstallError when the installer itself
        cannot run; a requirement that cannot be had is a failure in the report.
        """
        ...

    async def uninstall(self, names: Sequence[str]) -> UninstallReport:
        """Uninstall the distributions ``names``. Raises InstallError when the installer itself cannot run."""
        ...


class MemoryInstaller:
    """An ``Installer`` that keeps the packages of its environment in a dict.

    ``available`` has the versions that can be installed, by package name; None: any package, in a
    version that the requirement names, else 1.0. ``packages`` has those that are there from the start.
    ``calls`` records the arguments of each ``install``.
    """

    def __init__(
        self,
        available: Mapping[str, Iterable[str]] | None = None,
        packages: Mapping[str, str] | None = None,
    ) -> None:
        self._available = (
            None if available is None else {canonicalize_name(name): list(v) for name, v in available.items()}
        )
        self._packages = {str(canonicalize_name(name)): v for name, v in (packages or {}).items()}
        self.calls: list[tuple[str, ...]] = []

    async def installed(self) -> dict[str, str]:
        """See ``Installer.installed``."""
        return dict(self._packages)

    async def install(self, requirements: Sequence[str]) -> InstallReport:
        """See ``Installer.install``."""
        self.calls.append(tuple(requirements))
        report = InstallReport()
        for text in requirements:
            requirement = Requirement(text)
            if requirement.marker is not None and not requirement.marker.evaluate():
                report.installed.append(text)
                continue
            version = self._choose(requirement)
            if version is None:
                report.failed[text] = f"no version of {requirement.name} fits {text!r}"
            else:
                self._packages[str(canonicalize_name(requirement.name))] = version
                report.installed.append(text)
        return report

    async def uninstall(self, names: Sequence[str]) -> UninstallReport:
        """See ``Installer.uninstall``."""
        report = UninstallReport()
        for name in names:
            there = self._packages.pop(str(canonicalize_name(name)), None)
            (report.not_found if there is None else report.removed).append(name)
        return report

    def _choose(self, requirement: Requirement) -> str | None:
        if self._available is None:
            named = [part.version for part in requirement.specifier]
            return next((v for v in [*named, "1.0"] if requirement.specifier.contains(v)), None)
        versions = self._available.get(canonicalize_name(requirement.name), [])
        return max(requirement.specifier.filter(versions), key=Version, default=None)
