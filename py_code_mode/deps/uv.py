"""The ``Installer`` that uv does the work of: into a workspace's virtualenv, or into a directory."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from py_code_mode.errors import InstallError, VenvError

from .base import COMPATIBLE_VERSIONS, IPYKERNEL, LOCK_NAME, SAME_VERSIONS
from .distributions import installed_versions, pins, requirements_of
from .installer import InstallReport, UninstallReport
from .locks import held, in_thread
from .uvtool import UV_TIMEOUT, Completed, run_uv

RECORD_NAME = "py-code-mode-installed.txt"
"""In a virtualenv: pins of what is installed, written after each change, for when site-packages is lost."""


_RESERVED = "kernel-bootstrap"
_NAME = re.compile(r"[\w.-]+")


class UvInstaller:
    """An ``Installer`` for the virtualenv whose interpreter is ``python``, or for a directory.

    Installs and uninstalls hold a lock between processes. ``base`` is the virtualenv below it, with the kernel's
    packages: the same versions are taken where that can be, and none that the kernel does not run with. ``uncached``
    downloads everything, for when the files in uv's cache are broken.
    """

    def __init__(self, python: Path, site_packages: Path, base: Path | None = None, *, uncached: bool = False) -> None:
        self._where: list[str | Path] = ["--python", python]
        self._site_packages = site_packages
        self._home = python.parent.parent
        self._env = {"UV_NO_CACHE": "1"} if uncached else None
        self._constraints = [] if base is None else [base / SAME_VERSIONS, base / COMPATIBLE_VERSIONS]

    @classmethod
    def for_target(cls, python: Path, directory: Path) -> UvInstaller:
        """An installer into ``directory`` (made when it is missing), for code that ``python`` runs.

        The environment of ``python`` itself is never changed.
        """
        self = cls(python, directory)
        self._where = ["--python", python, "--target", directory]
        self._home = directory
        return self

    async def installed(self) -> dict[str, str]:
        """See ``Installer.installed``."""
        return await in_thread(installed_versions, self._site_packages)

    async def install(self, requirements: Sequence[str]) -> InstallReport:
        """See ``Installer.install``."""
        report = InstallReport()
        wanted: list[str] = []
        for text in dict.fromkeys(requirements):
            if refusal := _refusal(text):
                report.failed[text] = refusal
            else:
                wanted.append(text)
        if wanted:
            async with self._changing():
                await self._install(wanted, report)
        return report

    async def uninstall(self, names: Sequence[str]) -> UninstallReport:
        """See ``Installer.uninstall``."""
        report = UninstallReport()
        async with self._changing():
            await self._uninstall(list(dict.fromkeys(names)), report)
        return report

    async def _install(self, wanted: list[str], report: InstallReport) -> None:
        done = await self._pip_install(wanted, offline=False)
        if offline := done.network_failed:
            # uv asks the index even for what its cache has; without a network the cache may still do.
            done = await self._pip_install(wanted, offline=True)
        if done.ok:
            report.installed.extend(wanted)
        elif len(wanted) == 1:
            report.failed[wanted[0]] = self._reason(done, offline)
        else:
            await self._install_one_by_one(wanted, report, offline)

    async def _install_one_by_one(self, wanted: list[str], report: InstallReport, offline: bool) -> None:
        for text in wanted:
            # With the accepted ones, not quite alone: else the second of a conflicting pair breaks the first.
            done = await self._pip_install([*report.installed, text], offline=offline)
            if done.ok:
                report.installed.append(text)
            else:
                report.failed[text] = self._reason(done, offline)

    async def _pip_install(self, packages: list[str], *, offline: bool) -> Completed:
        flags = ["--offline"] if offline else []
        # First as if the base could not be changed: what is then installed beside it cannot disagree with it.
        limits: list[list[str | Path]] = [["--constraints", path] for path in self._constraints]
        for limit in limits or [[]]:
            done = await run_uv(["pip", "install", *flags, *limit, *self._where], packages, env=self._env)
            if "No solution found" not in done.stderr:
                break
        return done

    def _reason(self, done: Completed, offline: bool) -> str:
        prefix = "the network cannot be reached, and uv's cache does not do: " if offline else ""
        reason = done.reason()
        # uv tells these like wishes of the user's, for whom they come out of nowhere.
        needed = [line for path in self._constraints[1:] for line in path.read_text("utf-8").splitlines()]
        needed = [line for line in needed if line in reason and not _NAME.fullmatch(line)]
        suffix = f" (the kernel itself needs {' and '.join(needed)})" if needed else ""
        return f"{prefix}{reason}{suffix}"

    async def _uninstall(self, names: list[str], report: UninstallReport) -> None:
        there = await in_thread(installed_versions, self._site_packages)
        removable = [name for name in names if str(canonicalize_name(name)) in there]
        report.not_found.extend(name for name in names if name not in removable)
        if not removable:
            return
        done = await run_uv(["pip", "uninstall", *self._where], [str(canonicalize_name(n)) for n in removable])
        if done.ok:
            report.removed.extend(removable)
        else:
            report.failed.update(dict.fromkeys(removable, done.reason()))

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[None]:
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            async with held(self._home / LOCK_NAME, timeout=UV_TIMEOUT):
                yield
                if self._constraints:
                    await in_thread(write_record, self._home, self._site_packages)
        except VenvError as error:
            raise InstallError(error.message) from error
        except OSError as error:
            raise InstallError(f"packages cannot be changed in {self._home}: {error}") from error


def write_record(home: Path, site_packages: Path) -> None:
    """Write the pins of what is in ``site_packages`` beside it. Raises OSError."""
    temporary = home / f"{RECORD_NAME}.new"
    _write_lines(temporary, pins(site_packages))
    temporary.replace(home / RECORD_NAME)


def write_constraints(base: Path, site_packages: Path) -> None:
    """Write what the packages in ``site_packages`` of ``base`` are and need. Raises OSError."""
    versions = installed_versions(site_packages)
    _write_lines(base / SAME_VERSIONS, [f"{name}=={version}" for name, version in sorted(versions.items())])
    _write_lines(base / COMPATIBLE_VERSIONS, [IPYKERNEL, *requirements_of(site_packages)])


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def _refusal(text: str) -> str | None:
    try:
        name = Requirement(text).name
    except InvalidRequirement as error:
        return f"not a PEP 508 requirement: {str(error).splitlines()[0]}"
    if canonicalize_name(name) == _RESERVED:
        return "the name kernel_bootstrap belongs to py-code-mode's part of the kernel"
    return None
