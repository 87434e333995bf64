"""What the groups work with: folders, one virtualenv for both sides, sessions and stock kernels."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

from py_code_mode.kernel.venv import Venv, VenvSpec, ensure_venv, release_venv
from py_code_mode.kernel.venv_layout import site_packages
from py_code_mode.session import Session
from tests.sessions import IDENTITY, open_session

from .stock import StockKernel

Watch = Callable[[int], Coroutine[Any, Any, None]]


class Bench:
    """Makes sessions and stock kernels, and ends them all with its ``async with``, however that is left.

    The virtualenv is made when it is first asked for, in PY_CODE_MODE_CACHE if that is set, else in a cache
    that is removed at the end. ``quick`` asks for fewer samples.
    """

    def __init__(self, *, quick: bool = False) -> None:
        self.quick = quick
        self._stack = AsyncExitStack()
        self._numbers = itertools.count(1)
        self._venv: Venv | None = None

    async def __aenter__(self) -> Self:
        folder = tempfile.TemporaryDirectory(prefix="code-mode-bench-", ignore_cleanup_errors=True)
        self._root = Path(self._stack.enter_context(folder)).resolve()
        os.environ.setdefault("PY_CODE_MODE_CACHE", str(self._root / "cache"))
        # Installed packages are compiled: on both sides the rounds that warm up leave them so.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        # Stock kernels keep connection files and a history; the user's own directories are not touched.
        os.environ["JUPYTER_RUNTIME_DIR"] = str(self._root / "runtime")
        os.environ["JUPYTER_CONFIG_DIR"] = str(self._root / "config")
        os.environ["IPYTHONDIR"] = str(self._root / "ipython")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    def count(self, full: int, quick: int) -> int:
        """How many samples to take."""
        return quick if self.quick else full

    def folder(self) -> Path:
        """A new empty folder."""
        made = self._root / f"workspace-{next(self._numbers)}"
        made.mkdir()
        return made

    @property
    def kernel_packages(self) -> Path | None:
        """The site-packages of the virtualenv, None when no group has needed one."""
        return None if self._venv is None else _base_packages(self._venv)

    async def venv(self) -> Venv:
        """The virtualenv of both sides, with the debugger of stock kernels compiled, as pip leaves it."""
        if self._venv is None:
            venv = self._venv = await ensure_venv(VenvSpec(identity=IDENTITY))
            self._stack.push_async_callback(release_venv, venv)
            # debugpy has hundreds of files, and does not keep what it compiles when it is imported.
            debugger = _base_packages(venv) / "debugpy"
            await _output([str(venv.python), "-m", "compileall", "-q", "-j", "0", str(debugger)])
        return self._venv

    @asynccontextmanager
    async def session(self, **config: Any) -> AsyncIterator[Session]:
        """An open session on a folder of its own; ``config`` are fields of SubprocessConfig."""
        await self.venv()
        async with open_session(self.folder(), **config) as session:
            yield session

    @asynccontextmanager
    async def stock(self) -> AsyncIterator[StockKernel]:
        """A stock kernel that is ready."""
        kernel = await self.start_stock()
        try:
            yield kernel
        finally:
            await kernel.kill()

    async def start_stock(self) -> StockKernel:
        """The same for a caller that ends it."""
        return await StockKernel.start((await self.venv()).python, self.folder())

    async def child(self, module: str, *args: str, watch: Watch | None = None) -> dict[str, Any]:
        """What a module of this package prints as JSON when it is run in a process of its own.

        ``watch`` gets the pid, and is cancelled when the process ends.
        """
        command = [sys.executable, "-m", f"{__package__}.{module}", *args]
        printed: dict[str, Any] = json.loads(await _output(command, watch))
        return printed


def _base_packages(venv: Venv) -> Path:
    # The workspace's own site-packages are empty: ipykernel is in the base below it.
    return site_packages(venv.base, venv.python_version)


async def _output(command: list[str], watch: Watch | None = None) -> bytes:
    """What a command prints; it ends with the caller."""
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    watching = asyncio.ensure_future(watch(process.pid)) if watch else None
    try:
        output, _ = await process.communicate()
    finally:
        if watching is not None:
            watching.cancel()
            await asyncio.wait({watching})
        if process.returncode is None:
            process.terminate()
            await process.wait()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed")
    return output
