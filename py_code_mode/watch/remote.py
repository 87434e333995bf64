"""What another process's session does at this moment, asked of its kernel: bounded, and without a trace in it.

The control channel answers while a cell runs, and so does a subshell. Unlike ``kernel.client`` this never listens to
what the kernel publishes. A kernel is not trusted: what it says becomes text that a terminal can show.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jupyter_client.session
import zmq

from py_code_mode.errors import KernelError
from py_code_mode.live import LiveSession

ANSWER_WAIT = 1.0
"""A kernel that has not answered after so many seconds is held by a C call, or stopped."""

_LOOK_WAIT = 3.0
_LARGEST_ANSWER = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a live session does."""

    session: LiveSession
    state: Literal["idle", "busy", "not answering"]
    code: str = ""
    """The first line of the cell that runs, at most 200 characters."""
    seconds: float | None = None
    """For how long it has run."""
    by: Literal["session", "other"] | None = None
    """Who has sent it: "other" is another client of the kernel, such as a person in JupyterLab."""
    stack: str = ""
    """Where it stands, outermost call first; only where that was asked for."""
    memory: int | None = None
    """Bytes that the kernel's process has in memory, None where that cannot be told."""


def states(sessions: Iterable[LiveSession], *, stack: bool = False, timeout: float = ANSWER_WAIT) -> list[State]:
    """The states of ``sessions``, all asked at once; those that have ended meanwhile are left out."""
    content = {"py_code_mode": True, "stack": stack}
    with ExitStack() as opened:
        context = opened.enter_context(zmq.Context())
        asked: list[tuple[LiveSession, _Channel]] = []
        for session in sessions:
            try:
                channel = _Channel(context, session, "control")
            except (OSError, ValueError, LookupError):
                continue
            opened.callback(channel.close)
            channel.send("usage_request", content)
            asked.append((session, channel))
        answers = _answers([channel for _, channel in asked], timeout)
    return [
        _state(session, answer)
        for (session, _), answer in zip(asked, answers, strict=True)
        if answer is not None or session.connection_file.exists()
    ]


def variables(session: LiveSession, limit: int = 200) -> list[dict[str, Any]]:
    """The first ``limit`` variables of the session's code: see ``Session.variables``.

    Raises KernelError where the kernel does not tell, OSError where it has just ended.
    """
    with ExitStack() as opened:
        context = opened.enter_context(zmq.Context())
        control = _Channel(context, session, "control")
        opened.callback(control.close)
        shell = _Channel(context, session, "shell")
        opened.callback(shell.close)
        subshell = control.ask("create_subshell_request", {}).get("subshell_id")
        if not isinstance(subshell, str):
            raise KernelError("the kernel has no subshells")
        answer = shell.ask("look_request", {"name": None, "limit": limit}, subshell)
        # Only now: to end one that is stuck in a repr would stop the whole kernel.
        control.ask("delete_subshell_request", {"subshell_id": subshell})
    found = answer.get("found")
    if not isinstance(found, list):
        raise KernelError(printable(str(answer.get("message", "the kernel refused to answer"))))
    return [_variable(item) for item in found[:limit] if isinstance(item, dict)]


def printable(text: str) -> str:
    """``text`` with every character that a terminal would obey written as an escape; line ends and tabs stay."""
    return "".join(char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text)


class _Channel:
    """One channel to one kernel. Raises OSError, ValueError or LookupError where there is no kernel any more."""

    def __init__(self, context: zmq.Context[Any], session: LiveSession, name: str) -> None:
        info = session.connection_info()
        self._session = jupyter_client.session.Session(
            key=info["key"], signature_scheme=info["signature_scheme"], digest_history_size=0
        )
        self.socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.maxmsgsize = _LARGEST_ANSWER
        separator = "-" if info["transport"] == "ipc" else ":"
        self.socket.connect(f"{info['transport']}://{info['ip']}{separator}{info[f'{name}_port']}")
        self._asked = ""

    def send(self, kind: str, content: dict[str, Any], subshell: str | None = None) -> None:
        message = self._session.msg(kind, content)
        self._asked = message["header"]["msg_id"]
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        self.socket.send_multipart(self._session.serialize(message))

    def receive(self) -> dict[str, Any] | None:
        """The content of the answer; None for anything else that has come."""
        try:
            _, message = self._session.recv(self.socket)
            if message is None or message["parent_header"].get("msg_id") != self._asked:
                return None
            return dict(message["content"])
        except (ValueError, TypeError, LookupError, RecursionError):
            return None

    def ask(self, kind: str, content: dict[str, Any], subshell: str | None = None) -> dict[str, Any]:
        """The same for one request; raises KernelError when no answer comes."""
        self.send(kind, content, subshell)
        (answer,) = _answers([self], _LOOK_WAIT)
        if answer is None:
            text = f"the kernel did not answer within {_LOOK_WAIT:g} s: a C call or a repr of its code blocks it"
            raise KernelError(text)
        return answer

    def close(self) -> None:
        self.socket.close(linger=0)


def _answers(channels: Sequence[_Channel], timeout: float) -> list[dict[str, Any] | None]:
    """The answer on each channel, None where none came within ``timeout`` seconds in all."""
    answers: list[dict[str, Any] | None] = [None] * len(channels)
    poller = zmq.Poller()
    waiting = {channel.socket: number for number, channel in enumerate(channels)}
    for socket in waiting:
        poller.register(socket, zmq.POLLIN)
    last = time.monotonic() + timeout
    while waiting and (left := last - time.monotonic()) > 0:
        for socket, _ in poller.poll(math.ceil(left * 1000)):
            number = waiting[socket]
            if (answer := channels[number].receive()) is not None:
                answers[number] = answer
                poller.unregister(socket)
                del waiting[socket]
    return answers


def _state(session: LiveSession, answer: dict[str, Any] | None) -> State:
    memory = _memory(session.kernel_pid)
    if answer is None:
        return State(session=session, state="not answering", memory=memory)
    if answer.get("running") is None:
        return State(session=session, state="idle", memory=memory)
    code, seconds, by = answer.get("code"), answer.get("seconds"), answer.get("by")
    return State(
        session=session,
        state="busy",
        code=printable(str(code or "")),
        seconds=float(seconds) if isinstance(seconds, int | float) else None,
        by="session" if by == "session" else "other" if by == "other" else None,
        stack=printable(str(answer.get("stack") or "")),
        memory=memory,
    )


def _variable(item: dict[str, Any]) -> dict[str, Any]:
    """A variable with the fields that were agreed on, of the types that were agreed on."""
    shape, size = item.get("shape"), item.get("size")
    return {
        "name": printable(str(item.get("name"))),
        "type": printable(str(item.get("type"))),
        "size": size if isinstance(size, int) else 0,
        "shape": [side for side in shape if isinstance(side, int)] if isinstance(shape, list) else None,
        "repr": printable(str(item.get("repr"))),
    }


def _memory(pid: int) -> int | None:
    try:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None
