"""The encoding half of ``codec``: one walk over the value that counts bytes as it goes."""

from __future__ import annotations

import binascii
import math
from collections.abc import Callable
from typing import Any, Final

from .codec import CONTAINER_COST, INLINE, INT_MAX, INT_MIN, MAX_DEPTH, TAG, Full, flat_cost, is_unicode
from .codec_types import EXACT, SMALL, UNHASHABLE, Handler, find_handler
from .wire import Buffer

REPEATED: Final = 2**30
"""Bytes that what was encoded before may take again where there is no limit: fifty lists, each of which holds
the next one twice, would be a tree of 2**50 nodes."""
REPEATED_COST: Final = 4096
"""What each container counts there, so that the cut comes after some 250,000 of them."""
WORTH_CUTTING: Final = 1024
"""Text and bytes up to this size are left out of a container, rather than cut."""
REPR_LENGTH: Final = 10_000


class Encoder:
    """The state of one ``encode``. ``value`` gives the tree of a value and never raises anything but Full."""

    def __init__(self, limit: int | None, accepts: frozenset[str]) -> None:
        self.accepts = accepts
        self.buffers: list[Buffer] = []
        self.is_repr = False
        self.truncated = False
        self.left: float = math.inf if limit is None else limit
        self.full = False
        self.whole = 0
        """Above zero where nothing may be cut (dict keys, rows of a table): Full is raised instead."""
        self.hashable = False
        """Inside a dict key or a set, where what comes out has to be hashable."""
        self._open: set[int] = set()
        self._seen: set[int] | None = set() if limit is None else None
        self._repeated: float = REPEATED

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
        key = id(value)
        opened = again = False
        try:
            handler = EXACT.get(cls) or find_handler(value, cls)
            if handler is None or (self.hashable and handler in UNHASHABLE):
                return self.opaque(value)
            if depth > MAX_DEPTH or key in self._open:
                reason = "contains itself" if key in self._open else f"nested more than {MAX_DEPTH} deep"
                return self.stand_in(value, reason)
            again = self._repeats(key, handler)
            if again:
                self.left = self._repeated
            self._open.add(key)
            opened = True
            return handler(self, value, depth + 1)  # in this frame: each costs a fifth of the depth
        except Full:
            del self.buffers[mark:]
            raise
        except Exception as error:  # noqa: BLE001 - classes of users, changed by other threads, can raise anything
            del self.buffers[mark:]
            return self.stand_in(value, _describe(error))
        finally:
            if opened:
                self._open.discard(key)
            if again:
                self._repeated, self.left = self.left, 0 if self.full else math.inf

    def _repeats(self, key: int, handler: Handler) -> bool:
        """Whether a value of some size was encoded before, where there is no other limit on that."""
        if self._seen is None or handler in SMALL:
            return False
        if self.left < math.inf:  # inside something repeated
            self.spend(REPEATED_COST)
            return False
        again = key in self._seen
        self._seen.add(key)
        return again

    def _scalar(self, value: Any, cost: int) -> Any:
        self.spend(cost)
        return value

    def spend(self, cost: float) -> None:
        """Takes ``cost`` bytes from the limit. Raises Full where they are not left."""
        if cost > self.left:
            raise Full
        self.left -= cost

    def cut(self, *, empty: bool = False) -> None:
        """Something is left out here, and nothing may follow.

        Raises Full where it is all or nothing, and for what lies in another value and is ``empty`` now.
        """
        if self.whole or (empty and len(self._open) > 1):
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
            self.cut(empty=not out)
        return out

    def members(self, values: list[Any], depth: int) -> list[Any]:
        """The trees of what has to be hashable: each of them whole, or left out."""
        if flat_cost(values) is not None:
            return self.items(values, depth)
        out: list[Any] = []
        hashable, self.hashable = self.hashable, True
        self.whole += 1
        full = False
        try:
            for value in values:
                out.append(self.value(value, depth))  # noqa: PERF401 - a generator would be a frame more
        except Full:
            full = True
        finally:
            self.hashable = hashable
            self.whole -= 1
        if full:
            self.cut(empty=not out)
        return out

    def sealed(self, value: Any, depth: int) -> Any:
        """The tree of one value that has to be hashable. Raises Full."""
        found = self.members([value], depth)
        if not found:
            raise Full
        return found[0]

    def _flat(self, values: list[Any], cost: int) -> list[Any]:
        if cost <= self.left:
            self.left -= cost
            return values
        while values and cost > self.left:
            values = values[: int(len(values) * min(self.left / cost, 0.99))]
            cost = flat_cost(values) or 0
        self.cut(empty=not values)
        return values

    def blob(self, data: Buffer) -> dict[str, Any]:
        """Where the bytes ``data`` went: ``{"v": base64}`` in the tree, or ``{"b": position}``."""
        size = memoryview(data).nbytes
        if size <= INLINE:
            self.spend(size * 4 // 3 + CONTAINER_COST)
            return {"v": binascii.b2a_base64(data, newline=False).decode("ascii")}
        self.spend(size)
        self.buffers.append(data)
        return {"b": len(self.buffers) - 1}

    def fit(self, count: int, per_row: float, make: Callable[[int], Any]) -> Any:
        """``make(rows)`` for all ``count`` rows, or for as many of the first as fit, none of them cut.

        ``per_row`` is about how many bytes a row takes. Raises Full where not even no rows fit.
        """
        rows = count
        if per_row * count > self.left:
            rows = int(self.left / per_row)
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
        """A repr, whole: one that is cut only stands for the whole value."""
        if len(text) + 2 * CONTAINER_COST > self.left:
            if self.whole or self._open:
                raise Full
            text = text[: int(self.left)]
            self.cut()
        else:
            self.left -= len(text) + 2 * CONTAINER_COST
        self.is_repr = True
        return {TAG: "repr", "v": text, "type": type_name}

    def _text(self, text: str) -> Any:
        cost = _text_cost(text[: int(min(self.left, len(text)))])
        if len(text) <= self.left and cost <= self.left:
            return self._write_text(text)
        if len(text) <= WORTH_CUTTING and self._open:
            raise Full
        text = text[: int(min(self.left, len(text)))]
        while text and cost > self.left:
            text = text[: int(len(text) * min(self.left / cost, 0.99))]
            cost = _text_cost(text)
        tree = self._write_text(text) if cost <= self.left else ""
        self.cut()
        return tree

    def _write_text(self, text: str) -> Any:
        if len(text) > INLINE or not is_unicode(text):
            return {TAG: "str", **self.blob(text.encode("utf-8", "surrogatepass"))}
        self.left -= _text_cost(text)
        return text

    def bytes(self, data: Buffer, tag: str) -> Any:
        """The tree of bytes, or of as many of the first as fit."""
        size = memoryview(data).nbytes
        room = self.left - CONTAINER_COST
        if min(size, room) <= INLINE:
            room *= 0.75  # base64
        if size <= room:
            return {TAG: tag, **self.blob(data)}
        if self.whole or (size <= WORTH_CUTTING and len(self._open) > 1):
            raise Full
        self.left = math.inf  # what is left of the limit goes to this, and nothing follows
        tree = {TAG: tag, **self.blob(memoryview(data)[: max(int(room), 0)])}
        self.cut()
        return tree


def _text_cost(text: str) -> int:
    if text.isascii():
        return len(text) + 3
    if len(text) <= INLINE:
        return 6 * len(text) + CONTAINER_COST
    return len(text.encode("utf-8", "surrogatepass")) + CONTAINER_COST


def _describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:500]
    except Exception:  # noqa: BLE001 - even the text of an error can be code of the user
        return type(error).__name__


def _name(cls: type) -> str:
    module, name = cls.__module__, cls.__qualname__
    return name if module == "builtins" or not isinstance(module, str) else f"{module}.{name}"
