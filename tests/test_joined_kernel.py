"""Other clients of a session's kernel: they see and use it, and change nothing for the session."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import pytest
from jupyter_client import AsyncKernelClient

from kernel_bootstrap.interrupts import Interrupts
from py_code_mode import Session, SubprocessExecutor
from py_code_mode.results import BeginEvent, EndEvent, StreamEvent

from .sessions import open_session

TOOL = """
name: shout
type: cli
command: printf
timeout: 5
schema:
  positional: [{name: text, type: string, required: true}]
"""


async def joined(session: Session) -> AsyncKernelClient:
    client = AsyncKernelClient(connection_file=str(session.connection_file))
    client.load_connection_file()
    client.start_channels()
    await client.wait_for_ready(timeout=20)
    return client


@pytest.fixture
async def person(session: Session) -> AsyncIterator[AsyncKernelClient]:
    """Another client of ``session``'s kernel."""
    client = await joined(session)
    yield client
    client.stop_channels()


async def execute(client: AsyncKernelClient, code: str, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The reply to ``code``, and what came of it on iopub."""
    heard: list[dict[str, Any]] = []
    reply = await client.execute_interactive(code, timeout=30, output_hook=heard.append, **options)
    return reply["content"], heard


def text_of(heard: list[dict[str, Any]]) -> str:
    return "".join(message["content"]["text"] for message in heard if message["msg_type"] == "stream")


async def begun(client: AsyncKernelClient, code: str) -> str:
    """Send ``code`` and wait until the kernel works on it; its msg_id."""
    msg_id = client.execute(code)
    while True:
        message = await client.get_iopub_msg(timeout=20)
        if message["msg_type"] == "execute_input" and message["parent_header"]["msg_id"] == msg_id:
            return str(msg_id)


@pytest.mark.parametrize("silent", [False, True])
async def test_a_cell_is_seen_to_be_busy_before_it_ends(session, person, tmp_path, silent):
    msg_id = person.execute("import os\nwhile not os.path.exists('go'): pass", silent=silent)
    seen = []
    while "busy" not in seen or not (silent or "execute_input" in seen):
        message = await person.get_iopub_msg(timeout=20)
        if message["parent_header"].get("msg_id") == msg_id:
            seen.append(message["content"].get("execution_state", message["msg_type"]))
    (tmp_path / "go").touch()
    assert seen[0] == "busy"
    assert (await person.get_shell_msg(timeout=20))["content"]["status"] == "ok"


async def test_another_client_sees_the_variables_of_the_session_and_the_session_its(session, person):
    await session.run("found = [1, 2]")
    reply, heard = await execute(person, "print(sum(found)); mine = 7")
    assert reply["status"] == "ok"
    assert text_of(heard) == "3\n"
    assert (await session.run("mine")).value == 7


async def test_outputs_of_the_session_and_of_others_stay_apart(session, person):
    for number in range(10):
        ours, theirs = await asyncio.gather(
            session.run(f"print('ours {number}'); {number}"), execute(person, f"print('theirs {number}')")
        )
        assert (ours.stdout, ours.value, ours.error) == (f"ours {number}\n", number, None)
        assert text_of(theirs[1]) == f"theirs {number}\n"


async def test_the_four_names_work_in_the_cells_of_others(tmp_path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "shout.yaml").write_text(TOOL)
    async with open_session(tmp_path) as session:
        await session.add_workflow("double", "async def run(n: int) -> int:\n    return 2 * n\n", "Doubles")
        client = await joined(session)
        code = "artifacts.save('a', 1); print(tools.shout(text='hi'), workflows.double(n=4), artifacts.load('a'), deps.list())"
        _, heard = await execute(client, code)
        assert text_of(heard) == "hi 8 1 []\n"
        client.stop_channels()


async def test_a_run_waits_for_anothers_cell_and_its_time_counts_from_its_own_start(session, person):
    await begun(person, "import time; time.sleep(1.5)")
    result = await session.run("time.sleep(1)\n'through'", timeout=2)
    assert (result.value, result.error) == ("through", None)


async def test_a_run_that_waits_too_long_for_others_is_not_sent_and_says_so(session, person):
    await begun(person, "import time; time.sleep(2); done = True")
    started = time.monotonic()
    result = await session.run("never = 1", timeout=0.5)
    assert time.monotonic() - started < 1.5
    assert result.timed_out
    assert not result.kernel_restarted
    assert (
        result.error == "TimeoutError: another client's code has kept the kernel busy for 0.5 s; this code was not run"
    )
    assert (await session.run("done, 'never' in globals()", timeout=10)).value == (True, False)


async def test_interrupting_a_run_that_waits_for_others_leaves_them_alone(session, person):
    await begun(person, "import time; time.sleep(1); done = True")
    run = asyncio.ensure_future(session.run("never = 1"))
    await asyncio.sleep(0)
    session.interrupt()
    result = await asyncio.wait_for(run, 0.9)
    assert result.error_name == "KeyboardInterrupt"
    assert (await session.run("done, 'never' in globals()")).value == (True, False)


async def arrived(client: AsyncKernelClient) -> None:
    """Wait until the kernel has all that ``client`` sent on its shell channel, though a cell keeps it busy."""
    message = client.session.msg("create_subshell_request")
    client.control_channel.send(message)
    subshell = (await client.get_control_msg(timeout=20))["content"]["subshell_id"]
    message = client.session.msg("kernel_info_request")
    message["header"]["subshell_id"] = subshell
    client.shell_channel.send(message)
    while (await client.get_shell_msg(timeout=20))["parent_header"]["msg_id"] != message["header"]["msg_id"]:
        pass


async def overtake(session: Session, client: AsyncKernelClient, theirs: str, ours: str, **options: Any) -> Any:
    """Let the kernel have ``theirs`` before ``ours``, both waiting for a cell to end; returns the run of ``ours``."""
    session.events()
    hold = session.start_run("import time, threading; gate = threading.Event(); gate.wait()")
    while not any(found["name"] == "gate" for found in await session.variables()):
        pass
    client.execute(theirs)
    await arrived(client)
    run = session.start_run(ours, **options)
    await session.inspect("opened")
    await hold.result()
    return run


@pytest.mark.parametrize("how", ["timeout", "interrupt"])
async def test_a_run_that_anothers_cell_overtook_is_withdrawn(session, person, how):
    await session.run(OPENER)
    run = await overtake(session, person, "time.sleep(2); done = True", "never = 1", timeout=0.5)
    if how == "interrupt":
        session.interrupt()
    result = await run.result()
    assert result.error_name == {"timeout": "TimeoutError", "interrupt": "KeyboardInterrupt"}[how]
    assert not result.kernel_restarted
    assert (await session.run("done, 'never' in globals()", timeout=10)).value == (True, False)


async def test_a_run_that_anothers_failing_cell_took_with_it_is_run_all_the_same(session, person):
    await session.run(OPENER)
    run = await overtake(session, person, "1 / 0", "'run'")
    assert (await run.result()).value == "run"


async def test_runs_that_are_withdrawn_behind_a_long_queue_never_run(session, person):
    await session.run("import time; mine = []; theirs = []")
    for number in range(300):
        person.execute(f"time.sleep(0.01); theirs.append({number})")
    told = []
    while len(told) < 100:
        result = await session.run(f"mine.append({len(told)})", timeout=0.02)
        assert not result.kernel_restarted
        told.append(result.error is None)
    ran = (await session.run("mine, theirs", timeout=30)).value
    assert ran == ([number for number, ok in enumerate(told) if ok], list(range(300)))


def test_a_cell_that_has_run_is_never_told_to_be_withdrawn_though_another_came_after_it():
    with closing(asyncio.new_event_loop()) as loop:
        interrupts = Interrupts(loop, {})
        for cell in ("ours", "theirs"):
            interrupts.begin(cell)
            interrupts.end()
        assert interrupts.request("ours", withdraw=True)
        assert not interrupts.request("later", withdraw=True)


async def test_a_persons_cell_is_known_of_though_it_lets_nothing_out(session, person):
    await session.run("def hold():\n    return sum(range(2 * 10 ** 7))")
    executor = session._executor
    assert isinstance(executor, SubprocessExecutor)
    others = executor._ready_kernel().client.others
    for _ in range(8):
        person.execute("hold()")
        reply = asyncio.ensure_future(person.get_shell_msg(timeout=20))
        while not others.busy:
            assert not reply.done()
            await asyncio.sleep(0)
        await reply
        while others.busy:
            await asyncio.sleep(0)


async def test_a_run_waits_for_what_a_persons_widget_does(session, person):
    await session.run(
        "import time\ndef handle(comm, message):\n    time.sleep(1); globals()['handled'] = True\n"
        "get_ipython().kernel.comm_manager.register_target('widget', handle)"
    )
    content = {"comm_id": "1", "target_name": "widget", "data": {}}
    person.shell_channel.send(person.session.msg("comm_open", content))
    await arrived(person)
    result = await session.run("1", timeout=0.3)
    assert (result.timed_out, result.kernel_restarted) == (True, False)
    assert "another client's code" in result.error
    assert (await session.run("handled", timeout=10)).value is True


async def test_a_busy_without_an_end_holds_a_run_up_for_a_moment_only(session):
    await session.run("import json, time\nkernel = get_ipython().kernel")
    header = {"msg_id": "forged", "session": "another", "msg_type": "execute_request"}
    forge = "kernel.session.send(kernel.iopub_socket, {}, {}, parent={{'header': {}}})"
    busy = forge.format("'status'", "{'execution_state': 'busy'}", header)
    events = session.events()
    await session.run(busy + "\n" + forge.format("'execute_input'", "{'code': 'evil'}", header))
    assert (await session.run("2", timeout=20)).value == 2
    await session.close()
    others = [type(e.event) async for e in events if e.by == "other"]
    assert others == [BeginEvent, EndEvent]


OPENER = """
class Opener:
    def __repr__(self):
        gate.set()
        return "open"
opened = Opener()
"""


async def test_a_persons_interrupt_of_the_sessions_code_is_its_result(session, person):
    run = session.start_run("import time; time.sleep(30)")
    while not await session.stack():
        pass
    person.control_channel.send(person.session.msg("interrupt_request", {}))
    result = await run.result()
    assert result.error_name == "KeyboardInterrupt"
    assert not result.timed_out


async def test_an_interrupt_that_is_lost_on_its_way_into_a_call_that_blocks_is_repeated(session, person):
    # It is lost where it comes between the last look at signals and the call; here, each of the first two.
    lossy = "kill = signal.pthread_kill\ndef lose(*of): signal.pthread_kill = next(losing)\n"
    lossy += "losing = iter([lose, kill])\nsignal.pthread_kill = lose\n"
    run = session.start_run(f"import signal, time\n{lossy}print('begun')\ntime.sleep(30)")
    async for _ in run.events():
        break
    person.control_channel.send(person.session.msg("interrupt_request", {}))
    result = await run.result()
    assert (result.error_name, result.kernel_restarted) == ("KeyboardInterrupt", False)


async def test_a_kernel_that_a_person_shuts_down_is_replaced(session, person):
    await session.run("x = 1")
    person.shutdown()
    while os.path.exists(session.connection_file):  # noqa: PTH110
        if (await session.run("'x' in globals()")).kernel_restarted:
            break
    assert (await session.run("'x' in globals()")).value is False


async def test_a_persons_damage_is_repaired_before_the_sessions_next_cell(session, person):
    await execute(person, "import sys, builtins; sys.stdout = None; tools = 5; del builtins.print")
    result = await session.run("print(type(tools).__name__)")
    assert result.stdout == "Tools\n"


async def test_a_persons_cell_that_kills_the_kernel_ends_a_run_that_waits(session, person):
    events = session.events()
    person.execute("import os, time; time.sleep(0.5); os._exit(3)")
    await anext(events)  # the host knows of it
    result = await session.run("1 + 1")
    assert (result.value, result.kernel_restarted) == (2, True)
    ended = await anext(events)
    assert (ended.by, ended.event.result.error) == ("other", "KernelDiedError: the kernel has ended")


async def test_a_persons_cell_ends_with_its_kernel_though_the_session_does_nothing(session, person):
    events = session.events()
    person.execute("import os; os._exit(3)")
    assert isinstance((await anext(events)).event, BeginEvent)
    ended = (await anext(events)).event
    assert isinstance(ended, EndEvent)
    assert ended.result.error_name == "KernelDiedError"


async def test_a_look_goes_on_when_a_person_has_deleted_its_subshell(session, person):
    await session.run("x = 1")
    await session.variables()
    person.control_channel.send(person.session.msg("list_subshell_request"))
    for subshell in (await person.get_control_msg(timeout=20))["content"]["subshell_id"]:
        person.control_channel.send(person.session.msg("delete_subshell_request", {"subshell_id": subshell}))
        await person.get_control_msg(timeout=20)
    assert [found["name"] for found in await session.variables()] == ["x"]


async def test_events_tell_of_the_cells_of_others_and_mark_them(session, person):
    events = session.events()
    await execute(person, "print('hi'); 5")
    await session.run("6")
    await session.close()
    seen = [event async for event in events]
    assert [(e.cell, e.by, type(e.event)) for e in seen if isinstance(e.event, BeginEvent | EndEvent)] == [
        (1, "other", BeginEvent),
        (1, "other", EndEvent),
        (2, "session", BeginEvent),
        (2, "session", EndEvent),
    ]
    assert seen[0].event == BeginEvent("print('hi'); 5")
    assert StreamEvent("stdout", "hi\n") in [e.event for e in seen]
    ended = seen[3].event.result if isinstance(seen[3].event, EndEvent) else seen[-4].event.result
    assert (ended.stdout, ended.execution_count, ended.error) == ("hi\n", 1, None)
    assert [output.data["text/plain"] for output in ended.outputs] == ["5"]


async def test_an_error_of_anothers_cell_is_in_its_result(session, person):
    events = session.events()
    await execute(person, "1 / 0")
    await session.close()
    (result,) = [e.event.result async for e in events if isinstance(e.event, EndEvent)]
    assert (result.error, result.error_name) == ("ZeroDivisionError: division by zero", "ZeroDivisionError")
    assert "\x1b" not in result.traceback


async def test_a_flood_in_anothers_cell_does_not_fill_the_host(tmp_path):
    async with open_session(tmp_path, max_output_bytes=100_000) as session:
        client = await joined(session)
        events = session.events()
        await execute(client, "for _ in range(200): print('x' * 9999)")
        await session.close()
        results = [e.event.result async for e in events if isinstance(e.event, EndEvent)]
        assert results[0].truncated
        assert len(results[0].stdout) < 110_000
        client.stop_channels()


async def test_a_subshell_of_another_client_runs_beside_the_sessions_code(session, person):
    person.control_channel.send(person.session.msg("create_subshell_request"))
    subshell = (await person.get_control_msg(timeout=20))["content"]["subshell_id"]
    await session.run("import threading; gate = threading.Event()")
    run = session.start_run("print('before'); gate.wait(20); print('after'); 'ours'")
    while not await session.stack():
        pass
    code = "print('beside')\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    gate.set()\n'theirs'"
    message = person.session.msg("execute_request", {"code": code, "silent": False})
    message["header"]["subshell_id"] = subshell
    person.shell_channel.send(message)
    result = await run.result()
    assert (result.value, result.stdout, result.error) == ("ours", "before\nafter\n", None)


async def test_many_clients_and_the_session_at_once_lose_nothing(session):
    clients = [await joined(session) for _ in range(3)]
    await session.run("seen = []")

    async def work(name: str) -> None:
        client = clients[int(name)]
        for number in range(15):
            reply, _ = await execute(client, f"seen.append(('{name}', {number}))")
            assert reply["status"] == "ok"

    async def agent() -> None:
        for number in range(15):
            assert (await session.run(f"seen.append(('agent', {number})); {number}")).value == number

    await asyncio.gather(agent(), *(work(str(n)) for n in range(3)))
    seen = (await session.run("seen")).value
    assert len(seen) == 60
    for name in ("agent", "0", "1", "2"):
        assert [number for who, number in seen if who == name] == list(range(15))
    for client in clients:
        client.stop_channels()


async def test_after_a_reset_the_connection_file_is_another(session):
    before = session.connection_file
    await session.reset()
    assert session.connection_file != before
    assert not before.exists()
    assert session.connection_file.exists()


async def test_a_killed_kernel_is_followed_by_one_that_can_be_joined(session):
    before = session.connection_file
    await session.run("import os; os._exit(1)")
    await session.run("x = 3")
    client = await joined(session)
    assert session.connection_file != before
    _, heard = await execute(client, "x")
    assert [m["content"]["data"]["text/plain"] for m in heard if m["msg_type"] == "execute_result"] == ["3"]
    client.stop_channels()


async def test_a_person_sees_the_frames_of_the_cell_and_not_of_the_kernel(session, person):
    reply, _ = await execute(person, "def fetch():\n    return tools.missing()\nfetch()")
    shown = "\n".join(reply["traceback"])
    assert "fetch" in shown
    assert "ToolNotFoundError" in shown
    assert "kernel_bootstrap" not in shown
    assert "skipping hidden" not in shown


async def test_a_console_that_leaves_does_not_take_the_sessions_kernel_with_it(session, person):
    await session.run("x = 1")
    reply, _ = await execute(person, "exit")
    assert reply["payload"] == [{"source": "ask_exit", "keepkernel": True}]  # what jupyter_console goes by
    assert (await session.run("x")).value == 1
