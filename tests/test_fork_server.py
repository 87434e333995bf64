"""Kernels that are forked: as good as started from scratch, apart from each other, and gone with their session."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest

from py_code_mode import Session, SubprocessConfig, SubprocessExecutor
from py_code_mode.deps.base import LOCK_NAME
from py_code_mode.deps.locks import held
from py_code_mode.errors import KernelStartError, ProcessError
from py_code_mode.kernel.engine import Engine
from py_code_mode.kernel.forkserver import ForkServer
from py_code_mode.storage.file import FileStorage

from .sessions import filled, is_alive, open_session
from .venvs import make_wheel, use_only

PROBE = """
import gc, importlib.metadata, locale, multiprocessing.spawn, os, resource, signal, site, sys, sysconfig, tempfile, time
private = {"IPYTHONDIR", "JUPYTER_RUNTIME_DIR"}
{
    "path": sys.path, "prefixes": (sys.prefix, sys.exec_prefix, sys.base_prefix, site.PREFIXES),
    "executable": sys.executable, "spawn": os.fsdecode(multiprocessing.spawn.get_executable()),
    "sysconfig": sysconfig.get_paths(), "scripts": sysconfig.get_config_var("prefix"),
    "env": {k: v for k, v in os.environ.items() if k not in private and k != "PY_CODE_MODE_OWNER"},
    "private": sorted(private & set(os.environ)), "cwd": os.getcwd(), "temp": tempfile.gettempdir(),
    "limits": [resource.getrlimit(n) for n in range(10)], "umask": (os.umask(0o22), os.umask(0o22))[0],
    "zone": time.tzname, "locale": locale.setlocale(locale.LC_ALL), "flags": str(sys.flags),
    "signals": {s.name: str(signal.getsignal(s)).split(" at ")[0] for s in signal.Signals if s.name != "SIGKILL"},
    "ipykernel": importlib.metadata.version("ipykernel"), "gc": gc.isenabled(),
    "files": sorted(os.readlink(f"/proc/self/fd/{n}").split(":")[0].rpartition("/")[2] for n in (0, 1, 2)),
    "session": os.getsid(0) == os.getpid(), "mask": signal.pthread_sigmask(signal.SIG_BLOCK, []),
}
"""

HOW = {
    "started": {"fork_server": False},
    "forked": {"spares": 0},
    "spare": {"spares": 1},
}


def command_of(pid: int) -> str:
    return " ".join(psutil.Process(pid).cmdline())


async def pid_of(session: Session) -> int:
    return int((await session.run("import os; os.getpid()")).value)


def servers() -> list[psutil.Process]:
    """The fork servers of this process; a kernel shows the same command, but leads below its supervisor."""
    return [child for child in descendants() if "kernel_bootstrap.forkserver" in " ".join(child.cmdline())]


def descendants() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]


async def test_a_forked_kernel_is_for_its_code_like_one_that_was_started(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("FROM_HOST", "x")
    seen = {}
    async with AsyncExitStack() as stack:
        for how, config in HOW.items():
            session = await stack.enter_async_context(open_session(tmp_path, env={"MINE": "ä"}, **config))
            result = await session.run(PROBE)
            assert result.error is None
            seen[how] = result.value
            command = command_of(await pid_of(session))
            assert ("forkserver" in command) == (how != "started")
            await filled(session)
            if how == "spare":
                spare = await stack.enter_async_context(open_session(tmp_path, env={"MINE": "ä"}, **config))
                seen[how] = (await spare.run(PROBE)).value
    assert seen["forked"] == seen["started"]
    assert seen["spare"] == seen["started"]
    assert seen["started"]["env"]["MINE"] == "ä"
    assert seen["started"]["env"]["FROM_HOST"] == "x"
    assert seen["started"]["zone"] == ("JST", "JST")


async def test_the_next_session_takes_the_spare_kernel_and_another_is_made(tmp_path):
    async with open_session(tmp_path / "one") as one:
        await filled(one)
        before = {child.pid for child in descendants()}
        async with open_session(tmp_path / "two") as two:
            taken = await pid_of(two)
            assert taken in before
            await filled(two)
            assert {child.pid for child in descendants()} - before
        assert not is_alive(taken)


async def test_without_spares_no_kernel_waits(tmp_path):
    async with open_session(tmp_path, spares=0) as session:
        await filled(session)
        kernel = await pid_of(session)
        assert [child.pid for child in servers() if child.pid != kernel and child.children()] == []
        assert len(servers()) == 2  # the server and this kernel


async def test_a_kernel_that_is_not_forked_leaves_no_server(tmp_path):
    async with open_session(tmp_path, fork_server=False):
        assert servers() == []


async def test_nothing_random_is_the_same_in_two_kernels(tmp_path):
    code = "import random, uuid, ssl, secrets, tempfile, os\n"
    code += "[random.random(), str(uuid.uuid4()), ssl.RAND_bytes(8), secrets.token_hex(8), tempfile.mktemp(), id]"
    async with open_session(tmp_path, spares=2) as one:
        await filled(one)
        async with open_session(tmp_path, spares=2) as two, open_session(tmp_path, spares=2) as three:
            values = [(await session.run(code)).value[:5] for session in (one, two, three)]
    for position in range(5):
        assert len({str(value[position]) for value in values}) == 3


async def test_what_a_session_does_to_imported_modules_reaches_no_other(tmp_path):
    async with open_session(tmp_path) as one:
        await one.run("import json, os, builtins; json.leak = 1; builtins.leak = 1; os.environ['LEAK'] = '1'")
        await filled(one)
        async with open_session(tmp_path) as two:
            result = await two.run(
                "import json, builtins, os; hasattr(json, 'leak'), hasattr(builtins, 'leak'), 'LEAK' in os.environ"
            )
            assert result.value == (False, False, False)


async def test_sessions_at_the_same_time_have_directories_and_variables_of_their_own(tmp_path):
    async with AsyncExitStack() as stack:
        sessions = []
        for name in "abcd":
            (tmp_path / name).mkdir()
            sessions.append(open_session(tmp_path / name, env={"NAME": name}, cwd=tmp_path / name, spares=2))
        await asyncio.gather(*(stack.enter_async_context(session) for session in sessions))
        found = await asyncio.gather(*(s.run("import os; os.getcwd(), os.environ['NAME']") for s in sessions))
        assert [result.value for result in found] == [(str(tmp_path / name), name) for name in "abcd"]


async def test_a_kernel_has_the_limits_that_its_host_has_now(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    code = "import resource; resource.getrlimit(resource.RLIMIT_NOFILE)[0]"
    async with open_session(tmp_path) as one:
        await filled(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[0] - 1, before[1]))
        try:
            async with open_session(tmp_path) as two:
                assert (await two.run(code)).value == before[0] - 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert (await one.run(code)).value == before[0]


async def test_a_variable_that_python_reads_at_its_start_counts(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "cm_on_path.py").write_text("here = True")
    env = {"PYTHONPATH": str(tmp_path / "lib"), "PYTHONHASHSEED": "0"}
    async with open_session(tmp_path), open_session(tmp_path, env=env) as session:
        assert (await session.run("import cm_on_path, sys; cm_on_path.here, sys.flags.hash_randomization")).value == (
            True,
            0,
        )


async def test_a_working_directory_that_is_gone_is_named(tmp_path):
    async with open_session(tmp_path) as one:
        await filled(one)
        for spares in (0, 1):
            session = open_session(tmp_path, cwd=tmp_path / "not there", spares=spares)
            with pytest.raises((KernelStartError, ProcessError), match="not there"):
                await session.start()
        assert (await one.run("1 + 1")).value == 2


async def test_a_killed_server_costs_live_sessions_nothing_and_the_next_start_works(tmp_path):
    async with open_session(tmp_path, spares=0) as one:
        await one.run("kept = 1")
        kernel = await pid_of(one)
        server = next(child for child in servers() if child.pid != kernel)
        server.kill()
        assert (await one.run("kept")).value == 1
        async with open_session(tmp_path, spares=0) as two:
            assert (await two.run("1 + 1")).value == 2
            assert "forkserver" in command_of(await pid_of(two))
        assert (await one.run("import os; os._exit(7)")).error == (
            "KernelDiedError: the code ended its kernel: it exited with code 7"
        )
        assert (await one.run("1 + 1")).value == 2


async def test_a_server_that_is_killed_while_kernels_start_is_replaced(tmp_path):
    async with open_session(tmp_path, spares=0) as one:
        kernel = await pid_of(one)
        server = next(child for child in servers() if child.pid != kernel)
        others = [open_session(tmp_path, spares=0) for _ in range(4)]
        starts = [asyncio.ensure_future(other.start()) for other in others]
        await asyncio.sleep(0)
        server.kill()
        await asyncio.gather(*starts)
        for other in others:
            assert (await other.run("1 + 1")).value == 2
            await other.close()


async def test_a_fork_that_is_cancelled_has_left_no_process(tmp_path):
    # One that went on would write into a directory that is being removed.
    engine = Engine.lease()

    async def cancel_one(python: Path) -> None:
        server = await ForkServer.start(engine, python, {})
        before = {child.pid for child in descendants()}
        first = asyncio.create_task(server.fork(tmp_path, None))
        await asyncio.sleep(0)  # from here on its request is on the way
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = await server.fork(tmp_path, None)  # the server answers in order
        assert {child.pid for child in descendants()} - before == {second.pid}
        await second.end()
        await server.close()

    async with open_session(tmp_path / "workspace", spares=0) as session:
        await engine.call(cancel_one(Path((await session.run("import sys; sys.executable")).value)))
    await engine.release()


async def test_a_killed_spare_is_passed_over(tmp_path):
    async with open_session(tmp_path) as one:
        await filled(one)
        kernel = await pid_of(one)
        for child in servers():
            if child.pid != kernel and child.num_threads() > 1:
                os.kill(child.pid, signal.SIGKILL)
        async with open_session(tmp_path) as two:
            assert (await two.run("1 + 1")).value == 2


async def test_servers_kernels_and_daemons_end_with_the_last_session(tmp_path):
    before = descendants()
    daemon = "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork(): os._exit(0)\n    import time; time.sleep(600)\n"
    async with open_session(tmp_path) as one, open_session(tmp_path) as two:
        await filled(one)
        for session in (one, two):
            await session.run(daemon + "os.wait()")
        assert len(descendants()) >= 7  # supervisor, server, spare, two kernels, two daemons
    assert descendants() == before


async def test_a_daemon_ends_with_its_own_session_only(tmp_path):
    daemon = "import os, time\nr, w = os.pipe()\nif os.fork() == 0:\n    os.setsid()\n    if os.fork(): os._exit(0)\n"
    daemon += "    os.write(w, str(os.getpid()).encode()); time.sleep(600)\nos.wait(); int(os.read(r, 20))"
    async with open_session(tmp_path) as one:
        await filled(one)
        two = open_session(tmp_path)
        await two.start()
        pids = [(await session.run(daemon)).value for session in (one, two)]
        await two.close()
        assert [is_alive(pid) for pid in pids] == [True, False]


HOST = """
import asyncio, sys
from pathlib import Path
from tests.sessions import filled, open_session
from tests.test_fork_server import descendants

async def main():
    async with open_session(Path({base!r})) as one, open_session(Path({base!r})) as two:
        await one.run("import subprocess; p = subprocess.Popen(['sleep', '600'], start_new_session=True)")
        await filled(one)
        print(*(child.pid for child in descendants()), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("first", ["host", "server", "kernels"])
def test_whoever_is_killed_first_nothing_outlives_the_host(tmp_path, first):
    host = subprocess.Popen(
        [sys.executable, "-c", HOST.format(base=str(tmp_path))], stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]
    )
    with host:
        assert host.stdout is not None
        found = [psutil.Process(int(pid)) for pid in host.stdout.readline().split()]
        assert len(found) >= 6  # supervisor, server, two kernels, a spare, a process of the code
        forked = [process for process in found if "kernel_bootstrap.forkserver" in " ".join(process.cmdline())]
        kernels = [process for process in forked if process.num_threads() > 1]
        victims = {
            "host": [],
            "server": [process for process in forked if process not in kernels],
            "kernels": kernels,
        }[first]
        for process in victims:
            process.kill()
        host.kill()
        _, left = psutil.wait_procs(found, timeout=5)
    assert left == []


async def test_ended_kernels_leave_no_zombie(tmp_path):
    async with open_session(tmp_path) as one:
        for _ in range(3):
            async with open_session(tmp_path) as two:
                await two.run("import os; os._exit(1)")
        await filled(one)
        assert [p for p in psutil.Process().children(recursive=True) if p.status() == psutil.STATUS_ZOMBIE] == []


async def test_the_environment_of_a_server_holds_nothing_of_the_host(tmp_path, monkeypatch):
    monkeypatch.setenv("CM_SECRET_OF_THE_HOST", "x")
    async with open_session(tmp_path) as session:
        await filled(session)
        for child in servers():
            assert b"CM_SECRET" not in Path(f"/proc/{child.pid}/environ").read_bytes()


async def test_the_next_session_sees_a_package_that_this_one_added(tmp_path, monkeypatch):
    make_wheel(tmp_path / "wheels", "cmadded")
    use_only(tmp_path / "wheels", monkeypatch)
    async with Session(FileStorage(tmp_path / "base"), SubprocessExecutor()) as one:
        await filled(one)
        assert (await one.add_dep("cmadded"))["installed"] == ["cmadded"]
        async with Session(FileStorage(tmp_path / "base"), SubprocessExecutor()) as two:
            assert (await two.run("import cmadded; cmadded.VERSION")).value == "1.0"


async def test_a_package_that_the_base_has_in_another_version_is_the_workspaces_own(tmp_path, monkeypatch):
    make_wheel(tmp_path / "wheels", "wcwidth", "99.0")
    use_only(tmp_path / "wheels", monkeypatch)
    code = "import wcwidth as w, importlib.metadata as m; getattr(w, 'VERSION', None), m.version('wcwidth')"
    async with Session(FileStorage(tmp_path / "other"), SubprocessExecutor()) as other:
        await filled(other)
        async with Session(FileStorage(tmp_path / "base"), SubprocessExecutor()) as one:
            assert (await one.add_dep("wcwidth==99.0"))["installed"] == ["wcwidth==99.0"]
            await one.reset()
            assert (await one.run(code)).value == ("99.0", "99.0")
            assert "forkserver" in command_of(await pid_of(one))
        assert (await other.run(code)).value[0] is None


async def test_a_preloaded_module_is_there_before_the_first_cell(tmp_path, monkeypatch):
    make_wheel(tmp_path / "wheels", "cmheavy", body="import os\nPID = os.getpid()\n")
    use_only(tmp_path / "wheels", monkeypatch)
    async with Session(FileStorage(tmp_path / "base"), SubprocessExecutor()) as first:
        await first.add_dep("cmheavy")
    executor = SubprocessExecutor(SubprocessConfig(preload=("cmheavy",)))
    async with Session(FileStorage(tmp_path / "base"), executor) as session:
        result = await session.run(
            "import sys, os; 'cmheavy' in sys.modules, sys.modules['cmheavy'].PID != os.getpid()"
        )
        assert result.value == (True, True)


async def test_a_server_does_not_preload_what_is_being_installed(tmp_path, monkeypatch):
    make_wheel(tmp_path / "wheels", "cmslow", body="DONE = False\n")
    use_only(tmp_path / "wheels", monkeypatch)
    async with Session(FileStorage(tmp_path / "base"), SubprocessExecutor()) as first:
        await first.add_dep("cmslow")
        where = Path((await first.run("import cmslow; cmslow.__file__")).value)
    session = Session(FileStorage(tmp_path / "base"), SubprocessExecutor(SubprocessConfig(preload=("cmslow",))))
    async with held(where.parents[3] / LOCK_NAME, timeout=10):
        start = asyncio.ensure_future(session.start())
        async with open_session(tmp_path / "other"):  # starts and ends in the meantime
            pass
        assert not start.done()
        where.unlink()  # a link to uv's cache
        where.write_text("DONE = True\n")
    await start
    assert (await session.run("import sys; sys.modules['cmslow'].DONE")).value is True
    await session.close()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise ValueError('not today')", "cmodd cannot be preloaded: ValueError: not today"),
        (
            "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True, name='odd').start()",
            "kernels start slowly: a preloaded package has started threads (odd)",
        ),
    ],
)
async def test_a_module_that_cannot_be_preloaded_is_told_and_the_session_works(tmp_path, monkeypatch, body, told):
    make_wheel(tmp_path / "wheels", "cmodd", body=body + "\n")
    use_only(tmp_path / "wheels", monkeypatch)
    async with Session(FileStorage(tmp_path / "base"), SubprocessExecutor()) as first:
        await first.add_dep("cmodd")
    lines: list[str] = []
    session = Session(FileStorage(tmp_path / "base"), SubprocessExecutor(SubprocessConfig(preload=("cmodd",))))
    await session.start(progress=lines.append)
    try:
        assert lines == [told]
        assert (await session.run("1 + 1")).value == 2
    finally:
        await session.close()


def test_wrong_settings_are_named():
    with pytest.raises(TypeError, match="preload must be a tuple"):
        SubprocessConfig(preload="numpy")
    with pytest.raises(ValueError, match="spares must be 0 or more"):
        SubprocessConfig(spares=-1)
