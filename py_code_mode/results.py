"""What a run gives: the events as they come, and the result that is built from them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

from kernel_bootstrap.headtail import HeadTail, size_of
from kernel_bootstrap.plaintext import short_repr

from .errors import ExecutionError, ExecutionTimeoutError, KernelDiedError


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """Text that the code wrote to stdout or stderr."""

    name: Literal["stdout", "stderr"]
    text: str


@dataclass(frozen=True, slots=True)
class DisplayEvent:
    """A rich output: ``data`` maps MIME types to content, as in Jupyter's messages.

    ``kind`` is "display_data" (``display(...)``, plots), "execute_result" (the value of the cell) or
    "update_display_data", which replaces what was shown with the same ``display_id``.
    """

    kind: str
    data: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    display_id: str | None = None


@dataclass(frozen=True, slots=True)
class ClearEvent:
    """``clear_output()``: what was shown goes, with ``wait`` only when the next output comes."""

    wait: bool


@dataclass(frozen=True, slots=True)
class BeginEvent:
    """The kernel has begun with ``code``."""

    code: str


@dataclass(frozen=True, slots=True)
class EndEvent:
    """The run is over. Always the last event."""

    result: ExecutionResult


OutputEvent: TypeAlias = StreamEvent | DisplayEvent | ClearEvent | EndEvent
"""What ``Session.stream`` yields."""

CellEvent: TypeAlias = BeginEvent | OutputEvent

Listener: TypeAlias = Callable[[CellEvent], None]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ExecutionResult:
    """What the code did. Code that fails is data: ``error`` says how, and ``raise_for_error`` makes it an exception.

    value             the value of the last expression, None where there is none
    value_is_repr     a repr stands for (a part of) the value, which cannot leave the kernel
    stdout, stderr    the text that was written
    error             "ZeroDivisionError: division by zero", or None
    error_name        "ZeroDivisionError", or None
    traceback         plain text, the user's frames only; None without an error
    outputs           every rich output, in order
    execution_time_ms how long the code ran in the kernel, milliseconds
    execution_count   the number of the cell in its kernel, None when it did not run
    timed_out         the code was stopped because its time was up
    kernel_restarted  variables from before are gone: this run lost its kernel, or is the first on a new one
    truncated         output or value passed its limit, and was cut
    """

    value: Any = None
    value_is_repr: bool = False
    stdout: str = ""
    stderr: str = ""
    error: str | None = None
    error_name: str | None = None
    traceback: str | None = None
    outputs: tuple[DisplayEvent, ...] = ()
    execution_time_ms: float = 0.0
    execution_count: int | None = None
    timed_out: bool = False
    kernel_restarted: bool = False
    kernel_died: bool = False
    truncated: bool = False

    @property
    def is_ok(self) -> bool:
        """Whether the code ended without an error."""
        return self.error is None

    def raise_for_error(self) -> ExecutionResult:
        """This result; raises ExecutionTimeoutError, KernelDiedError or ExecutionError when it has an error."""
        if self.error is None:
            return self
        if self.timed_out:
            raise ExecutionTimeoutError(self.error, self)
        if self.kernel_died:
            raise KernelDiedError(self.error, self)
        raise ExecutionError(self.traceback or self.error, self)

    def __repr__(self) -> str:
        """The fields that tell something, each at its beginning."""
        told = {item.name: getattr(self, item.name) for item in fields(self)}
        default = {item.name: item.default for item in fields(self)}
        shown = [f"{name}={short_repr(value, _REPR)}" for name, value in told.items() if _differs(value, default[name])]
        return f"ExecutionResult({', '.join(shown)})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        from . import resultview

        return {"text/plain": resultview.text(self), "text/html": resultview.page(self)}


_REPR = 500
"""Characters of one field in the repr of a result."""


def _differs(value: Any, default: Any) -> bool:
    # By identity where a comparison could mean anything, as with arrays.
    return value is not default and (type(value) is not type(default) or value != default)


def _size(data: Mapping[str, Any]) -> int:
    texts = (item if isinstance(item, str) else json.dumps(item, default=str) for item in data.values())
    return sum(map(size_of, texts))


_STREAMS: tuple[Literal["stdout", "stderr"], ...] = ("stdout", "stderr")

_NOTE = 200
"""Bytes that the note of what was left out may take."""


class OutputCollector:
    """Builds the outputs of one run from its events, within a byte limit (None = all).

    stdout, stderr and the rich outputs have the limit each. Of text the head and the tail are kept; rich outputs
    past the limit are left out. ``listener`` hears of each event as it comes.
    """

    def __init__(self, limit: int | None, listener: Listener | None = None) -> None:
        # The kernel cuts first, and says so in a line of its own: room for that. This limit is for one that does not.
        self._limit = None if limit is None else limit + _NOTE
        self._listener = listener
        self._clear_next = False
        self._left_out = False
        self._reset()

    def _reset(self) -> None:
        self._texts = {name: HeadTail(self._limit) for name in _STREAMS}
        self._heads: dict[str, list[str]] = {name: [] for name in _STREAMS}
        self._displays: list[DisplayEvent] = []
        self._display_bytes = 0

    def begin(self, code: str) -> None:
        """The code begins."""
        self._tell(BeginEvent(code))

    def add(self, event: OutputEvent) -> None:
        """Take one event."""
        if isinstance(event, ClearEvent):
            self._clear_next = event.wait
            if not event.wait:
                self._reset()
            self._tell(event)
            return
        if self._clear_next:
            self._clear_next = False
            self._reset()
        if isinstance(event, StreamEvent):
            if shown := self._texts[event.name].add(event.text):
                self._heads[event.name].append(shown)
                self._tell(StreamEvent(event.name, shown))
        elif isinstance(event, DisplayEvent):
            self._add_display(event)

    def _add_display(self, event: DisplayEvent) -> None:
        size = _size(event.data) + _size(event.metadata)
        replaced = [
            index
            for index, shown in enumerate(self._displays)
            if event.kind == "update_display_data" and shown.display_id == event.display_id
        ]
        total = self._display_bytes + size * (len(replaced) or 1)
        total -= sum(_size(shown.data) + _size(shown.metadata) for shown in map(self._displays.__getitem__, replaced))
        if self._limit is not None and total > self._limit:
            self._left_out = True
            return
        self._tell(event)
        if event.kind != "update_display_data":
            self._displays.append(event)
        elif not replaced:
            return
        for index in replaced:
            kind = self._displays[index].kind
            self._displays[index] = DisplayEvent(kind, event.data, event.metadata, event.display_id)
        self._display_bytes = total

    def _tell(self, event: CellEvent) -> None:
        if self._listener is not None:
            self._listener(event)

    def finish(self) -> dict[str, Any]:
        """The run is over: the fields of ExecutionResult that come from the outputs."""
        texts: dict[str, Any] = {}
        for name in _STREAMS:
            if rest := self._texts[name].rest():
                self._tell(StreamEvent(name, rest))
            texts[name] = "".join(self._heads[name]) + rest
        cut = any(text.truncated for text in self._texts.values())
        return {**texts, "outputs": tuple(self._displays), "truncated": cut or self._left_out}
