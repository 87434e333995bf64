"""What the groups work with: folders, one virtualenv for both sides, sessions and stock kernels."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

from py_code_mode.kernel.venv import Venv, VenvSpec, ensure_venv, release_venv
from py_code_mode.session import Session
from tests.sessions import IDENTITY, open_session

from .stock import StockKernel


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
        self._pair: tuple[Session, StockKernel] | None = None

    async def __aenter__(self) -> Self:
        folder = tempfile.TemporaryDirectory(prefix="code-mode-bench-", ignore_cleanup_errors=True)
        self._root = Path(self._stack.enter_context(folder)).resolve()
        os.environ.setdefault("PY_CODE_MODE_CACHE", str(self._root / "cache"))
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
        return None if self._venv is None else self._venv.site_packages()

    async def venv(self) -> Venv:
        """The virtualenv of both sides, with the debugger of stock kernels compiled, as pip leaves it."""
        if self._venv is None:
            venv = self._venv = await ensure_venv(VenvSpec(identity=IDENTITY))
            self._stack.push_async_callback(release_venv, venv)
            # debugpy has hundreds of files, and does not keep what it compiles when it is imported.
            debugger = venv.site_packages() / "debugpy"
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

    async def child(self, module: str, *args: str) -> dict[str, Any]:
        """What a module of this package prints as JSON when it is run in a process of its own."""
        command = [sys.executable, "-m", f"{__package__}.{module}", *args]
        printed: dict[str, Any] = json.loads(await _output(command))
        return printed

    async def pair(self) -> tuple[Session, StockKernel]:
        """A session and a stock kernel that are warm and stay open until the end."""
        if self._pair is None:
            session = await self._stack.enter_async_context(self.session(timeout=120.0))
            kernel = await self._stack.enter_async_context(self.stock())
            for _ in range(20):
                await session.run("1+1")
                await kernel.run("1+1")
            self._pair = session, kernel
        return self._pair


async def _output(command: list[str]) -> bytes:
    """What a command prints; it ends with the caller."""
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed")
    return output
