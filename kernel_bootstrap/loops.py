"""Calling coroutines from code that blocks, and awaiting values that are no awaitables.

Models write ``tools.x.y()`` and ``await tools.x.y()`` with equal ease; both work, because ``await`` lets a plain
value pass in every source that ``PlainAwait`` has rewritten.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import traceback
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")

AWAIT_NAME = "__code_mode_await__"
"""The name under which rewritten code finds ``awaitable``."""


_made: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


def run_sync(coroutine: Coroutine[Any, Any, T], release: Callable[[asyncio.AbstractEventLoop], None]) -> T:
    """The result of ``coroutine``, run to its end on this thread, also inside a running event loop.

    The loop that runs is set aside, a fresh one runs the coroutine, and the first is put back: so SIGINT still
    reaches the code, which a helper thread would not allow. Tasks that the coroutine leaves are cancelled;
    ``release`` is called with the fresh loop before it closes.
    """
    outer = asyncio._get_running_loop()
    loop = make_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        try:
            _finish(loop)
        finally:
            end_loop(loop, outer, release)
            coroutine.close()  # where an interrupt came before its first step


def make_loop() -> asyncio.AbstractEventLoop:
    """A loop to run on this thread. ``Interrupts`` lets no interrupt into this function: half a loop is none."""
    loop = asyncio.new_event_loop()
    _made.add(loop)
    asyncio._set_running_loop(None)
    return loop


def wake_loops() -> None:
    """Wake what ``run_sync`` waits for, on any thread: a loop that waits does not notice an interrupt by itself."""
    for loop in list(_made):
        with suppress(RuntimeError):  # it has ended
            loop.call_soon_threadsafe(_nothing)


def _nothing() -> None: ...


@contextmanager
def set_aside() -> Iterator[None]:
    """No event loop runs inside, so that plain code can call ``asyncio.run`` where one does."""
    outer = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(outer)
        if outer is not None:
            asyncio.set_event_loop(outer)  # asyncio.run leaves none


def end_loop(
    loop: asyncio.AbstractEventLoop,
    outer: asyncio.AbstractEventLoop | None,
    release: Callable[[asyncio.AbstractEventLoop], None],
) -> None:
    """Close ``loop`` and put ``outer`` back; no interrupt comes in here either."""
    try:
        _made.discard(loop)
        release(loop)
        loop.close()
    finally:
        asyncio._set_running_loop(outer)


def _finish(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    try:
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        closing = loop.shutdown_asyncgens()
        try:
            loop.run_until_complete(closing)
        finally:
            closing.close()
    finally:
        for task in left:
            if task.done() and not task.cancelled():
                task.exception()  # seen: else it is reported when it is collected, in some later cell


class _Passed:
    """An awaitable that gives a plain value at once."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, None, Any]:
        yield from ()  # makes this a generator function
        return self._value


def awaitable(value: Any) -> Awaitable[Any]:
    """``value`` itself where it can be awaited, else an awaitable that gives it."""
    return value if inspect.isawaitable(value) else _Passed(value)


class PlainAwait(ast.NodeTransformer):
    """Makes every ``await x`` of a source accept a plain value."""

    def visit_Await(self, node: ast.Await) -> ast.AST:
        self.generic_visit(node)
        call = ast.Call(ast.Name(AWAIT_NAME, ast.Load()), [node.value], [])
        ast.copy_location(call, node.value)
        ast.copy_location(call.func, node.value)
        node.value = call
        return node


def explain_plain_result(error: BaseException) -> None:
    """Add to the TypeError of ``asyncio.gather(tools.x.y())`` what to write instead."""
    if not isinstance(error, TypeError) or error.__traceback__ is None:
        return
    *_, (last, _) = traceback.walk_tb(error.__traceback__)
    if last.f_globals.get("__name__") == "asyncio.tasks":
        error.add_note(
            "Calls of tools and workflows return their result at once, so there is nothing to gather or to schedule: "
            "use asyncio.gather(tools.x.y.call_async(...), ...) to run them at the same time."
        )
