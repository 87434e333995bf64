"""Sessions as commands use them: opened with a progress line, interrupted by Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .options import Base
from .output import Progress

if TYPE_CHECKING:
    from py_code_mode.session import Session


@asynccontextmanager
async def opened(session: Session) -> AsyncIterator[Session]:
    """``session``, started, with progress on stderr."""
    with Progress() as progress:
        await session.start(progress=progress)
    try:
        yield session
    finally:
        await session.close()


def on_base(base: Base, *, tools: Path | None = None, max_output_bytes: int | None) -> Session:
    """A session on a kernel without a time limit."""
    from py_code_mode.executors.kernel import SubprocessConfig, SubprocessExecutor
    from py_code_mode.session import Session
    from py_code_mode.storage.bases import storage_at

    config = SubprocessConfig(tools_path=tools, timeout=None, max_output_bytes=max_output_bytes)
    return Session(storage_at(base), SubprocessExecutor(config))


@contextmanager
def interruptible(session: Session) -> Iterator[list[int]]:
    """Ctrl-C interrupts the code of ``session`` meanwhile. Gives the list of signals that came."""
    came: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:  # in the background of a script: Ctrl-C is meant for others
        yield came
        return
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        came.append(signal.SIGINT)
        session.interrupt()

    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        yield came
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)
