"""What happened in a session: its cells in order, those of other clients too, and who listens to them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal
from weakref import WeakSet

from py_code_mode.results import BeginEvent, CellEvent, ClearEvent, DisplayEvent, EndEvent, ExecutionResult, StreamEvent

KEPT_BYTES = 50_000_000
"""Of code and outputs of past cells; the oldest go first."""

_CELL_BYTES, _OUTPUT_BYTES = 1000, 200
"""What a cell and an output take beside their texts."""

_WAITING_EVENTS = 100_000
_WAITING_BYTES = 100_000_000
"""Events that wait for a slow reader, and how much is in them."""


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """Something happened in cell number ``cell`` of the session (1, 2, ...), which ``by`` has run."""

    cell: int
    by: Literal["session", "other"]
    """"other": another client of the kernel, such as a person in JupyterLab."""
    event: CellEvent


@dataclass(frozen=True, slots=True)
class MissedEvents:
    """The reader was too slow: so many events are left out here."""

    count: int


@dataclass(eq=False)
class Cell:
    """One cell: what came of it, in order."""

    number: int
    by: Literal["session", "other"]
    code: str
    began: datetime | None = None
    outputs: list[StreamEvent | DisplayEvent] = field(default_factory=list)
    result: ExecutionResult | None = None
    size: int = 0
    _clear_next: bool = False

    def add(self, event: CellEvent) -> None:
        """Take an event of this cell."""
        if isinstance(event, BeginEvent):
            self.began = datetime.now(UTC)
        elif isinstance(event, EndEvent):
            self.result = replace(event.result, value=None, stdout="", stderr="", outputs=())
            if not self.result.execution_time_ms and self.began is not None:  # it was cancelled
                elapsed = (datetime.now(UTC) - self.began).total_seconds() * 1000
                self.result = replace(self.result, execution_time_ms=elapsed)
            self.size = _CELL_BYTES + len(self.code) + _size(EndEvent(self.result))
            self.size += sum(_OUTPUT_BYTES + _size(output) for output in self.outputs)
        elif isinstance(event, ClearEvent):
            self._clear_next = event.wait
            if not event.wait:
                self.outputs.clear()
        else:
            if self._clear_next:
                self._clear_next = False
                self.outputs.clear()
            self._show(event)

    def _show(self, event: StreamEvent | DisplayEvent) -> None:
        if not isinstance(event, DisplayEvent) or event.kind != "update_display_data":
            self.outputs.append(event)
            return
        for index, shown in enumerate(self.outputs):
            if isinstance(shown, DisplayEvent) and shown.display_id == event.display_id:
                self.outputs[index] = DisplayEvent(shown.kind, event.data, event.metadata, event.display_id)


class Journal:
    """The cells of a session, within ``KEPT_BYTES``. Written on the engine's loop, read from any thread."""

    def __init__(self) -> None:
        self._cells: deque[Cell] = deque()
        self.count = 0
        """The number of the last cell that has begun."""
        self._size = 0
        self._lock = threading.Lock()
        self._readers: WeakSet[EventReader] = WeakSet()
        self.closed = False
        self.dropped = 0
        """How many of the oldest cells are no longer here."""
        self.on_end: Callable[[Cell], None] | None = None

    def enter(self, code: str, by: Literal["session", "other"] = "session") -> Callable[[CellEvent], None]:
        """What hears of a new cell; it is here from its first event on."""
        cell = Cell(0, by, code)

        def hear(event: CellEvent) -> None:
            with self._lock:
                if not cell.number:
                    self.count += 1
                    cell.number = self.count
                    self._cells.append(cell)
                cell.add(event)
                if cell.result is not None:
                    self._make_room(cell.size)
                readers = list(self._readers)
            if readers:
                if isinstance(event, EndEvent):
                    event = EndEvent(replace(event.result, value=None))
                told, size = SessionEvent(cell.number, by, event), _size(event)
                for reader in readers:
                    reader.put(told, size)
            if cell.result is not None and self.on_end is not None:
                self.on_end(cell)

        return hear

    def cells(self) -> tuple[list[Cell], int]:
        """The cells that have ended, oldest first, and how many older ones are gone."""
        with self._lock:
            return [cell for cell in self._cells if cell.result is not None], self.dropped

    def read(self) -> EventReader:
        """What gives every event from now on."""
        reader = EventReader()
        with self._lock:
            self._readers.add(reader)
        if self.closed:
            reader.put(None)
        return reader

    def close(self) -> None:
        """The session is over, and so is what reads of it."""
        with self._lock:
            self.closed = True
            readers = list(self._readers)
        for reader in readers:
            reader.put(None)

    def _make_room(self, size: int) -> None:
        self._size += size
        while self._size > KEPT_BYTES and len(self._cells) > 1 and self._cells[0].result is not None:
            self._size -= self._cells.popleft().size
            self.dropped += 1


class EventReader:
    """An async iterator of events, from when it was made until the session is closed, on the loop that made it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: deque[tuple[SessionEvent | MissedEvents | None, int]] = deque()
        self._missed = 0
        self._put = self._taken = 0  # each is written by one thread only
        self._wake = asyncio.Event()

    def put(self, event: SessionEvent | None, size: int = 0) -> None:
        """Take an event of ``size`` characters, or None for the end; called from any thread."""
        full = len(self._events) >= _WAITING_EVENTS or self._put - self._taken >= _WAITING_BYTES
        if event is not None and full:
            self._missed += 1
            return
        if self._missed:
            self._events.append((MissedEvents(self._missed), 0))
            self._missed = 0
        self._events.append((event, size))
        self._put += size
        try:
            self._loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:
            pass  # the reader's loop has ended

    def __aiter__(self) -> EventReader:
        return self

    async def __anext__(self) -> SessionEvent | MissedEvents:
        while not self._events:
            self._wake.clear()
            if not self._events:
                await self._wake.wait()
        event, size = self._events[0]
        if event is None:
            raise StopAsyncIteration  # it stays there: the end goes on being the end
        self._events.popleft()
        self._taken += size
        return event


def _size(event: CellEvent) -> int:
    """The characters in it, roughly."""
    if isinstance(event, StreamEvent):
        return len(event.text)
    if isinstance(event, DisplayEvent):
        return sum(map(_length, event.data.values())) + _length(event.metadata)
    if isinstance(event, EndEvent):
        result = event.result
        texts = (result.stdout, result.stderr, result.error or "", result.traceback or "")
        return sum(map(len, texts)) + sum(map(_size, result.outputs))
    return len(event.code) if isinstance(event, BeginEvent) else 0


def _length(item: Any) -> int:
    return len(item if isinstance(item, str) else json.dumps(item, default=str)) if item else 0


def merged(outputs: list[StreamEvent | DisplayEvent]) -> Iterator[StreamEvent | DisplayEvent]:
    """``outputs`` with neighbouring pieces of one stream joined."""
    texts: list[str] = []
    name: Literal["stdout", "stderr"] = "stdout"
    for output in outputs:
        if isinstance(output, StreamEvent):
            if texts and output.name != name:
                yield StreamEvent(name, "".join(texts))
                texts = []
            name = output.name
            texts.append(output.text)
            continue
        if texts:
            yield StreamEvent(name, "".join(texts))
            texts = []
        yield output
    if texts:
        yield StreamEvent(name, "".join(texts))
