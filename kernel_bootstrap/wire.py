"""Frames of the link between a kernel and its host.

A message is a list of byte frames ``[head, *buffers]``. The head is a JSON object in ASCII, so that every Python
string crosses, lone surrogates included; ``buffers`` are raw bytes that its ``body`` refers to by position (see
``codec``). A body of null is left out.

    request   kernel → host   {"v", "kind": "request", "id", "method", "cell", "key", "body"}   body: params
    cancel    kernel → host   {"v", "kind": "cancel", "id", "key"}
    begun     kernel → host   {"v", "kind": "begun", "cell", "key", "body"}      body: true: another client's
    reply     host → kernel   {"v", "kind": "reply", "id", "body"}               body: value
    error     host → kernel   {"v", "kind": "error", "id", "body"}               body: see ``pack_error``

``cell`` is the msg_id of the execute_request that a request serves ("" outside a cell); ``key`` is the
secret of the kernel that asks. The host never trusts what comes in: ``unpack`` raises ``WireError``.

Bytes that are too many for one message (ONE_MESSAGE) follow it in parts, with the id of the request. The side
that takes them asks for each: so no more of them than WINDOW parts are ever under way, and wait in its memory.

    upload    kernel → host  as a request; body: params and ``size``, the bytes that follow
    head      host → kernel  in place of a reply; body: value with ``size``, the bytes that follow
    want      either way     body: how many more parts may come
    part      either way     no body, and one buffer: the next bytes, PART at most

An upload ends with its reply, what follows a head with its last byte, and both with an error at any time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from .errors import BY_NAME, CodeModeError

PROTOCOL_VERSION = 4
"""Raised when a frame changes its meaning; host and kernel compare it in the first request."""

Buffer: TypeAlias = bytes | bytearray | memoryview

# Made once: json.dumps and json.loads look at their arguments anew at each call, which takes as long as the work.
_dump = json.JSONEncoder(separators=(",", ":")).encode
_load = json.JSONDecoder().decode


class Source(Protocol):
    """Bytes to read once from front to end: a binary file, or what stands for one."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill the beginning of ``buffer``; how many bytes that were, 0 at the end."""

    def read(self, size: int, /) -> bytes | None:
        """The next bytes, ``size`` at most; b"" at the end."""

    def close(self) -> None:
        """Free what it holds. Whoever was given it calls this, once or more often."""


KINDS = frozenset({"request", "upload", "cancel", "begun", "reply", "head", "error", "want", "part"})

ONE_MESSAGE = 1 << 20
"""Artifacts up to this size (bytes) go in one message."""

PART = 2 << 20
WINDOW = 3
"""Enough for both sides to be at work, the kernel on one part, the host's disk on another."""


class WireError(ValueError):
    """Frames that are not a message of this protocol."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the link, unpacked."""

    kind: str
    id: str
    body: Any = None
    buffers: Sequence[Buffer] = ()
    method: str = ""
    cell: str = ""
    key: str = field(default="", repr=False)


def pack(message: Message) -> list[Buffer]:
    """The frames of ``message``. Raises TypeError or ValueError for a body that is not JSON."""
    head: dict[str, Any] = {"v": PROTOCOL_VERSION, "kind": message.kind, "id": message.id}
    if message.method:
        head["method"] = message.method
    if message.cell:
        head["cell"] = message.cell
    if message.key:
        head["key"] = message.key
    if message.body is not None:
        head["body"] = message.body
    return [_dump(head).encode("ascii"), *message.buffers]


def unpack(frames: Sequence[Buffer]) -> Message:
    """The message in ``frames``. Raises WireError for anything that is not one."""
    if not frames:
        raise WireError("a message has a frame at least")
    try:
        head = _load(str(frames[0], "utf-8"))
    except (ValueError, RecursionError) as error:
        raise WireError(f"the head is not JSON: {error}") from None
    if not isinstance(head, dict) or head.get("v") != PROTOCOL_VERSION:
        found = head.get("v") if isinstance(head, dict) else head
        shown = found if isinstance(found, int | str | None) else type(found).__name__
        raise WireError(f"protocol version {PROTOCOL_VERSION} was expected, not {shown!r:.80}")
    get = head.get
    texts = get("kind", ""), get("id", ""), get("method", ""), get("cell", ""), get("key", "")
    if set(map(type, texts)) != {str}:
        name = next(name for name in ("kind", "id", "method", "cell", "key") if not isinstance(get(name, ""), str))
        raise WireError(f"{name!r} of a message is not a string")
    kind, message_id, method, cell, key = texts
    if kind not in KINDS:
        raise WireError(f"unknown kind of message: {kind!r:.80}")
    return Message(kind, message_id, get("body"), tuple(frames[1:]), method, cell, key)


def sizes(buffers: Iterable[Buffer]) -> int:
    """The bytes in ``buffers``."""
    return sum(memoryview(buffer).nbytes for buffer in buffers)


def parts_of(buffers: Iterable[Buffer]) -> Iterator[memoryview]:
    """``buffers``, one after the other, in parts; views of their memory."""
    for buffer in buffers:
        view = memoryview(buffer)
        view = view.cast("B") if view.nbytes else memoryview(b"")
        for start in range(0, len(view), PART):
            yield view[start : start + PART]


def pack_error(error: BaseException) -> dict[str, Any]:
    """``error`` as the body of an error reply: ``{"type", "message", "details"}``.

    An error that is not ours crosses as CodeModeError, its own class named in the message.
    """
    if isinstance(error, CodeModeError) and type(error).__name__ in BY_NAME:
        details = {name: value for name, value in error.details().items() if _is_json(value)}
        return {"type": type(error).__name__, "message": error.message, "details": details}
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return {"type": "CodeModeError", "message": text, "details": {}}


def unpack_error(body: Any) -> CodeModeError:
    """The error that ``body`` describes; a body that is malformed still gives an error."""
    if not isinstance(body, dict):
        return CodeModeError(f"an error without a description: {body!r}")
    cls = BY_NAME.get(str(body.get("type")), CodeModeError)
    details = body.get("details")
    known = {name: details[name] for name in cls.fields if name in details} if isinstance(details, dict) else {}
    return cls(str(body.get("message", "")), **known)


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
