"""The dependencies of a workspace: what is configured, and what is installed."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from py_code_mode.errors import InstallError, RequirementError, RuntimeDepsDisabledError

from .installer import Installer, InstallReport
from .requirements import Problem, parse_runtime


class DependencyStore(Protocol):
    """Where the configured requirements are kept. The manager calls it in worker threads.

    All of it raises StorageError when the storage fails.
    """

    def read(self) -> list[str]:
        """The requirements in order, as they were written."""
        ...

    def problems(self) -> list[Problem]:
        """What is configured but cannot be installed from here: options, paths, what does not parse."""
        ...

    def add(self, requirement: str) -> None:
        """Configure ``requirement``, in place of an older one of the same package."""
        ...

    def remove(self, name: str) -> bool:
        """Drop what is configured for the package ``name``; False: nothing is."""
        ...


class DependencyManager:
    """Lists, adds and removes the packages of one session, and installs what is configured.

    ``extra`` are requirements beyond the configured ones. ``allow_runtime=False`` refuses ``add`` and
    ``remove`` with RuntimeDepsDisabledError. Calls that change something are made one after the other.
    A malformed extra requirement raises RequirementError.

    ``add``, ``remove`` and ``sync`` return dicts; the key ``errors`` ({requirement: reason}) is there only
    when something failed. They raise InstallError when the installer cannot run at all.
    """

    def __init__(
        self,
        store: DependencyStore,
        installer: Installer,
        *,
        extra: Sequence[str] = (),
        allow_runtime: bool = True,
    ) -> None:
        self._store = store
        self._installer = installer
        self._extra = tuple(_checked(text) for text in extra)
        self._allow_runtime = allow_runtime
        self._changing = asyncio.Lock()

    async def list(self) -> builtins.list[str]:
        """The configured requirements and the extra ones, as they were written, none twice."""
        return [*dict.fromkeys([*await asyncio.to_thread(self._store.read), *self._extra])]

    async def add(self, package: str) -> dict[str, Any]:
        """Install ``package`` and configure it. Returns ``installed``, ``already_present`` and ``failed``.

        What failed is not configured. Raises RequirementError for what is not accepted at run time.
        """
        self._check_runtime("add", package)
        parse_runtime(package)
        requirement = package.strip()
        async with self._changing:
            result = await self._install([requirement])
            if not result["failed"]:
                await asyncio.to_thread(self._store.add, requirement)
            return result

    async def remove(self, package: str) -> dict[str, Any]:
        """Uninstall ``package`` (a name, or a requirement of that name) and configure it no longer.

        Returns ``removed``, ``not_found``, ``failed`` (lists) and ``removed_from_config`` (a bool). What
        could not be uninstalled stays configured.
        """
        self._check_runtime("remove", package)
        name = str(canonicalize_name(parse_runtime(package).name))
        async with self._changing:
            report = await self._installer.uninstall([name])
            result: dict[str, Any] = {
                "removed": [package] if report.removed else [],
                "not_found": [package] if report.not_found else [],
                "failed": [package] if report.failed else [],
                "removed_from_config": False,
            }
            if report.failed:
                result["errors"] = {package: " ".join(report.failed.values())}
            else:
                result["removed_from_config"] = await asyncio.to_thread(self._store.remove, name)
            return result

    async def sync(self) -> dict[str, Any]:
        """Install everything configured and extra that is not there, in one call. Returns what ``add`` does.

        Configured lines that cannot be installed from here are among ``failed``, with file and line in
        ``errors``.
        """
        async with self._changing:
            result = await self._install(await self.list())
            problems = await asyncio.to_thread(self._store.problems)
            if problems:
                result["failed"] += [problem.text for problem in problems]
                errors = {problem.text: f"{problem.where}: {problem.reason}" for problem in problems}
                result["errors"] = result.get("errors", {}) | errors
            return result

    async def provide(self, requirements: Sequence[str], wanted_by: str) -> builtins.list[str]:
        """Install those of ``requirements`` that are not there, and configure nothing; returns these.

        ``wanted_by`` is what needs them, for errors: RuntimeDepsDisabledError where something is missing and may not
        be installed, InstallError where it cannot be.
        """
        if isinstance(requirements, str) or not isinstance(requirements, Sequence):
            raise RequirementError(f"requirements are a list of strings such as 'pandas>=2', not {requirements!r}")
        for text in requirements:
            parse_runtime(text)
        async with self._changing:
            there = await self._installer.installed()
            missing = [text for text in requirements if not _certainly_there(Requirement(text), there)]
            if not missing:
                return []
            told = ", ".join(missing)
            if not self._allow_runtime:
                raise RuntimeDepsDisabledError(
                    f"{wanted_by} needs {told}, and installing is off in this session (allow_runtime_deps=False); "
                    "add it to requirements.txt and call deps.sync()",
                    requirement=told,
                )
            result = await self._install(missing)
            if result["failed"]:
                reasons = "; ".join(f"{text}: {reason}" for text, reason in result["errors"].items())
                raise InstallError(f"{wanted_by} needs {told}, which cannot be installed: {reasons}", requirement=told)
            return missing

    def _check_runtime(self, what: str, package: str) -> None:
        if not self._allow_runtime:
            raise RuntimeDepsDisabledError(
                f"deps.{what} is off in this session (allow_runtime_deps=False); "
                "change requirements.txt and call deps.sync()",
                requirement=package,
            )

    async def _install(self, texts: Sequence[str]) -> dict[str, Any]:
        before = await self._installer.installed()
        wanted = [text for text in texts if not _certainly_there(Requirement(text), before)]
        report, after = InstallReport(), before
        if wanted:
            report = await self._installer.install(wanted)
            after = await self._installer.installed()
        installed = [text for text in report.installed if _changed(Requirement(text), before, after)]
        result: dict[str, Any] = {
            "installed": installed,
            "already_present": [t for t in texts if t not in installed and t not in report.failed],
            "failed": list(report.failed),
        }
        if report.failed:
            result["errors"] = dict(report.failed)
        return result


def _certainly_there(requirement: Requirement, installed: Mapping[str, str]) -> bool:
    # Whether a URL, an extra or a marker is satisfied only the installer can tell; it is quick when it is.
    if requirement.url or requirement.extras or requirement.marker:
        return False
    version = installed.get(canonicalize_name(requirement.name))
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _changed(requirement: Requirement, before: Mapping[str, str], after: Mapping[str, str]) -> bool:
    name = canonicalize_name(requirement.name)
    return before.get(name) != after.get(name) or (bool(requirement.extras) and before != after)


def _checked(text: str) -> str:
    try:
        Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise RequirementError(f"{text!r} in extra_deps is not a requirement: {reason}", requirement=text) from None
    return text
