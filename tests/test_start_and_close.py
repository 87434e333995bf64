"""Start and close, called at the same time."""

from __future__ import annotations

import asyncio

import psutil
import pytest

from py_code_mode.errors import SessionClosedError

from .sessions import open_session


async def test_a_second_start_waits_for_the_first(tmp_path):
    session = open_session(tmp_path)
    first, second = asyncio.ensure_future(session.start()), asyncio.ensure_future(session.start())
    await second
    assert (await session.run("1 + 1")).value == 2
    await first
    await session.close()


@pytest.mark.parametrize("delay_ms", [0, 5, 50, 150])
async def test_close_during_a_start_leaves_nothing(tmp_path, delay_ms):
    before = psutil.Process().children(recursive=True)
    session = open_session(tmp_path)
    start = asyncio.ensure_future(session.start())
    closed = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(delay_ms / 1000, closed.set_result, None)
    await closed
    await session.close()
    await asyncio.wait({start})
    assert psutil.Process().children(recursive=True) == before
    with pytest.raises(SessionClosedError):
        await session.run("1")
    start.cancelled() or start.exception()
