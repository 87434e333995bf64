"""Text that can be shown to anybody: of bounded length, and without what cannot be seen or sent.

Standard library only; shared with the host.
"""

from __future__ import annotations

import re
import reprlib
from typing import Any, Final

LONGEST: Final = 300
"""Characters of one value among others."""

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, those that reverse the direction of text, and halves of characters, which no front end gets."""
_COLOURS = re.compile("\x1b\\[[0-9;:]*m")


def clean(text: str) -> str:
    """``text`` with every character that cannot be seen, or sent, as its escape."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def console(text: str) -> str:
    """What a terminal would leave of ``text``: without colours, and without what a carriage return overwrote."""
    lines = _COLOURS.sub("", text).split("\n")
    return clean("\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines))


def cut(text: str, most: int) -> str:
    """The first ``most`` characters of ``text``, cleaned, with a mark where more follow."""
    return clean(text) if len(text) <= most else f"{clean(text[:most])}…"


def one_line(text: str, most: int = LONGEST) -> str:
    """The beginning of ``text`` on one line."""
    return cut(" ".join(text[: 4 * most].split()) + ("…" if len(text) > 4 * most else ""), most)


def short_repr(value: Any, most: int = LONGEST) -> str:
    """The repr of ``value``, made from its beginning where that is enough; about ``most`` characters, never twice."""
    try:
        if isinstance(value, str | bytes | bytearray) and len(value) > most:
            text, more = f"{value[:most]!r}", f"… [{len(value):,} in all]"
            return f"{text[: 2 * most - len(more)]}{more}"
        text = _REPR.repr(value) if isinstance(value, dict | list | tuple | set | frozenset) else repr(value)
    except Exception as error:  # noqa: BLE001 - a __repr__ can raise anything
        if isinstance(value, int):  # more digits than sys.get_int_max_str_digits()
            return f"<int of {value.bit_length()} bits>"
        return f"<{type(value).__name__}, whose repr failed: {type(error).__name__}>"
    return text if len(text) <= 2 * most else f"{text[:most]}…"


_REPR = reprlib.Repr()
_REPR.maxlevel = 4
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = LONGEST
_REPR.maxdict = _REPR.maxlist = _REPR.maxtuple = _REPR.maxset = _REPR.maxfrozenset = 20
