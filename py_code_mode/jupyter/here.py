"""The four names in the notebook's own namespace, for code that stays in its kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from py_code_mode.deps.uvtool import find_uv
from py_code_mode.errors import CapabilityError, VenvError
from py_code_mode.executors.base import Capability, Host
from py_code_mode.executors.inprocess import InProcessConfig
from py_code_mode.host.memory import MemoryLink
from py_code_mode.inprocess.installer import BesideInstaller, SearchPath, packages_directory
from py_code_mode.inprocess.names import four_names
from py_code_mode.results import ExecutionResult, Listener

_ABSENT = object()


class HereExecutor:
    """Runs nothing: the code of this session is the notebook's own, which finds ``names`` in its namespace.

    Packages are installed as for ``InProcessExecutor``: beside the environment of this process, behind its own.
    """

    def __init__(self, tools: Path | None = None) -> None:
        self.config = InProcessConfig(tools_path=tools, timeout=None)
        self.names: dict[str, Any] = {}
        self._link: MemoryLink | None = None
        self._packages: Path | None = None

    @property
    def capabilities(self) -> frozenset[Capability]:
        """``deps_install`` where uv is there."""
        try:
            find_uv()
        except VenvError:
            return frozenset()
        return frozenset({Capability.DEPS_INSTALL})

    async def start(self, host: Host) -> None:
        """Make the names."""
        packages = packages_directory(host.identity)
        handlers = await host.handlers(BesideInstaller(packages))
        self._link = MemoryLink(host.engine.loop, handlers, lambda: None)
        self.names = four_names(self._link)
        SearchPath.add(packages)
        self._packages = packages

    async def execute(self, code: str, timeout: float | None, listener: Listener | None) -> ExecutionResult:
        """Raises CapabilityError."""
        raise CapabilityError("code runs in the notebook itself here; %code_mode DIR opens a session that runs cells")

    def interrupt(self) -> None:
        """Nothing: an interrupt of the notebook's kernel ends its requests as well."""

    async def reset(self) -> None:
        """Raises CapabilityError."""
        raise CapabilityError("the variables are the notebook's own; %reset clears them")

    async def close(self) -> None:
        """End what the names still ask for; they raise LinkError from now on."""
        if self._link is not None:
            await self._link.close()
        if self._packages is not None:
            SearchPath.remove(self._packages)


class Placed:
    """Names that were put into a namespace; what they replaced is kept for ``remove``."""

    def __init__(self, namespace: dict[str, Any], names: dict[str, Any]) -> None:
        self._namespace = namespace
        self._names = names
        self._before = {name: namespace.get(name, _ABSENT) for name in names}
        namespace.update(names)

    @property
    def replaced(self) -> list[str]:
        """The names that meant something else before."""
        return [name for name, value in self._before.items() if value is not _ABSENT]

    def remove(self) -> None:
        """Put back what was there before, except where the user has assigned something since."""
        for name, value in self._names.items():
            if self._namespace.get(name, _ABSENT) is not value:
                continue
            if self._before[name] is _ABSENT:
                del self._namespace[name]
            else:
                self._namespace[name] = self._before[name]
