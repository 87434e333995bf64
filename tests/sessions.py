"""Sessions for tests: workspaces of their own on one shared virtualenv."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from py_code_mode.executors.kernel import SubprocessConfig, SubprocessExecutor
from py_code_mode.session import Session
from py_code_mode.storage.file import FileStorage

IDENTITY = "tests"
"""All test workspaces name the same identity, so that the virtualenv is built once."""


class SharedVenvStorage(FileStorage):
    """A workspace of its own that shares the virtualenv with the other tests."""

    @property
    def identity(self) -> str:
        return IDENTITY


def open_session(base: Path, **config: Any) -> Session:
    """A session on ``base``; ``config`` are fields of SubprocessConfig."""
    return Session(SharedVenvStorage(base), SubprocessExecutor(SubprocessConfig(**config)))


async def filled(session: Session) -> None:
    """Wait until the spare kernels that ``session`` and others asked for are ready."""
    from py_code_mode.kernel.pool import Pool  # as late as a session needs it, for the benchmark of the first one

    engine = session._engine
    assert engine is not None

    async def wait() -> None:
        await Pool.of(engine).filled()

    await engine.call(wait())


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def open_files() -> set[str]:
    """What the descriptors of this process refer to."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{fd}:{Path('/proc/self/fd', fd).readlink()}")
        except OSError:
            continue
    return found
