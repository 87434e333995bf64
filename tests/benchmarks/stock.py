"""The other side: a kernel as jupyter_client starts and drives it, with nothing of ours."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

_START_TIMEOUT = 120.0


class StockKernel:
    """One ``ipykernel_launcher``, driven by AsyncKernelManager and AsyncKernelClient."""

    def __init__(self, manager: AsyncKernelManager) -> None:
        self._manager = manager
        self._client = manager.client()

    @classmethod
    async def start(cls, python: Path, cwd: Path) -> Self:
        """Start one on the interpreter ``python``, and wait until it is ready."""
        manager = AsyncKernelManager()
        manager._kernel_spec = KernelSpec(
            argv=[str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            display_name="stock",
            language="python",
        )
        async with AsyncExitStack() as stack:
            stack.push_async_callback(_kill, manager)
            # Its warnings, of TCP without encryption for one, would go between the lines of the report.
            await manager.start_kernel(cwd=str(cwd), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            kernel = cls(manager)
            stack.callback(kernel._client.stop_channels)
            kernel._client.start_channels()
            await kernel._client.wait_for_ready(timeout=_START_TIMEOUT)
            stack.pop_all()
        return kernel

    @property
    def pid(self) -> int:
        """Its process."""
        provisioner: Any = self._manager.provisioner
        return int(provisioner.pid)

    async def run(self, code: str, *, timeout: float | None = None) -> list[dict[str, Any]]:
        """The messages of one cell on iopub. Raises TimeoutError, which leaves the cell running."""
        messages: list[dict[str, Any]] = []
        await self._client.execute_interactive(code, allow_stdin=False, timeout=timeout, output_hook=messages.append)
        return messages

    async def interrupt(self) -> None:
        """Interrupt what is running."""
        await self._manager.interrupt_kernel()

    async def restart(self, *, now: bool = False) -> None:
        """A new process in its place, ready; ``now`` kills the old one instead of asking it."""
        await self._manager.restart_kernel(now=now)
        await self._client.wait_for_ready(timeout=_START_TIMEOUT)

    async def close(self) -> None:
        """Shut it down as jupyter_client does."""
        self._client.stop_channels()
        await self._manager.shutdown_kernel()

    async def kill(self) -> None:
        """End it at once; harmless when it is closed."""
        self._client.stop_channels()
        await _kill(self._manager)


async def _kill(manager: AsyncKernelManager) -> None:
    # A start that was cancelled half-way has a process already; shutdown_kernel(now=True) ends that as well.
    await asyncio.shield(manager.shutdown_kernel(now=True))
