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
_OVERWRITTEN = re.compile("[^\n]*\r(?=[^\r\n])")


def clean(text: str) -> str:
    """``text`` with every character that cannot be seen, or sent, as its escape."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def console(text: str) -> str:
    """What a terminal would leave of ``text``: without colours, and without what a carriage return overwrote."""
    text = _COLOURS.sub("", text).replace("\r\n", "\n")
    return clean(_OVERWRITTEN.sub("", text).replace("\r", ""))


def cut(text: str, most: int) -> str:
    """The first ``most`` characters of ``text``, cleaned, with a mark where more follow."""
    return clean(text) if len(text) <= most else f"{clean(text[:most])}…"


def one_line(text: str, most: int = LONGEST) -> str:
    """The beginning of ``text`` on one line."""
    return cut(" ".join(text[: 4 * most].split()) + ("…" if len(text) > 4 * most else ""), most)


def short_repr(value: Any, most: int = LONGEST) -> str:
    """The repr of ``value``, made from its beginning where that is enough."""
    try:
        if isinstance(value, str | bytes | bytearray) and len(value) > most:
            return f"{value[:most]!r}… [{len(value):,} in all]"
        if isinstance(value, dict | list | tuple | set | frozenset):
            shorten = reprlib.Repr()
            shorten.maxstring = shorten.maxother = shorten.maxlong = most
            shorten.maxdict = shorten.maxlist = shorten.maxtuple = shorten.maxset = shorten.maxfrozenset = 20
            return shorten.repr(value)
        return repr(value)
    except Exception as error:  # noqa: BLE001 - a __repr__ can raise anything
        if isinstance(value, int):  # more digits than sys.get_int_max_str_digits()
            return f"<int of {value.bit_length()} bits>"
        return f"<{type(value).__name__}, whose repr failed: {type(error).__name__}>"
