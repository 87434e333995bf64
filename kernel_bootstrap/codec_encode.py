"""The encoding half of ``codec``: one walk over the value that counts bytes as it goes."""

from __future__ import annotations

import binascii
import math
from collections.abc import Callable
from typing import Any, Final

from .codec import CONTAINER_COST, INLINE, INT_MAX, INT_MIN, MAX_DEPTH, TAG, Full, flat_cost
from .codec_types import EXACT, UNHASHABLE, find_handler
from .wire import Buffer

TREE_LIMIT: Final = 2**30
"""Bytes of a tree without a limit: a list that holds itself 2**50 times over has to end somewhere."""
REPR_LENGTH: Final = 10_000


class Encoder:
    """The state of one ``encode``. ``value`` gives the tree of a value and never raises anything but Full."""

    def __init__(self, limit: int | None, accepts: frozenset[str]) -> None:
        self.accepts = accepts
        self.buffers: list[Buffer] = []
        self.is_repr = False
        self.truncated = False
        self.left: float = TREE_LIMIT if limit is None else limit
        self.counts_buffers = limit is not None
        self.full = False
        self.whole = 0
        """Above zero where nothing may be cut (dict keys, rows of a table): Full is raised instead."""
        self.hashable = False
        """Inside a dict key or a set, where what comes out has to be hashable."""
        self._open: set[int] = set()

    def top(self, value: Any) -> Any:
        """The tree of a whole value. Never raises."""
        limit = self.left
        try:
            return self.value(value, 0)
        except Full:
            self.left = math.inf
            self.truncated = True
            return self.stand_in(value, f"larger than the limit of {limit:.0f} bytes")

    def value(self, value: Any, depth: int) -> Any:
        """The tree of ``value``, which lies ``depth`` containers deep. Raises Full."""
        cls = type(value)
        if cls is str:
            return self._text(value)
        if value is None or cls is bool:
            return self._scalar(value, 5)
        if (cls is int and INT_MIN <= value <= INT_MAX) or (cls is float and math.isfinite(value)):
            return self._scalar(value, len(repr(value)) + 1)
        mark = len(self.buffers)
        try:
            return self._other(value, cls, depth)
        except Full:
            del self.buffers[mark:]
            raise
        except Exception as error:  # noqa: BLE001 - classes of users, changed by other threads, can raise anything
            del self.buffers[mark:]
            return self.stand_in(value, _describe(error))

    def _other(self, value: Any, cls: type, depth: int) -> Any:
        handler = EXACT.get(cls) or find_handler(value, cls)
        if handler is None or (self.hashable and handler in UNHASHABLE):
            return self.opaque(value)
        if depth > MAX_DEPTH:
            return self.stand_in(value, f"nested more than {MAX_DEPTH} deep")
        key = id(value)
        if key in self._open:
            return self.stand_in(value, "contains itself")
        self._open.add(key)
        try:
            return handler(self, value, depth + 1)
        finally:
            self._open.discard(key)

    def _scalar(self, value: Any, cost: int) -> Any:
        self.spend(cost)
        return value

    def spend(self, cost: float) -> None:
        """Takes ``cost`` bytes from the limit. Raises Full where they are not left."""
        if cost > self.left:
            raise Full
        self.left -= cost

    def cut(self) -> None:
        """Something is left out here, and nothing may follow. Raises Full where it is all or nothing."""
        if self.whole:
            raise Full
        self.truncated = self.full = True
        self.left = 0

    def items(self, values: list[Any], depth: int) -> list[Any]:
        """The trees of ``values``, a list of our own: of the first that fit."""
        cost = flat_cost(values)
        if cost is not None:
            return self._flat(values, cost)
        out: list[Any] = []
        try:
            for value in values:
                out.append(self.value(value, depth))
                if self.full:
                    break
        except Full:
            self.cut()
        return out

    def _flat(self, values: list[Any], cost: int) -> list[Any]:
        if cost > self.left:
            room = self.left
            while values and cost > room:
                values = values[: int(len(values) * min(room / cost, 0.99))]
                cost = flat_cost(values) or 0
            self.cut()
        else:
            self.left -= cost
        return values

    def sealed(self, value: Any, depth: int) -> Any:
        """The tree of a dict key or a member of a set: hashable, and whole or not at all."""
        hashable, self.hashable = self.hashable, True
        self.whole += 1
        try:
            return self.value(value, depth)
        finally:
            self.hashable = hashable
            self.whole -= 1

    def blob(self, data: Buffer) -> dict[str, Any]:
        """Where the bytes ``data`` went: ``{"v": base64}`` in the tree, or ``{"b": position}``."""
        size = memoryview(data).nbytes
        if size <= INLINE:
            self.spend(size * 4 // 3 + CONTAINER_COST)
            return {"v": binascii.b2a_base64(data, newline=False).decode("ascii")}
        if self.counts_buffers:
            self.spend(size)
        self.buffers.append(data)
        return {"b": len(self.buffers) - 1}

    def room(self) -> float:
        """Bytes that one blob may still have."""
        return self.left if self.counts_buffers else math.inf

    def fit(self, count: int, per_row: float, make: Callable[[int], Any]) -> Any:
        """``make(rows)`` for all ``count`` rows, or for as many of the first as fit, none of them cut.

        ``per_row`` is about how many bytes a row takes. Raises Full where not even no rows fit.
        """
        rows = count
        if per_row * count > self.room():
            rows = int(self.room() / per_row)
        while True:
            left, mark, is_repr = self.left, len(self.buffers), self.is_repr
            self.whole += 1
            try:
                tree = make(rows)
                break
            except Full:
                if rows == 0 or self.whole > 1:
                    raise
                self.left, self.is_repr = left, is_repr
                del self.buffers[mark:]
                rows //= 2
            finally:
                self.whole -= 1
        if rows < count:
            self.cut()
        return tree

    def opaque(self, value: Any) -> Any:
        """The repr of a value that cannot cross."""
        try:
            text = str.__str__(repr(value))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a repr is code of the user
            return self.stand_in(value, f"repr failed: {_describe(error)}")
        if len(text) > REPR_LENGTH:
            text = f"{text[:REPR_LENGTH]}... ({len(text) - REPR_LENGTH} characters more)"
        return self.repr(text, _name(type(value)))

    def stand_in(self, value: Any, reason: str) -> Any:
        """A line in place of a value whose repr may be endless, or fails."""
        name = _name(type(value))
        return self.repr(f"<{name} object: {reason}>", name)

    def repr(self, text: str, type_name: str) -> Any:
        self.spend(min(len(text), self.left))
        self.is_repr = True
        return {TAG: "repr", "v": text, "type": type_name}

    def _text(self, text: str) -> Any:
        if len(text) <= INLINE:
            width = 1 if text.isascii() else 6
            if width * len(text) + 3 > self.left:
                text = text[: max(int(self.left) - 3, 0) // width]
                self.cut()
            else:
                self.left -= width * len(text) + 3
            return text
        room = self.room()
        fits = len(text) <= room
        data = (text if fits else text[: int(room)]).encode("utf-8", "surrogatepass")
        if fits and len(data) <= room:
            return {TAG: "str", **self.blob(data)}
        end = int(min(room, len(data)))
        while end < len(data) and data[end] & 0xC0 == 0x80:  # not inside a character
            end -= 1
        tree = {TAG: "str", **_uncounted(self, data[:end])}
        self.cut()
        return tree

    def bytes(self, data: Buffer, tag: str) -> Any:
        """The tree of bytes, or of as many of the first as fit."""
        size = memoryview(data).nbytes
        room = self.left if size <= INLINE else self.room()
        if size * (4 / 3 if size <= INLINE else 1) + CONTAINER_COST <= room:
            return {TAG: tag, **self.blob(data)}
        tree = {TAG: tag, **_uncounted(self, memoryview(data)[: max(int(room), 0)])}
        self.cut()
        return tree


def _uncounted(enc: Encoder, data: Buffer) -> dict[str, Any]:
    if enc.whole:
        raise Full
    enc.left = math.inf  # what remains of the limit goes to this; ``cut`` follows
    return enc.blob(data)


def _describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:500]
    except Exception:  # noqa: BLE001 - even the text of an error can be code of the user
        return type(error).__name__


def _name(cls: type) -> str:
    module, name = cls.__module__, cls.__qualname__
    return name if module == "builtins" or not isinstance(module, str) else f"{module}.{name}"
