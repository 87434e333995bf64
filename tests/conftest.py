"""What every test shares: a cache of its own, and sessions on one virtualenv."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from py_code_mode.session import Session

from .redis_servers import close_shared
from .sessions import open_session


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of virtualenvs for this run of the tests; the user's own is not touched."""
    directory = tmp_path_factory.mktemp("cache")
    before = os.environ.get("PY_CODE_MODE_CACHE")
    os.environ["PY_CODE_MODE_CACHE"] = str(directory)
    yield directory
    if before is None:
        del os.environ["PY_CODE_MODE_CACHE"]
    else:
        os.environ["PY_CODE_MODE_CACHE"] = before


@pytest.fixture(scope="session", autouse=True)
def scratch() -> Iterator[Path]:
    """A temporary directory that only these tests use: what is left in it was left by them.

    Live sessions are found in it too, so that nobody sees those of others.
    """
    known = tempfile.tempdir
    directory = tempfile.mkdtemp(prefix="cm")
    Path(directory).chmod(0o755)  # some tests look from another user's side
    runtime = Path(directory, "runtime")
    runtime.mkdir(mode=0o700)
    tempfile.tempdir = directory
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", directory)
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        yield Path(directory)
    tempfile.tempdir = known
    left = [path.name for path in Path(directory).glob("code-mode-*")]
    shutil.rmtree(directory, ignore_errors=True)
    assert not left, f"kernels left their directories behind: {left}"


@pytest.fixture(scope="session", autouse=True)
def redis_server(scratch: Path) -> Iterator[None]:
    """The Redis that the tests share starts when one needs it, and ends with them."""
    yield
    close_shared()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """An open session for the tests of a module that leave it as they found it."""
    session = open_session(tmp_path_factory.mktemp("workspace"))
    asyncio.run(session.start())
    yield session
    asyncio.run(session.close())


@pytest.fixture
async def session(tmp_path: Path) -> AsyncIterator[Session]:
    """An open session for one test."""
    async with open_session(tmp_path) as opened:
        yield opened
