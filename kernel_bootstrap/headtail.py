"""The head and the tail of a text that may be endless."""

from __future__ import annotations

from collections import deque


class HeadTail:
    """Passes the head of a text on, keeps its tail, and counts what lies between.

    ``limit`` is in bytes of UTF-8: one half for the head, one for the tail; None = all is passed on.
    """

    def __init__(self, limit: int | None) -> None:
        self._half = None if limit is None else limit // 2
        self._tail_limit = max((limit or 0) - (self._half or 0), 0)
        self._room = self._half or 0
        self._tail: deque[str] = deque()
        self._size = 0
        self._dropped = 0

    def add(self, text: str) -> str:
        """Take more of the text; returns the part that belongs to the head, to be passed on now."""
        if self._half is None:
            return text
        shown = ""
        if self._room:
            shown, text = _split(text, self._room)
            self._room = 0 if text else self._room - size_of(shown)
        if text:
            self._tail.append(text)
            self._size += size_of(text)
            while self._tail and self._size - size_of(self._tail[0]) >= self._tail_limit:
                gone = size_of(self._tail.popleft())
                self._size -= gone
                self._dropped += gone
        return shown

    @property
    def truncated(self) -> bool:
        """Whether something between head and tail is left out."""
        return self._half is not None and self._dropped + self._size > self._tail_limit

    def rest(self) -> str:
        """What follows the head: the tail, behind a line that says how much is left out if something is."""
        tail = "".join(self._tail)
        if not self.truncated:
            return tail
        data = tail.encode("utf-8", "surrogatepass")
        kept = data[len(data) - self._tail_limit :].decode("utf-8", "ignore")
        left_out = self._dropped + self._size - size_of(kept)
        return f"\n… [{left_out} bytes left out] …\n{kept}"


def size_of(text: str) -> int:
    """The bytes of ``text`` in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _split(text: str, size: int) -> tuple[str, str]:
    """``text`` in two, the first part of at most ``size`` bytes."""
    if text.isascii():
        return text[:size], text[size:]
    first = text.encode("utf-8", "surrogatepass")[:size].decode("utf-8", "ignore")
    return first, text[len(first) :]
