"""Start, reset and close: bounded, idempotent, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from py_code_mode.errors import SessionClosedError
from py_code_mode.session import Session

from .sessions import is_alive, open_files, open_session


def _directories() -> set[str]:
    return {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("code-mode-")}


def _state() -> tuple[set[int], set[str], set[str]]:
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    directories = _directories()
    threads = {thread.name for thread in threading.enumerate() if thread.name.startswith("py-code-mode")}
    return children, directories, threads


async def test_close_leaves_no_process_directory_or_thread(tmp_path):
    before = _state()
    files = len(open_files())
    for _ in range(3):
        async with open_session(tmp_path) as session:
            await session.run("import subprocess, os; subprocess.Popen(['sleep', '600'], start_new_session=True)")
    assert _state() == before
    assert len(open_files()) <= files + 1  # the loop's own selector may come and go


async def test_close_ends_daemons_that_the_code_started(session: Session, tmp_path):
    pid_file = tmp_path / "pid"
    await session.run(
        f"""
        import os
        if not os.fork():
            os.setsid()
            if not os.fork():
                os.environ.clear()
                open({str(pid_file)!r}, 'w').write(str(os.getpid()))
                os.execve('/bin/sleep', ['sleep', '600'], {{}})
            os._exit(0)
        os.wait()
        while not os.path.exists({str(pid_file)!r}) or not open({str(pid_file)!r}).read(): pass
        """.replace("\n        ", "\n").strip()
    )
    daemon = int(pid_file.read_text())
    assert is_alive(daemon)
    await session.close()
    assert not is_alive(daemon)


async def test_a_child_of_the_code_does_not_hold_up_the_end(tmp_path):
    async with open_session(tmp_path) as session:
        code = "import subprocess; child = subprocess.Popen(['sleep', '600']); child.pid"
        before = (await session.run(code)).value
        started = time.monotonic()
        await session.reset()
        pid = (await session.run(code)).value
    assert time.monotonic() - started < 1.5
    assert not is_alive(before)
    assert not is_alive(pid)


async def test_start_and_close_can_be_called_twice(tmp_path):
    session = open_session(tmp_path)
    await session.start()
    await session.start()
    assert (await session.run("1")).value == 1
    await session.close()
    await session.close()


async def test_a_session_that_is_not_open_says_so(tmp_path):
    session = open_session(tmp_path)
    with pytest.raises(SessionClosedError, match="not started"):
        await session.run("1")
    await session.close()
    with pytest.raises(SessionClosedError, match="closed"):
        await session.run("1")
    with pytest.raises(SessionClosedError, match="make a new one"):
        await session.start()


async def test_close_works_when_the_kernel_is_gone_or_stuck(tmp_path):
    session = open_session(tmp_path)
    await session.start()
    os.kill((await session.run("import os; os.getpid()")).value, signal.SIGKILL)
    await session.close()
    session = open_session(tmp_path)
    await session.start()
    run = asyncio.ensure_future(session.run("sum(range(10**11))", timeout=None))
    stream = None
    await asyncio.sleep(0)
    started = time.monotonic()
    await session.close()
    assert time.monotonic() - started < 6
    await asyncio.wait({run}, timeout=5)
    assert run.done()
    assert stream is None


async def test_close_while_code_runs_ends_the_run(tmp_path):
    session = open_session(tmp_path)
    await session.start()
    stream = session.stream("print('begun', flush=True)\nimport time; time.sleep(60)")
    await anext(stream)
    reader = asyncio.ensure_future(_last(stream))
    await session.close()
    done, _ = await asyncio.wait({reader}, timeout=5)
    assert done


async def _last(stream):
    return [event async for event in stream][-1]


@pytest.mark.parametrize("delay_ms", [0, 5, 20, 60, 120, 250])
async def test_a_cancelled_start_leaves_nothing(tmp_path, delay_ms):
    before = _state()
    session = open_session(tmp_path)
    task = asyncio.ensure_future(session.start())
    asyncio.get_running_loop().call_later(delay_ms / 1000, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        pass
    else:
        await session.close()
    assert _state() == before


async def test_reset_clears_variables_and_keeps_the_rest(session: Session):
    await session.run("x = 1; artifacts.save('kept', [1])")
    await session.reset()
    result = await session.run("x")
    assert "NameError" in (result.error or "")
    assert not result.kernel_restarted
    assert (await session.run("artifacts.load('kept')")).value == [1]


async def test_reset_ends_what_the_code_has_started(session: Session):
    pid = (await session.run("import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True).pid")).value
    await session.reset()
    assert not is_alive(pid)


CHILDREN = """
import os, signal, subprocess
child = subprocess.Popen(["sleep", "600"])
own = subprocess.Popen(["sleep", "600"], start_new_session=True)
r, w = os.pipe()
if not os.fork():
    os.setsid()
    pid = os.fork()
    if pid:
        os.write(w, str(pid).encode())
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.execve("/bin/sleep", ["sleep", "600"], {})
os.wait()
[os.getpid(), child.pid, own.pid, int(os.read(r, 20))]
"""

HOST = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.sessions import open_session

async def main():
    session = open_session(Path({base!r}))
    await session.start()
    result = await session.run({code!r})
    asyncio.get_running_loop().create_task(session.run("import time; time.sleep(600)", timeout=None))
    print(*result.raise_for_error().value, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    {end}

asyncio.run(main())
"""


@pytest.mark.parametrize(
    "end", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(1)", "os.kill(os.getpid(), signal.SIGTERM)"]
)
def test_nothing_outlives_a_host_that_dies(tmp_path, end):
    script = HOST.format(base=str(tmp_path), code=CHILDREN, end=end)
    before = _directories()
    host = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert host.stdout is not None
    assert host.stdin is not None
    with host.stdout, host.stdin:
        pids = [int(word) for word in host.stdout.readline().split()]
        directories = _directories() - before
        assert directories
        assert len(pids) == 4
        assert all(map(is_alive, pids))
        host.stdin.write("\n")
        host.stdin.flush()
        host.wait(5)
    deadline = time.monotonic() + 2
    while (any(map(is_alive, pids)) or directories & _directories()) and time.monotonic() < deadline:
        os.sched_yield()
    assert [pid for pid in pids if is_alive(pid)] == []
    assert not directories & _directories()
