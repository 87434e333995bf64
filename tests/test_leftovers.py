"""What a session leaves in the program that used it: nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from py_code_mode.session import Session

from .sessions import is_alive, open_session

TOOL = """\
name: hang
description: Tell the pid, then wait
command: sh
schema: {options: {c: {type: string, short: c}}}
"""

HOST = """
import asyncio, os, signal
from pathlib import Path
from tests.sessions import open_session

async def main():
    async with open_session(Path({base!r})) as session:
        await session.run("tools.hang(c='echo $$ >> {pids}; setsid sleep 600 & echo $! >> {pids}; wait')", timeout=None)

asyncio.run(main())
"""


async def test_close_leaves_no_task_and_no_socket(tmp_path):
    tasks = asyncio.all_tasks()
    sockets = {id(item) for item in gc.get_objects() if isinstance(item, socket.socket)}
    async with open_session(tmp_path) as session:
        await session.run("print(tools.list())")
        stream = session.stream("while True: print(1)")
        await anext(stream)
        await stream.aclose()
    gc.collect()
    left = [item for item in gc.get_objects() if isinstance(item, socket.socket) and id(item) not in sockets]
    assert [item for item in left if item.fileno() >= 0] == []
    assert asyncio.all_tasks() == tasks


def test_a_tool_under_way_ends_with_its_host(tmp_path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "hang.yaml").write_text(TOOL)
    pids = tmp_path / "pids"
    host = subprocess.Popen(
        [sys.executable, "-c", HOST.format(base=str(tmp_path), pids=pids)], cwd=Path(__file__).parents[1]
    )
    while not pids.exists() or pids.read_text().count("\n") < 2:
        assert host.poll() is None
        os.sched_yield()
    started = [int(line) for line in pids.read_text().split()]
    assert all(map(is_alive, started))
    host.send_signal(signal.SIGKILL)
    host.wait(5)
    deadline = time.monotonic() + 2
    while any(map(is_alive, started)) and time.monotonic() < deadline:
        os.sched_yield()
    assert [pid for pid in started if is_alive(pid)] == []


def test_a_session_works_in_one_program_after_another_loop_has_ended(tmp_path):
    """A loop that has ended takes nothing along that the next session needs."""

    async def once(session: Session) -> object:
        async with session:
            return (await session.run("6 * 7")).value

    assert [asyncio.run(once(open_session(tmp_path))) for _ in range(2)] == [42, 42]
