"""Output without end: what a cell prints is not kept, beyond its head and tail, on either side."""

from __future__ import annotations

import os

import pytest

from py_code_mode.session import Session

from .memory import MB, Peaks, linux_only


@linux_only
@pytest.mark.parametrize(
    "code",
    [
        "for n in range(5_000): print('x' * 100_000)",
        "import sys\nfor n in range(500): print('x' * 1_000_000, file=(sys.stdout, sys.stderr)[n % 2], flush=True)",
        "import subprocess; done = subprocess.run('yes | head -c 500000000', shell=True)",
    ],
    ids=["lines", "flushed", "child"],
)
async def test_half_a_gigabyte_of_output_is_held_by_neither_side(session: Session, code: str) -> None:
    kernel = (await session.run("import os; os.getpid()")).value
    peaks = Peaks(os.getpid(), kernel)
    result = await session.run(code)
    assert result.is_ok
    assert result.truncated
    assert peaks.of(kernel) < 96 * MB
    assert peaks.of(os.getpid()) < 96 * MB
