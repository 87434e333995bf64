"""What a kernel is started with: its virtualenv, directory, environment, limits and owner."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .venv import Venv

_FOREIGN = ("PYTHON", "JPY_", "JUPYTER_", "IPYTHON", "PYTEST_", "UV_", "VIRTUAL_ENV", "CONDA_PREFIX")
"""Beginnings of variables that describe the host's Python, not the kernel's."""

_LOCALE = (
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LC_COLLATE",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NUMERIC",
    "LC_TIME",
)
_SYSTEM = ("HOME", "LD_LIBRARY_PATH", "LD_PRELOAD", "GLIBC_TUNABLES", "MALLOC_ARENA_MAX")
_AT_START = frozenset((*_LOCALE, *_SYSTEM, "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"))
"""Variables of the host that a program, or a preloaded package, reads once, when it starts. None is a secret."""

_READ_AT_START = ("PYTHON", "LD_", "LC_", "LANG", "MALLOC_", "GLIBC_", "OPENBLAS_", "OMP_", "MKL_")
"""Beginnings of such variables, where a session asks for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a kernel is started with. ``owner`` marks every process of its session.

    ``fork`` allows a fork server, which has imported the modules ``preload`` and keeps ``spares`` kernels ready.
    ``debug`` gives the kernel JupyterLab's debugger, which a forked one cannot have.
    """

    venv: Venv
    cwd: Path
    owner: str
    env: Mapping[str, str] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    fork: bool = True
    spares: int = 0
    preload: tuple[str, ...] = ()
    debug: bool = False

    def command(self, connection_file: Path) -> list[str]:
        """What starts the kernel of ``connection_file`` from scratch."""
        # The debugger cannot see into modules that are frozen into the interpreter, and says so at every start.
        options = ["-Xfrozen_modules=off"] if self.debug else []
        flags = ["--debug"] if self.debug else []
        return [str(self.venv.python), *options, "-P", "-m", "kernel_bootstrap", str(connection_file), *flags]

    def environment(self, directory: Path) -> dict[str, str]:
        """All variables of the kernel whose private directory is ``directory``."""
        env = self._inherited()
        env["VIRTUAL_ENV"] = str(self.venv.path)
        # The programs of the base as well: ``!ipython``, ``!jupyter``.
        programs = (str(self.venv.python.parent), str(self.venv.base / "bin"))
        env["PATH"] = os.pathsep.join((*programs, env.get("PATH", os.defpath)))
        env |= private_variables(directory)
        # Beside the venv, not in the session's directory: matplotlib takes seconds to make its font cache anew.
        env["MPLCONFIGDIR"] = str(self.venv.path / "matplotlib")
        env |= self.env
        return env

    def at_start(self) -> dict[str, str]:
        """The variables that have to be there when a fork server starts."""
        inherited = {name: value for name, value in os.environ.items() if name in _AT_START}
        return inherited | {name: value for name, value in self.env.items() if name.startswith(_READ_AT_START)}

    def identity(self, directory: Path, mark: str) -> dict[str, Any]:
        """What makes a forked kernel that of this launch: see ``kernel_bootstrap.identity``.

        ``mark`` is its owner as it stands in the environment.
        """
        numbers = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
        return {
            "cwd": str(self.cwd),
            "env": self.environment(directory),
            "owner": mark,
            "prefix": str(self.venv.path),
            "packages": str(self.venv.site_packages()),
            "limits": {number: resource.getrlimit(number) for number in numbers},
        }

    def _inherited(self) -> dict[str, str]:
        return {
            name: value
            for name, value in os.environ.items()
            if name not in self.hidden and not name.startswith(_FOREIGN)
        }


def private_variables(directory: Path) -> dict[str, str]:
    """Variables that keep a kernel's files in its own ``directory``."""
    return {"IPYTHONDIR": str(directory / "ipython"), "JUPYTER_RUNTIME_DIR": str(directory)}
