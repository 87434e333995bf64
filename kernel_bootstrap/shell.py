"""The IPython shell of a session: how a cell runs and what it shows when it fails."""

from __future__ import annotations

import asyncio
import bdb
import json
import os
import sys
import threading
from contextlib import AbstractContextManager, nullcontext
from types import CodeType, TracebackType
from typing import Any

from ipykernel.compiler import XCachingCompiler
from ipykernel.displayhook import ZMQShellDisplayHook
from ipykernel.zmqshell import ZMQDisplayPublisher, ZMQInteractiveShell
from IPython.core.formatters import DisplayFormatter
from traitlets import Type, default

from . import debugger, prompts, tracebacks
from .history import CellHistory
from .interrupts import Interrupts
from .loops import explain_plain_result

_LONGEST_REPR = 100_000
"""Text and bytes are shown up to this length; their whole value crosses by the codec, not by a repr."""


class CellCompiler(XCachingCompiler):
    """Names cells ``<cell 3>``, which a traceback can show as it is; the debugger names them itself."""

    def get_code_name(self, raw_code: str, transformed_code: str, number: int) -> str:
        if debugger.is_there():
            return str(super().get_code_name(raw_code, transformed_code, number))
        return f"<cell {number}>"


class _OfThread:
    """An attribute that each thread has for itself."""

    def __init__(self) -> None:
        self._local = threading.local()

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return getattr(self._local, "value", None)

    def __set__(self, instance: Any, value: Any) -> None:
        self._local.value = value


class CellDisplayHook(ZMQShellDisplayHook):
    """Shows the value of a cell; keeps the last few only, so that old results free their memory."""

    # What a subshell shows must not become the value of the cell that is running.
    exec_result = _OfThread()
    msg = _OfThread()

    def cull_cache(self) -> None:
        kept = self.shell.user_ns["_oh"]
        for number in sorted(kept)[: max(0, len(kept) - self.cache_size + 1)]:
            self.shell.user_ns.pop(f"_{number}", None)
            kept.pop(number, None)


class CellDisplayPublisher(ZMQDisplayPublisher):
    """Publishes what a cell displays, until ``room`` (bytes, None = no limit) is used up."""

    limit: int | None = None
    room: int | None = None
    truncated = False

    def publish(self, data: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        if self.room is not None:
            size = sum(map(_size, data.values()))
            if size > self.room:
                self.truncated = True
                return
            if not kwargs.get("update"):  # an update takes the place of what was shown
                self.room -= size
        super().publish(data, *args, **kwargs)

    def clear_output(self, wait: bool = False) -> None:
        self.room = self.limit
        super().clear_output(wait)


_NO_RICH_FORM = (int, float, complex, bool, str, bytes, type(None), list, tuple, dict, set, frozenset, range)


class CellDisplayFormatter(DisplayFormatter):
    """Asks for the rich forms of a value only where it may have some: a number has none, unless code registers it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._known = len(self.formatters)
        rich = [f for kind, f in self.formatters.items() if kind != "text/plain"]
        rich += [self.ipython_display_formatter, self.mimebundle_formatter]
        self._registered = [table for f in rich for table in (f.type_printers, f.deferred_printers)]

    def format(self, obj: Any, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        if include or exclude or type(obj) not in _NO_RICH_FORM or len(self.formatters) != self._known:
            return super().format(obj, include, exclude)
        for kind in type(obj).__mro__:
            named = kind.__module__, kind.__name__
            if any(kind in table or named in table for table in self._registered):
                return super().format(obj, include, exclude)
        return {"text/plain": self.formatters["text/plain"](obj)}, {}


class CellShell(ZMQInteractiveShell):
    """Runs cells inside the window of ``interrupts``; ``exit()`` and ``sys.exit()`` end the cell, not the kernel."""

    displayhook_class = Type(CellDisplayHook)
    display_pub_class = Type(CellDisplayPublisher)
    interrupts: Interrupts | None = None
    plain_errors: bool = False
    plain_traceback: str = ""
    error: BaseException | None = None
    cell_result: Any = None
    """IPython's result of the last cell of the main thread; ``last_execution_result`` may be a subshell's."""

    @default("input_transformer_manager")
    def _transformers(self) -> Any:
        return prompts.transformers()

    def init_environment(self) -> None:
        # Unlike stock: no forced colours, since the output is read by programs as often as by people.
        os.environ.update(PAGER="cat", GIT_PAGER="cat", TERM="dumb")

    def init_display_formatter(self) -> None:
        self.display_formatter = CellDisplayFormatter(parent=self)
        self.configurables.append(self.display_formatter)  # type: ignore[arg-type]
        plain = self.display_formatter.formatters["text/plain"]
        for kind in (str, bytes, bytearray):
            plain.for_type(kind, _show_long)
        plain.for_type(int, _show_int)

    def init_history(self) -> None:
        self.history_manager = CellHistory(shell=self, parent=self)
        self.configurables.append(self.history_manager)  # type: ignore[arg-type]

    def _tee(self, channel: str) -> AbstractContextManager[None]:
        return nullcontext()  # IPython would keep all that is printed: see history.Forgetful

    def ask_exit(self) -> None:
        # A console ends when it gets this; for all others it is the cell that ends. One that has joined another's
        # kernel would end that, too; one that has started it ends it all the same.
        self.payload_manager.write_payload({"source": "ask_exit", "keepkernel": True})
        raise SystemExit

    async def run_cell_async(self, *args: Any, **kwargs: Any) -> Any:
        result = await super().run_cell_async(*args, **kwargs)
        if self._in_main_thread():
            self.cell_result = result
        return result

    def _in_main_thread(self) -> bool:
        return threading.current_thread() is threading.main_thread()

    async def run_code(self, code_obj: CodeType, result: Any = None, *, async_: bool = False) -> bool:
        """Run compiled code; True when it raised or exited."""
        __tracebackhide__ = "__ipython_bottom__"
        assert self.interrupts is not None
        try:
            with self.interrupts.window(code_obj, parks=async_) as code:
                if async_ and code is code_obj:
                    await eval(code, self.user_global_ns, self.user_ns)
                else:
                    exec(code, self.user_global_ns, self.user_ns)  # type: ignore[arg-type]
        except SystemExit as leave:
            if leave.code in (None, 0):
                return True
            self._failed(result, leave)
        except bdb.BdbQuit as quit_debugger:
            if result is not None:
                result.error_in_exec = quit_debugger
        except self.custom_exceptions:
            etype, value, tb = sys.exc_info()
            if result is not None:
                result.error_in_exec = value
            self.CustomTB(etype, value, tb)
        except asyncio.CancelledError as cancelled:
            if self.interrupts.hits:
                interrupt = KeyboardInterrupt().with_traceback(cancelled.__traceback__)
                self._failed(result, interrupt)
            else:
                self._failed(result, cancelled)
        except BaseException as error:  # noqa: BLE001 - whatever the code raises is its result
            explain_plain_result(error)
            self._failed(result, error)
        else:
            return False
        return True

    def _failed(self, result: Any, error: BaseException) -> None:
        if result is not None:
            result.error_in_exec = error
        tb = tracebacks.of_user(error.__traceback__)
        self.showtraceback((type(error), error, tb), running_compiled_code=True)

    def showtraceback(self, exc_tuple: Any = None, *args: Any, **kwargs: Any) -> None:
        self._note(exc_tuple)
        if not self._show_plain():
            super().showtraceback(exc_tuple, *args, **kwargs)

    def showsyntaxerror(self, *args: Any, **kwargs: Any) -> None:
        self._note(None)
        if not self._show_plain():
            super().showsyntaxerror(*args, **kwargs)

    def _show_plain(self) -> bool:
        """Publish the plain traceback instead of IPython's coloured one, which takes tens of milliseconds to make."""
        error = self.error
        if not self.plain_errors or error is None or not self._in_main_thread():
            return False
        self._showtraceback(type(error), tracebacks.message(error), self.plain_traceback.splitlines())
        return True

    def _format_exception_for_storage(self, exception: BaseException, *args: Any, **kwargs: Any) -> dict[str, Any]:
        # IPython's own formats the traceback a second time, for a history that a session does not keep.
        return {"ename": type(exception).__name__, "evalue": tracebacks.message(exception), "traceback": []}

    def _note(self, exc_tuple: Any) -> None:
        error: BaseException | None
        tb: TracebackType | None
        _, error, tb = exc_tuple or sys.exc_info()
        if error is not None and self._in_main_thread():
            if isinstance(error, SyntaxError) and error.filename is not None and error.filename.startswith("<cell"):
                tb = None  # the frames are the compiler's, not the user's
            self.error = error
            self.plain_traceback = tracebacks.plain(error, tb)


def _size(item: Any) -> int:
    if isinstance(item, str | bytes):
        return len(item)
    try:
        return len(json.dumps(item, default=str))
    except (TypeError, ValueError, RecursionError):
        return 200  # it will not be sent either


def _show_long(value: Any, printer: Any, cycle: bool) -> None:
    if len(value) <= _LONGEST_REPR:
        printer.text(repr(value))
    else:
        printer.text(f"{value[:_LONGEST_REPR]!r}… [{len(value)} in all]")


def _show_int(value: int, printer: Any, cycle: bool) -> None:
    try:
        printer.text(repr(value))
    except ValueError:  # more digits than sys.get_int_max_str_digits()
        printer.text(f"<int of {value.bit_length()} bits>")
