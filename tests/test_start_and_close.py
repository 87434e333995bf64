"""Start and close, called at the same time."""

from __future__ import annotations

import asyncio

import psutil
import pytest

from py_code_mode import Session
from py_code_mode.errors import SessionClosedError

from .sessions import open_session
from .venvs import make_wheel, use_only

SUBSCRIBE_DURING_A_SEND = """\
import threading, zmq

publisher = get_ipython().kernel.iopub_thread
client = zmq.Context().socket(zmq.SUB)
client.subscribe(b"topic")
subscribed = threading.Event()

def send_until_subscribed():
    # On the thread that sends: so the subscription comes in while it is not looking for any.
    client.connect(publisher.socket.last_endpoint)
    while not client.poll(1):
        publisher._really_send([b"topic"])
    subscribed.set()

publisher.schedule(send_until_subscribed)
assert subscribed.wait(20)
message = [b"topic"]
while message == [b"topic"] and client.poll(5000):
    message = client.recv_multipart()
client.close(0)
b"iopub_welcome" in b"".join(message)
"""


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


async def test_a_second_close_waits_for_the_first(tmp_path):
    before = psutil.Process().children(recursive=True)
    session = open_session(tmp_path)
    await session.start()
    first = asyncio.ensure_future(session.close())
    second = asyncio.ensure_future(session.close())
    await second
    assert psutil.Process().children(recursive=True) == before
    await first


async def test_a_second_start_fails_as_the_first_did(tmp_path):
    session = open_session(tmp_path, python_version="3.2")
    first, second = asyncio.ensure_future(session.start()), asyncio.ensure_future(session.start())
    await asyncio.wait({first, second})
    assert first.exception() is not None
    assert second.exception() is first.exception()
    with pytest.raises(SessionClosedError):
        await session.run("1")


async def test_a_second_start_waits_for_the_packages_too(tmp_path, monkeypatch):
    make_wheel(tmp_path / "wheels", "cmfirst")
    use_only(tmp_path / "wheels", monkeypatch)
    base = tmp_path / "base"
    base.mkdir()
    (base / "requirements.txt").write_text("cmfirst\n")
    session = Session.subprocess(base, sync_deps_on_start=True)
    first, second = asyncio.ensure_future(session.start()), asyncio.ensure_future(session.start())
    try:
        await second
        assert (await session.run("import cmfirst; cmfirst.VERSION")).value == "1.0"
    finally:
        await first
        await session.close()


async def test_a_requirement_that_cannot_be_installed_on_start_is_told_and_the_session_works(tmp_path, monkeypatch):
    use_only(tmp_path / "wheels", monkeypatch)
    base = tmp_path / "base"
    base.mkdir()
    (base / "requirements.txt").write_text("cm-not-there\n")
    session = Session.subprocess(base, sync_deps_on_start=True)
    try:
        with pytest.warns(RuntimeWarning, match="could not install cm-not-there: "):
            await session.start()
        assert (await session.run("1 + 1")).value == 2
    finally:
        await session.close()


async def test_a_client_that_subscribes_while_the_kernel_sends_is_welcomed(session):
    """A start waits for the welcome; zmq forgets the edge of a subscription that comes during a send."""
    for _ in range(10):
        assert (await session.run(SUBSCRIBE_DURING_A_SEND)).raise_for_error().value is True
