"""The supervisor of processes and its client: real processes, real signals."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from kernel_bootstrap import proctree
from py_code_mode.errors import ProcessError
from py_code_mode.kernel.commands import OutputLimit, run
from py_code_mode.kernel.processes import Processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="daemons are owned on Linux only")

ENV = {"PATH": os.environ["PATH"]}
DEATH = 2.0
"""Seconds after the host's end in which everything of it has to be gone."""

# Each says its name and its pid in one line of stdout, then stays.
SLEEPER = "echo sleeper $$; echo supervisor $PPID; exec sleep 300"
STUBBORN = 'trap "" TERM INT HUP; echo stubborn $$; while :; do sleep 300; done'
IN_A_SESSION = 'setsid sh -c "echo session \\$\\$; exec sleep 300" & wait'
NAMELESS_DAEMON = '(setsid env -i sh -c "echo daemon \\$\\$; exec sleep 300" &); exec sleep 300'

HOST = """
import asyncio, os, signal, sys
from py_code_mode.kernel.processes import Processes

async def main():
    processes = await Processes.start()
    processes.own_path(sys.argv[1])
    if sys.argv[2] == "held":
        socket = os.dup(processes._channel._socket.fileno())
        holder = os.fork()
        if not holder:
            os.close(1)
            signal.pause()
        print("holder", holder, flush=True)
    for script in sys.argv[3:]:
        kernel = "daemon" in script
        await processes.spawn(
            ["sh", "-c", script], env=dict(os.environ), cwd="/", owner="o", stdout=1, subreaper=kernel
        )
    await asyncio.to_thread(sys.stdin.readline)
    os._exit(3)

asyncio.run(main())
"""


@pytest.fixture
async def processes():
    owned = await Processes.start()
    yield owned
    await owned.close()


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


async def do(processes: Processes, argv: list[str], **changes):
    defaults = {
        "env": ENV, "cwd": "/", "owner": "o", "stdin": None, "timeout": 30.0, "max_output": 1 << 20,
    }  # fmt: skip
    return await run(processes, argv, **(defaults | changes))


async def start(processes: Processes, script: str, *names: str, owner: str = "o", subreaper: bool = False):
    """A spawned shell, and the pids that it and its children said in lines of "name pid"."""
    reading, writing = os.pipe()
    try:
        process = await processes.spawn(
            shell(script), env=ENV, cwd="/", owner=owner, stdout=writing, subreaper=subreaper
        )
    finally:
        os.close(writing)
    with os.fdopen(reading) as lines:
        pids = await asyncio.to_thread(read_pids, lines, names)
    return process, *(pids[name] for name in names)


def read_pids(lines, names) -> dict[str, int]:
    pids: dict[str, int] = {}
    while not pids.keys() >= set(names):
        name, pid = next(lines).split()
        pids[name] = int(pid)
    return pids


def gone(pid: int, within: float = DEATH) -> bool:
    """Whether the process ends in that many seconds; a zombie that nobody reaps has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], within)[0])
    finally:
        os.close(handle)


def is_alive(pid: int) -> bool:
    return not gone(pid, within=0)


def find_owned(owner: str) -> list[int]:
    """The pids that carry the owner's mark; a zombie carries nothing."""
    return [pid for pid in proctree.list_processes() if (proctree.owner_of(pid) or "").endswith(f":{owner}")]


def until_owned(owner: str) -> None:
    while not find_owned(owner):
        pass


def children_of_this_process() -> set[int]:
    return {pid for pid, seen in proctree.list_processes().items() if seen.parent == os.getpid()}


def open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# --- the host's death ---


def start_host(folder: Path, mode: str, *scripts: str):
    folder.mkdir()
    (folder / "file").write_text("private")
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, str(folder), mode, *scripts],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    names = ["sleeper", "supervisor", "stubborn", "session", "daemon"]
    pids = read_pids(host.stdout, names + (["holder"] if mode == "held" else []))
    return host, pids


@pytest.mark.parametrize(
    ("death", "mode"),
    [("SIGKILL", "alone"), ("SIGTERM", "alone"), ("exit", "alone"), ("SIGKILL", "held"), ("exit", "held")],
)
def test_nothing_of_a_host_outlives_it(tmp_path, death, mode):
    folder = tmp_path / "private"
    host, pids = start_host(folder, mode, SLEEPER, STUBBORN, IN_A_SESSION, NAMELESS_DAEMON)
    holder = pids.pop("holder", None)  # a fork of the host, not ours to end, with the socket in its hand
    try:
        assert all(map(is_alive, pids.values()))
        if death == "exit":
            host.communicate("\n")
        else:
            host.send_signal(getattr(signal, death))
            host.communicate()
        deadline = time.monotonic() + DEATH
        survivors = [name for name, pid in pids.items() if not gone(pid, deadline - time.monotonic())]
        assert survivors == []
        assert not folder.exists()
    finally:
        if holder:
            os.kill(holder, signal.SIGKILL)


def test_a_forked_child_of_the_host_lets_go_of_the_supervisor():
    script = """
        import asyncio, os
        from py_code_mode.kernel.processes import Processes

        async def main():
            processes = await Processes.start()
            fd = processes._channel._socket.fileno()
            child = os.fork()
            if not child:
                os._exit(0 if not os.path.exists(f"/proc/self/fd/{fd}") else 1)
            assert os.waitpid(child, 0)[1] == 0
            await processes.close()

        asyncio.run(main())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


# --- starting ---


@pytest.mark.parametrize(("script", "returncode"), [("exit 7", 7), ("kill -SEGV $$", -signal.SIGSEGV)])
async def test_the_true_exit_code_or_signal_is_told(processes, script, returncode):
    process = await processes.spawn(shell(script), env=ENV, cwd="/", owner="o")
    told = asyncio.get_running_loop().create_future()
    process.add_done_callback(told.set_result)
    assert await process.wait() == returncode
    assert await told == returncode == process.returncode


@pytest.mark.parametrize("subreaper", [False, True])
async def test_a_command_that_cannot_start_is_named_with_the_reason(processes, tmp_path, subreaper):
    plain, orphaned = tmp_path / "plain", tmp_path / "orphaned"
    plain.write_text("no program")
    orphaned.write_text("#!/no/such/interpreter\n")
    orphaned.chmod(0o755)

    async def start_it(command, cwd="/"):
        await processes.spawn([command], env=ENV, cwd=cwd, owner="o", subreaper=subreaper)

    with pytest.raises(FileNotFoundError, match="no-such-command"):
        await start_it("no-such-command")
    with pytest.raises(PermissionError, match="plain"):
        await start_it(str(plain))
    with pytest.raises(FileNotFoundError, match=r"interpreter .*orphaned"):
        await start_it(str(orphaned))
    with pytest.raises(ProcessError, match=r"working directory .*missing"):
        await start_it("true", cwd=tmp_path / "missing")
    with pytest.raises(ProcessError, match="NUL"):
        await start_it("tr\0ue")
    with pytest.raises(ProcessError, match="empty"):
        await processes.spawn([], env=ENV, cwd="/", owner="o")
    assert (await do(processes, ["true"])).exit_code == 0


@pytest.mark.parametrize("subreaper", [False, True])
async def test_a_child_gets_its_environment_directory_and_fds_and_nothing_else(processes, tmp_path, subreaper):
    reading, writing = os.pipe()
    script = 'env; pwd; ls /proc/$$/fd; grep -E "Sig(Ign|Blk)" /proc/self/status; ps -o sid= -p $$; echo $$'
    env = {**ENV, "ODD": os.fsdecode(b"\xff\xfe")}
    process = await processes.spawn(
        shell(script), env=env, cwd=tmp_path, owner="me", stdout=writing, stderr=writing, subreaper=subreaper
    )
    os.close(writing)
    assert await process.wait() == 0
    with os.fdopen(reading, "rb") as output:
        lines = output.read().splitlines()
    assert {b"ODD=\xff\xfe", os.fsencode(tmp_path)} < set(lines)
    assert proctree.OWNER.encode() in {line.split(b"=")[0] for line in lines if line.endswith(b":me")}
    assert [line for line in lines if line.isdigit() and int(line) < 100] == [b"0", b"1", b"2"]
    signals = [int(line.split()[1], 16) for line in lines if line.startswith(b"Sig")]
    assert [bits & ~(3 << 31) for bits in signals] == [0, 0]  # 32 and 33 are glibc's own
    assert lines[-1] == lines[-2].strip() == str(process.pid).encode()
    assert not {line.split(b"=")[0] for line in lines} & {b"HOME", b"VIRTUAL_ENV"}


async def test_a_bad_fd_is_an_error_of_that_spawn_only(processes):
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(ProcessError, match="cannot be passed on"):
        await processes.spawn(["true"], env=ENV, cwd="/", owner="o", stdout=writing)
    os.close(reading)
    assert (await do(processes, ["true"])).exit_code == 0


async def test_a_command_is_looked_up_in_the_path_of_its_own_environment(processes, tmp_path):
    tool = tmp_path / "the-tool"
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    done = await do(processes, ["the-tool"], env={"PATH": f"/no/such/folder:{tmp_path}"})
    assert done.stdout == b"found\n"


async def test_two_hundred_spawns_at_once_all_run(processes):
    many = [do(processes, shell(f"echo {number}")) for number in range(200)]
    done = await asyncio.gather(*many)
    assert [int(each.stdout) for each in done] == list(range(200))


async def test_a_megabyte_of_arguments_and_ten_of_input_and_output_cross_whole(processes):
    part = "ä" * 1000
    env = {**ENV, **{f"NAME{number}": part for number in range(100)}}
    script = shell('test "$NAME99" = "$1" || exit 1; for last; do :; done; test "$last" = end || exit 2; cat')
    data = os.urandom(1 << 20) * 10
    done = await do(processes, [*script, *[part] * 400, "end"], env=env, stdin=data, max_output=11 << 20)
    assert done.exit_code == 0
    assert done.stdout == data


# --- ending ---


async def test_end_takes_a_tree_that_ignores_sigterm(processes):
    script = f"{IN_A_SESSION} & {STUBBORN}"
    process, stubborn, session = await start(processes, script, "stubborn", "session")
    await process.end(grace=0.1)
    assert process.returncode == -signal.SIGKILL
    assert gone(stubborn, 0)
    assert gone(session, 0)


async def test_end_takes_a_tree_that_keeps_forking(processes):
    script = "echo me $$; while :; do setsid sh -c 'sleep 0.02; sleep 300 & wait' & sleep 0.01; done"
    process, _ = await start(processes, script, "me", owner="forking")
    await asyncio.to_thread(lambda: [find_owned("forking") for _ in range(20)])
    await process.end()
    assert find_owned("forking") == []


async def test_end_gives_a_process_its_grace(processes):
    script = 'trap "exit 5" TERM; echo me $$; while :; do sleep 0.01; done'
    process, _ = await start(processes, script, "me")
    before = time.monotonic()
    await process.end(grace=20.0)
    assert process.returncode == 5
    assert time.monotonic() - before < 10


async def test_a_signal_to_the_group_reaches_the_children(processes):
    process, child = await start(processes, "sh -c 'echo child $$; exec sleep 300' & wait", "child")
    process.signal(signal.SIGINT, group=True)
    assert await process.wait() == -signal.SIGINT
    process.signal(signal.SIGINT)  # gone, and no error
    await processes.sweep("o")
    assert gone(child, 0)


async def test_sweep_takes_its_owners_processes_and_no_others(processes):
    mine, daemon = await start(processes, NAMELESS_DAEMON, "daemon", owner="mine")
    other, *_ = await start(processes, SLEEPER, "sleeper", "supervisor", owner="other")
    await mine.end()
    assert is_alive(daemon)
    await processes.sweep("mine")
    assert gone(daemon, 0)
    assert other.returncode is None
    assert is_alive(other.pid)


async def test_the_daemons_of_a_dead_kernel_end_at_once(processes):
    kernel, daemon = await start(processes, NAMELESS_DAEMON, "daemon", subreaper=True)
    kernel.signal(signal.SIGKILL)
    await kernel.wait()
    assert await asyncio.to_thread(gone, daemon)


async def test_the_daemon_of_a_tool_stays_until_its_owner_is_swept(processes):
    script = '(setsid sh -c "echo daemon \\$\\$; exec sleep 300" &)'
    tool, daemon = await start(processes, script, "daemon")
    assert await tool.wait() == 0
    kernel, *_ = await start(processes, SLEEPER, "sleeper", "supervisor", owner="another", subreaper=True)
    await kernel.end()  # ends what is left of its own owner, not this
    assert is_alive(daemon)
    await processes.sweep("o")
    assert gone(daemon, 0)


# --- commands ---


async def test_output_past_the_limit_ends_the_command(processes):
    with pytest.raises(OutputLimit) as caught:
        await do(processes, ["yes"], max_output=100_000)
    assert caught.value.limit == 100_000
    exact = await do(processes, shell("printf 12345; printf 67890 >&2"), max_output=5)
    assert (exact.stdout, exact.stderr) == (b"12345", b"67890")


async def test_a_timeout_ends_the_grandchildren_before_it_is_raised(processes):
    with pytest.raises(TimeoutError):
        await do(processes, shell("setsid sleep 300 & wait"), owner="late", timeout=0.5)
    assert find_owned("late") == []


async def test_a_cancelled_command_has_ended_when_the_cancellation_arrives(processes, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    task = asyncio.create_task(do(processes, shell(f"setsid sh -c 'echo $$ > {fifo}; sleep 300' & wait")))
    pid = int(await asyncio.to_thread(fifo.read_text))
    assert is_alive(pid)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gone(pid, 0)


async def test_a_spawn_that_is_cancelled_leaves_no_process(processes):
    for turns in range(12):
        task = asyncio.create_task(do(processes, ["sleep", "300"], owner="cancelled"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert find_owned("cancelled") == []


async def test_a_daemon_that_holds_the_pipes_open_is_not_waited_for(processes):
    done = await do(processes, shell("setsid sleep 300 & printf %070000d 1"), timeout=10)
    assert len(done.stdout) == 70_000


async def test_input_that_a_command_does_not_read_is_no_error(processes):
    done = await do(processes, shell("echo done"), stdin=bytes(1 << 20))
    assert (done.exit_code, done.stdout) == (0, b"done\n")


# --- the end ---


async def test_three_hundred_commands_leave_no_fd_and_no_zombie(processes):
    await do(processes, ["true"])
    fds, children = open_fds(), children_of_this_process()
    for _ in range(300):
        await do(processes, ["cat"], stdin=b"x")
    assert (open_fds(), children_of_this_process()) == (fds, children)
    supervisor = processes._channel._child.pid
    assert [pid for pid, seen in proctree.list_processes().items() if seen.parent == supervisor] == []
    assert len(list(Path(f"/proc/{supervisor}/fd").iterdir())) < 12
    assert processes._live == processes._replies == {}


async def test_close_leaves_nothing_and_can_be_called_again(tmp_path):
    gc.collect()
    fds, children = open_fds(), children_of_this_process()
    (tmp_path / "owned" / "inner").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    processes = await Processes.start()
    for name in ("owned", "kept"):
        processes.own_path(tmp_path / name)
    processes.disown_path(tmp_path / "kept")
    process, daemon = await start(processes, NAMELESS_DAEMON, "daemon", subreaper=True)
    await asyncio.gather(processes.close(), processes.close())
    await processes.close()
    assert process.returncode == -signal.SIGKILL
    assert gone(daemon, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (open_fds(), children_of_this_process()) == (fds, children)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    with pytest.raises(ProcessError, match="gone"):
        await do(processes, ["true"])


async def test_a_supervisor_that_is_killed_fails_every_waiter_and_takes_its_processes_along():
    fds, children = open_fds(), children_of_this_process()
    processes = await Processes.start()
    lost = asyncio.get_running_loop().create_future()
    processes.on_lost = lambda: lost.set_result(True)
    kernel, _, supervisor = await start(processes, SLEEPER, "sleeper", "supervisor", subreaper=True)
    tool, stubborn = await start(processes, STUBBORN, "stubborn")
    waiter = asyncio.create_task(kernel.wait())
    commands = [asyncio.create_task(do(processes, ["sleep", "300"], owner="lost")) for _ in range(20)]
    ending = asyncio.create_task(tool.end(grace=300.0))
    await asyncio.to_thread(until_owned, "lost")  # some are told of, some only started, some not even that
    os.kill(supervisor, signal.SIGKILL)
    assert await lost
    assert await waiter == kernel.returncode == tool.returncode == -signal.SIGKILL
    failures = await asyncio.gather(*commands, return_exceptions=True)
    assert {type(failure) for failure in failures} == {ProcessError}
    await ending
    assert find_owned("lost") == []
    assert processes.lost
    assert all(await asyncio.gather(*(asyncio.to_thread(gone, pid) for pid in (kernel.pid, stubborn))))
    await processes.close()
    gc.collect()
    assert (open_fds(), children_of_this_process()) == (fds, children)


async def test_a_supervisor_that_hangs_is_killed_by_close_with_its_processes(monkeypatch):
    monkeypatch.setattr("py_code_mode.kernel.processes.CLOSE_TIMEOUT", 0.2)
    processes = await Processes.start()
    tool, sleeper, supervisor = await start(processes, SLEEPER, "sleeper", "supervisor")
    os.kill(supervisor, signal.SIGSTOP)
    await processes.close()
    assert gone(supervisor, 0)
    assert await asyncio.to_thread(gone, sleeper)
    assert tool.returncode == -signal.SIGKILL


@pytest.mark.parametrize("frame", [b"\xff\xff\xff\xff", b"\0\0\0\x02[]", b'\0\0\0\x0c{"op":"none"}'])
async def test_a_malformed_frame_ends_everything(frame):
    processes = await Processes.start()
    process, daemon = await start(processes, NAMELESS_DAEMON, "daemon")
    processes._channel._socket.send(frame)
    assert await process.wait() == -signal.SIGKILL
    assert await asyncio.to_thread(gone, daemon)
    await processes.close()


async def test_sigterm_ends_the_supervisor_with_everything_it_owns(tmp_path):
    processes = await Processes.start()
    processes.own_path(tmp_path / "owned")
    (tmp_path / "owned").mkdir()
    process, daemon, supervisor = await start(
        processes, f"echo supervisor $PPID; {NAMELESS_DAEMON}", "daemon", "supervisor"
    )
    for harmless in (signal.SIGINT, signal.SIGHUP):
        os.kill(supervisor, harmless)
    assert (await do(processes, ["true"])).exit_code == 0
    os.kill(supervisor, signal.SIGTERM)
    assert await process.wait() == -signal.SIGKILL
    assert await asyncio.to_thread(gone, supervisor)
    assert gone(daemon, 0)
    assert not (tmp_path / "owned").exists()
    await processes.close()


async def test_start_fails_with_a_reason_when_the_interpreter_is_none(monkeypatch, tmp_path):
    for executable in ("", str(tmp_path / "missing"), "/bin/true"):
        monkeypatch.setattr(sys, "executable", executable)
        with pytest.raises(ProcessError, match="supervisor"):
            await Processes.start()


def test_ps_and_proc_tell_the_same_about_a_process():
    child = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        found = [listing()[child.pid] for listing in (proctree.linux_processes, proctree.posix_processes)]
    finally:
        child.kill()
        child.wait()
    assert [(seen.parent, seen.session, seen.zombie) for seen in found] == [(os.getpid(), child.pid, False)] * 2
    assert proctree.owner_of(os.getpid()) is None
    assert not proctree.kill(child.pid, signal.SIGTERM)
