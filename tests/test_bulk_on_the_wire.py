"""Uploads and downloads, frame by frame, by a client that does not do what a kernel does."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from kernel_bootstrap.errors import LinkError
from kernel_bootstrap.wire import PART, WINDOW, Message, pack, unpack
from py_code_mode.host import transfer
from py_code_mode.session import Session

from .sessions import open_files

LARGE = os.urandom(PART + 1) * 10


class Client:
    """A second client of the link of a session's kernel; each use has an id of its own."""

    def __init__(self, socket: zmq.Socket[bytes], key: str) -> None:
        self._socket = socket
        self._key = key
        self._id = "0"
        self._probes = itertools.count()

    def begin(self, kind: str, method: str, **params: Any) -> None:
        self._id = str(int(self._id) + 1)
        self._socket.send_multipart(pack(Message(kind, self._id, params, (), method, key=self._key)))

    def save(self, name: str, size: Any) -> None:
        self.begin("upload", "artifacts.save", name=name, format="bytes", size=size)

    def send(self, kind: str, body: Any = None, *buffers: bytes) -> None:
        self._socket.send_multipart(pack(Message(kind, self._id, body, buffers, key=self._key)))

    def answer(self, timeout: float = 5.0) -> Message:
        assert self._socket.poll(int(timeout * 1000)), "no answer came"
        message = unpack(self._socket.recv_multipart())
        assert message.id == self._id
        return message

    def is_silent(self) -> bool:
        """Whether no more comes of what the host has to say up to now."""
        probe = f"probe {next(self._probes)}"
        self._socket.send_multipart(pack(Message("request", probe, {}, (), "artifacts.list", key=self._key)))
        assert self._socket.poll(5000)
        return unpack(self._socket.recv_multipart()).id == probe


@pytest.fixture
async def client(shared: Session) -> Any:
    path = (await shared.run("from ipykernel import get_connection_file; get_connection_file()")).value
    link = json.loads((Path(path).parent / "link.json").read_text())
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect(link["endpoint"])
        yield Client(socket, link["key"])


@pytest.fixture(autouse=True)
def clean(shared: Session) -> Iterator[None]:
    """Nothing is left of what a test began."""
    yield
    deadline = time.monotonic() + 5
    while any("artifacts/" in item for item in open_files()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert list(folder(shared).glob(".meta/tmp/*")) == []


def folder(session: Session) -> Path:
    return session.storage.base_path / "artifacts"


async def test_no_more_parts_are_sent_than_were_asked_for(shared: Session, client: Client):
    await shared.save_artifact("sent", LARGE)
    client.begin("request", "artifacts.load", name="sent")
    head = client.answer()
    assert (head.kind, head.body["size"], head.body["format"]) == ("head", len(LARGE), "bytes")
    assert client.is_silent()
    for wanted in (1, 2, 10**9):
        client.send("want", wanted)
        parts = [client.answer() for _ in range(min(wanted, WINDOW))]
        assert [(part.kind, len(part.buffers[0])) for part in parts] == [("part", PART)] * len(parts)
        assert client.is_silent()
    for strange in (0, -1, "2", None, True, 2.0):
        client.send("want", strange)
    assert client.is_silent()
    client.send("cancel")
    assert client.answer().kind == "error"


async def test_what_is_read_is_one_version_of_an_artifact_that_is_replaced_and_deleted_meanwhile(
    shared: Session, client: Client
):
    await shared.save_artifact("replaced", LARGE)
    client.begin("request", "artifacts.load", name="replaced")
    assert client.answer().kind == "head"
    client.send("want", 1)
    found = [bytes(client.answer().buffers[0])]
    await shared.save_artifact("replaced", b"other" * 1_000_000)
    await shared.delete_artifact("replaced")
    while sum(map(len, found)) < len(LARGE):
        client.send("want", 1)
        found.append(bytes(client.answer().buffers[0]))
    assert b"".join(found) == LARGE


async def test_a_file_that_is_cut_short_while_it_is_read_is_a_storage_error(shared: Session, client: Client):
    await shared.save_artifact("cut", LARGE)
    client.begin("request", "artifacts.load", name="cut")
    assert client.answer().kind == "head"
    os.truncate(folder(shared) / "cut", 100)
    client.send("want", WINDOW)
    while (answer := client.answer()).kind == "part":  # what was read ahead
        pass
    assert (answer.kind, answer.body["type"]) == ("error", "StorageError")


@pytest.mark.parametrize("size", [None, -1, 1.5, "2", True])
async def test_an_upload_without_a_size_is_refused(client: Client, size):
    client.save("refused", size)
    assert client.answer().kind == "error"


async def test_parts_that_nobody_asked_for_are_dropped(shared: Session, client: Client):
    client.send("part", None, b"early")
    client.save("asked", 3)
    assert client.answer().body == WINDOW
    client.send("part", None)
    client.send("part", None, b"two", b"buffers")
    client.send("part", None, bytes(PART + 1))
    client.send("part", None, b"")
    client.send("part", None, b"yes")
    client.send("part", None, b"late")
    reply = client.answer()
    assert (reply.kind, reply.body["size"]) == ("reply", 3)
    assert await shared.load_artifact("asked") == b"yes"


async def test_more_bytes_than_were_announced_are_refused(shared: Session, client: Client):
    client.save("more", 3)
    assert client.answer().kind == "want"
    client.send("part", None, b"four")
    assert client.answer().kind == "error"
    assert shared.storage.get_artifact_store().get("more") is None


async def test_an_upload_and_a_download_that_stand_still_are_given_up(shared: Session, client: Client, monkeypatch):
    # As long as nobody ends its kernel: the forked child of a cell that ended half-way is not missed otherwise.
    monkeypatch.setattr(transfer, "STALLED", 0.1)
    client.save("half", 6)
    assert client.answer().kind == "want"
    client.send("part", None, b"one")
    assert client.answer().kind == "want"
    error = client.answer()
    assert (error.kind, error.body["type"]) == ("error", LinkError.__name__)
    await shared.save_artifact("whole", LARGE)
    client.begin("request", "artifacts.load", name="whole")
    assert client.answer().kind == "head"
    assert client.answer().body["type"] == LinkError.__name__


async def test_an_upload_to_a_method_that_takes_none_is_an_error(client: Client):
    client.begin("upload", "artifacts.list", size=3)
    assert client.answer().kind == "error"
