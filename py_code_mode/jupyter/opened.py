"""The sessions that a notebook has opened, as its magics use them: every call blocks, and can be interrupted."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, TypeVar

from py_code_mode.errors import SessionClosedError
from py_code_mode.executors.kernel import SubprocessConfig, SubprocessExecutor
from py_code_mode.results import EndEvent, ExecutionResult
from py_code_mode.session import Session
from py_code_mode.storage.bases import shown, storage_at

from .background import Background
from .here import HereExecutor, Placed
from .showing import CellOutput

T = TypeVar("T")


class _KernelExecutor(SubprocessExecutor):
    """Tells of its kernel what ``%code_mode`` shows."""

    def about(self) -> list[tuple[str, str]]:
        """Rows of a table."""
        venv, kernel = self._home._venv if self._home is not None else None, self._kernel
        pid = None
        if kernel is not None and kernel.done() and not kernel.cancelled() and kernel.exception() is None:
            pid = None if kernel.result().ended else kernel.result()._provisioner.pid
        return [
            ("python", f"{venv.python_version} in {venv.path}" if venv else "none yet"),
            ("kernel", f"pid {pid}" if pid else "not running; the next cell starts one"),
        ]


class Opened:
    """A session on a workspace, open."""

    def __init__(self, background: Background, session: Session, base: str) -> None:
        self._background = background
        self.session = session
        self.base = str(getattr(session.storage, "base_path", shown(base)))
        """The workspace, for people."""

    def start(self) -> None:
        """Start it, with a line for what takes long."""
        self._background.wait(lambda post: self.session.start(progress=post), show=print)

    def do(self, call: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
        """The result of a method of the session."""
        return self._background.wait(lambda post: call(self.session))

    def peek(self, call: Callable[[Session], Coroutine[Any, Any, T]], timeout: float) -> T:
        """The same for something quick that is not worth waiting for; raises TimeoutError."""
        return self._background.ask(call(self.session), timeout)

    def close(self) -> None:
        """End it."""
        self.do(Session.close)


class LiveSession(Opened):
    """A session with a kernel of its own, for ``%%code_mode``."""

    def __init__(self, background: Background, base: str, config: SubprocessConfig) -> None:
        self._executor = _KernelExecutor(config)
        super().__init__(background, Session(storage_at(base), self._executor), base)
        self._runs = 0
        self._running = 0

    def run(self, code: str, timeout: float | None, output: CellOutput) -> ExecutionResult:
        """Run ``code`` and show its output as it comes. An interrupt of the notebook's kernel interrupts the code."""
        results: list[ExecutionResult] = []

        async def run(post: Callable[[Any], None]) -> None:
            async with aclosing(self.session.stream(code, timeout)) as events:  # type: ignore[type-var]
                async for event in events:
                    if isinstance(event, EndEvent):
                        results.append(event.result)
                    else:
                        post(event)

        self._runs += 1
        self._running += 1
        try:
            self._background.wait(run, show=output.show, flush=output.flush, interrupt=self._interrupt)
        finally:
            self._running -= 1
        return results[0]

    def _interrupt(self) -> None:
        with suppress(SessionClosedError):
            self.session.interrupt()

    def about(self) -> list[tuple[str, str]]:
        """The rows that ``%code_mode`` shows."""
        timeout = self._executor.config.timeout
        return [
            ("workspace", self.base),
            *self._executor.about(),
            ("state", "busy" if self._running else "idle"),
            ("timeout", "none" if timeout is None else f"{timeout:g} s for each cell"),
            ("runs", str(self._runs)),
        ]


class HereSession(Opened):
    """A session whose code is the notebook's own."""

    def __init__(self, background: Background, base: str, tools: Path | None) -> None:
        self._executor = HereExecutor(tools)
        super().__init__(background, Session(storage_at(base), self._executor), base)
        self._placed: Placed | None = None

    def place(self, namespace: dict[str, Any]) -> list[str]:
        """Put the four names into ``namespace``; returns those that meant something else there."""
        self._placed = Placed(namespace, self._executor.names)
        return self._placed.replaced

    def close(self) -> None:
        """Take the names away again, and end it."""
        if self._placed is not None:
            self._placed.remove()
        super().close()
