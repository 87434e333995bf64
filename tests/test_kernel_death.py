"""Code that ends its kernel, or damages it: said truthfully, and the next run works."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import time

import pytest

from py_code_mode.errors import KernelDiedError
from py_code_mode.session import Session

SEGFAULT = "def crash():\n    import ctypes; ctypes.string_at(0)\ncrash()"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import os; os._exit(3)", "exited with code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "SIGTERM"),
        (SEGFAULT, "SIGSEGV"),
        ("import os; os.abort()", "SIGABRT"),
        (
            "import threading, os; threading.Thread(target=os._exit, args=(4,)).start(); threading.Event().wait()",
            "code 4",
        ),
    ],
)
async def test_a_kernel_that_dies_says_how_and_the_next_run_has_a_new_one(session: Session, code: str, says: str):
    await session.run("gone = 1")
    started = time.monotonic()
    result = await session.run(f"print('last words')\n{code}")
    assert time.monotonic() - started < 1
    assert says in (result.error or "")
    assert result.error_name == "KernelDiedError"
    assert result.kernel_restarted
    with pytest.raises(KernelDiedError):
        result.raise_for_error()
    following = await session.run("'gone' in globals(), tools.list(), artifacts.list()")
    assert following.value == (False, [], [])
    assert following.kernel_restarted


@pytest.mark.parametrize("end", ["os._exit(1)", "os.kill(os.getpid(), 9)", "os.abort()"])
async def test_what_was_printed_before_the_end_is_kept(session: Session, end: str):
    result = await session.run(f"import os\nfor n in range(2000): print('line', n)\n{end}")
    assert result.stdout.splitlines() == [f"line {n}" for n in range(2000)]


async def test_a_segmentation_fault_shows_where(session: Session):
    result = await session.run(SEGFAULT)
    assert "in crash" in (result.traceback or "")


async def test_a_kernel_killed_between_runs_is_replaced(session: Session):
    pid = (await session.run("import os; os.getpid()")).value
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(select.select, [pidfd], [], [])
    os.close(pidfd)
    result = await session.run("os.getpid() if 'os' in globals() else 'fresh'")
    assert result.value == "fresh"
    assert result.kernel_restarted


async def test_a_kernel_that_dies_again_and_again_is_replaced_each_time(session: Session):
    for _ in range(3):
        assert "code 1" in ((await session.run("import os; os._exit(1)")).error or "")
    assert (await session.run("2 + 2")).value == 4


@pytest.mark.parametrize(
    "damage",
    [
        "import sys; sys.stdout = None; sys.stderr = None",
        "import sys; sys.stdout.close(); sys.stderr.close()",
        "import sys; del sys.stdout, sys.stderr, sys.stdin",
        "import os; os.close(1); os.close(2)",
        "import os; n = os.open('/dev/null', os.O_RDWR); os.dup2(n, 1); os.dup2(n, 2)",
        "import asyncio; asyncio.get_running_loop().stop()",
        "import asyncio; asyncio.get_event_loop().call_soon(asyncio.get_event_loop().stop)",
        "import asyncio; asyncio.set_event_loop(None); asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())",
        "import asyncio\nfor task in asyncio.all_tasks(): task.cancel()\nawait asyncio.sleep(0)",
        "import asyncio\nfor task in asyncio.all_tasks(): task.cancel()",
        "import builtins\nfor name in ('print', 'len', 'isinstance', 'open', '__import__'): setattr(builtins, name, None)",
        "import builtins; del builtins.print, builtins.len, builtins.getattr",
        "tools = workflows = artifacts = deps = None",
        "del tools, workflows, artifacts, deps",
        "globals().clear()",
        "import sys; sys.setrecursionlimit(40)",
        "import sys; sys.displayhook = sys.excepthook = None",
        "get_ipython().display_pub = None; get_ipython().displayhook = None",
        "get_ipython().ast_transformers.clear()",
        "get_ipython().kernel = None",
        "get_ipython().user_ns = {}",
        "get_ipython().reset()",
        "get_ipython().exit_now = True",
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); signal.pthread_sigmask(signal.SIG_BLOCK, [2])",
        "import sys; sys.settrace(lambda *a: 1/0)",
        "import sys; sys.modules.clear()",
        "import sys; sys.path.clear(); sys.meta_path.clear()",
        "import os; os.environ.clear()",
        "import gc, zmq\nfor o in gc.get_objects():\n    if isinstance(o, zmq.Socket): o.close(0)",
        "import os\nfor fd in range(3, 256):\n    try: os.close(fd)\n    except OSError: pass",
        "import threading\nthreading.Thread.start = threading.Thread.run = None",
        "import logging; logging.shutdown(); logging.disable(50)",
        "import json; json.dumps = json.loads = None",
        "import warnings; warnings.simplefilter('error')",
        "import tempfile, os; d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)",
        "import asyncio\nasync def f(): raise KeyboardInterrupt\nt = asyncio.create_task(f()); await asyncio.sleep(0.01)",
        "import asyncio\nasync def f(): raise SystemExit\nt = asyncio.create_task(f())",
        "raise GeneratorExit",
        "def f(): f()\nf()",
        "import sys; sys.setswitchinterval(100); sys.set_int_max_str_digits(640)",
        "import os, signal; os.kill(os.getpid(), signal.SIGINT)",
    ],
)
async def test_code_that_damages_its_kernel_never_bricks_the_session(session: Session, damage: str):
    """The next run works as on a sound kernel, or on a new one and says so; nothing hangs."""
    started = time.monotonic()
    first = await session.run(damage, timeout=1)
    following = await session.run("print('out'); tools.list(), len([1]), artifacts.exists('x')", timeout=5)
    if following.error is not None and following.kernel_restarted:
        following = await session.run("print('out'); tools.list(), len([1]), artifacts.exists('x')", timeout=5)
    assert following.value == ([], 1, False), (first, following)
    assert following.stdout == "out\n"
    assert (await session.run("while True: pass", timeout=0.2)).timed_out
    assert (await session.run("1 / 0")).error_name == "ZeroDivisionError"
    assert time.monotonic() - started < 25
