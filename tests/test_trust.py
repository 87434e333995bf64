"""The kernel never has to be trusted, and nobody else gets to it."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from kernel_bootstrap.wire import Message, pack, unpack
from py_code_mode.session import Session

from .sessions import open_session


@pytest.fixture
async def directory(session: Session) -> Path:
    """The directory of the session's kernel."""
    path = (await session.run("from ipykernel import get_connection_file; get_connection_file()")).value
    return Path(path).parent


@pytest.fixture
def socket(directory: Path) -> Iterator[zmq.Socket[bytes]]:
    """A second client of the link."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(json.loads((directory / "link.json").read_text())["endpoint"])
        yield dealer


async def test_the_sockets_of_a_kernel_lie_where_only_its_user_gets(directory: Path):
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    sockets = [path for path in directory.rglob("*") if path.is_socket()]
    assert len(sockets) == 6  # five of Jupyter, and the link
    assert len(str(directory)) < 80


async def test_requests_without_the_key_and_malformed_ones_get_no_answer(socket, directory: Path, session: Session):
    key = json.loads((directory / "link.json").read_text())["key"]
    for strange in (
        pack(Message("request", "1", {}, method="artifacts.list")),
        pack(Message("request", "2", {}, method="artifacts.list", key="guessed")),
        pack(Message("request", "3", {}, method="artifacts.list", key="\ud800")),
        [b"{"],
        [b"[]", b"null"],
        [b'{"v": 1, "kind": "request"}', b"null"],
    ):
        socket.send_multipart(strange)
    socket.send_multipart(pack(Message("request", "4", {"$": "map", "v": []}, method="no.such", key=key)))
    socket.send_multipart(pack(Message("request", "5", {}, method="artifacts.list", key=key)))
    answers = []
    while len(answers) < 2:
        assert socket.poll(5000)
        answers.append(unpack(socket.recv_multipart()))
    assert sorted((answer.id, answer.kind) for answer in answers) == [("4", "error"), ("5", "reply")]
    assert (await session.run("artifacts.list()")).value == []


async def test_every_kernel_has_a_key_of_its_own(tmp_path: Path):
    code = "import json, os\nfrom ipykernel import get_connection_file\n"
    code += "json.load(open(os.path.join(os.path.dirname(get_connection_file()), 'link.json')))['key']"
    async with open_session(tmp_path / "one") as one, open_session(tmp_path / "two") as two:
        keys = [(await session.run(code)).raise_for_error().value for session in (one, two)]
    assert len(set(keys)) == 2
    assert min(map(len, keys)) >= 32
