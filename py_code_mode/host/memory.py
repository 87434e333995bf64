"""The link without a wire: code in this process asks the handlers on the engine's loop directly.

Values still go through ``codec``, and errors through ``wire``: so code sees the same copies, the same types
and the same errors (without the frames of the host) as in a kernel, and never shares an object that can
change with a handler. The content of ``bytes`` is handed over as it is, and so is what is uploaded.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, Protocol, TypeVar

from kernel_bootstrap import codec
from kernel_bootstrap.errors import CodeModeError, LinkError
from kernel_bootstrap.wire import Buffer, Source, pack_error, unpack_error

from .server import Handlers, answer
from .transfer import Outgoing, local_parts

T = TypeVar("T")

log = logging.getLogger(__name__)


class Served(Protocol):
    """The run that a request serves."""

    stopping: bool
    """It is being interrupted."""
    over: bool
    """It has ended."""


class MemoryLink:
    """The ``Link`` to ``handlers``, which run on ``loop``.

    ``served`` tells for which run the calling code asks. ``request`` works on any thread but that of
    ``loop``; ``cancel`` and ``close`` are called on ``loop``.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, handlers: Handlers, served: Callable[[], Served | None]
    ) -> None:
        self._loop = loop
        self._handlers = handlers
        self._served = served
        self._calls: set[_Call] = set()
        self._asking: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
        self._closed = False

    def request(self, method: str, **params: Any) -> Any:
        """See ``Link``."""
        return self._ask(method, params).answer()

    def upload(self, method: str, data: Sequence[Buffer], **params: Any) -> Any:
        """See ``Link``."""
        return self._ask(method, params, data).answer()

    def download(self, method: str, take: Callable[[Any, Source | None], T], **params: Any) -> T:
        """See ``Link``."""
        call = self._ask(method, params)
        try:
            return take(call.answer(), call.source)
        finally:
            call.close()

    def _ask(self, method: str, params: dict[str, Any], data: Sequence[Buffer] | None = None) -> _Call:
        own = asyncio._get_running_loop()
        if own is self._loop:
            raise LinkError("code on the engine's own loop cannot wait for an answer")
        if own is not None:
            self._asking.add(own)
        answered = threading.Lock()
        answered.acquire()  # released by the answer: one C call to wait in
        call = _Call(self._served(), answered.release)
        try:
            self._send(call, method, params, data)
            answered.acquire()
        except BaseException:
            self._cancel(call)
            raise
        return call

    async def request_async(self, method: str, **params: Any) -> Any:
        """See ``Link``."""
        own = asyncio.get_running_loop()
        answered: asyncio.Future[None] = own.create_future()

        def settle() -> None:
            if not answered.done():
                answered.set_result(None)

        def notify() -> None:
            try:
                own.call_soon_threadsafe(settle)
            except RuntimeError:
                pass  # that loop has ended; nobody waits

        call = _Call(self._served(), notify)
        try:
            self._send(call, method, params)
            await answered
        except BaseException:
            self._cancel(call)
            raise
        return call.answer()

    def release(self, loop: asyncio.AbstractEventLoop) -> None:
        """See ``Link``."""
        self._asking.discard(loop)

    def wake(self) -> None:
        """Wake every loop that has asked: one that waits does not notice an interrupt by itself."""
        for loop in list(self._asking):
            try:
                loop.call_soon_threadsafe(_nothing)
            except RuntimeError:
                self._asking.discard(loop)

    def cancel(self, served: Served) -> None:
        """Cancel the requests that serve this run, their tools included."""
        for call in list(self._calls):
            if call.served is served:
                call.fail("the request was cancelled, since its cell was interrupted")

    async def close(self) -> None:
        """Fail what waits and what comes, and wait for the handlers to clean up."""
        self._closed = True
        tasks = [call.task for call in self._calls if call.task is not None]
        for call in list(self._calls):
            call.fail("the link to the host is closed", LinkError)
        if tasks:
            await asyncio.wait(tasks)

    def _send(self, call: _Call, method: str, params: dict[str, Any], data: Sequence[Buffer] | None = None) -> None:
        encoded = _encode(params)
        # Its own context: what the handlers print and the threads they start are the host's, not the run's.
        self._on_loop(lambda: self._start(call, method, encoded, data))

    def _cancel(self, call: _Call) -> None:
        def give_up() -> None:
            call.fail("the request was given up")
            call.close()

        try:
            self._on_loop(give_up)
        except LinkError:
            pass

    def _on_loop(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, context=Context())
        except RuntimeError:
            raise LinkError("the link to the host is closed") from None

    def _start(self, call: _Call, method: str, params: codec.Encoded, data: Sequence[Buffer] | None) -> None:
        if call.settled:
            return
        if self._closed:
            call.fail("the link to the host is closed", LinkError)
        elif call.served is not None and call.served.stopping and not call.served.over:
            call.fail("the cell of this request was interrupted")
        else:
            self._calls.add(call)
            call.task = self._loop.create_task(self._serve(call, method, params, data))

    async def _serve(self, call: _Call, method: str, params: codec.Encoded, data: Sequence[Buffer] | None) -> None:
        try:
            handler = self._handlers.get(method)
            if handler is None:
                raise CodeModeError(f"the host has no method {method!r}")
            arguments = codec.decode(params.tree, params.buffers)
            if data is not None:
                arguments["data"] = local_parts(data)
            value = await answer(handler, arguments)
            if isinstance(value, Outgoing):
                call.succeed(_encode(value.head), value.source)
            else:
                call.succeed(_encode(value))
        except Exception as error:
            if not isinstance(error, CodeModeError):
                log.exception("the handler of %r failed", method)
            call.settle(error=pack_error(error))
        finally:
            self._calls.discard(call)
            call.fail("the request was cancelled")


class _Call:
    """One request under way. Settled once, on the loop of the handlers; ``notify`` is called then."""

    def __init__(self, served: Served | None, notify: Callable[[], None]) -> None:
        self.served = served
        self.task: asyncio.Task[None] | None = None
        self.settled = False
        self.source: Source | None = None
        self._notify = notify
        self._value: codec.Encoded | None = None
        self._error: Any = None

    def answer(self) -> Any:
        """What came, for the one who asked."""
        if self._value is None:
            raise unpack_error(self._error)
        return codec.decode(self._value.tree, self._value.buffers)

    def succeed(self, value: codec.Encoded, source: Source | None = None) -> None:
        self.source = source
        if self.settled:  # given up meanwhile
            self.close()
        self.settle(value=value)

    def close(self) -> None:
        """Close what belongs to the answer."""
        if self.source is not None:
            self.source.close()

    def fail(self, message: str, kind: type[CodeModeError] = CodeModeError) -> None:
        """Answer with an error, and cancel the handler if it still runs."""
        if not self.settled:
            self.settle(error=pack_error(kind(message)))
            if self.task is not None:
                self.task.cancel()

    def settle(self, *, value: codec.Encoded | None = None, error: Any = None) -> None:
        if not self.settled:
            self.settled = True
            self._value, self._error = value, error
            self._notify()


def _encode(value: Any) -> codec.Encoded:
    encoded = codec.encode(value)
    # Views of what can still change; bytes cannot.
    buffers = [buffer if type(buffer) is bytes else bytes(buffer) for buffer in encoded.buffers]
    return codec.Encoded(encoded.tree, list(buffers), encoded.is_repr, encoded.truncated)


def _nothing() -> None:
    """Wakes a loop."""
