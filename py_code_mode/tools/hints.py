"""The end of a message about a wrong name: the nearest right ones, then all of them."""

from __future__ import annotations

import difflib
import keyword
import re
from collections.abc import Iterable

_SHOWN = 30  # names listed in one message


def nearest(word: str, valid: Iterable[str]) -> str:
    """For instance ``"; did you mean 'url'? Valid: data, url"``, or ``""`` when nothing is valid."""
    names = list(dict.fromkeys(valid))
    if not names:
        return ""
    plain = {_plain(name): name for name in reversed(names)}
    close = [plain[match] for match in difflib.get_close_matches(_plain(word), plain, n=3)]
    question = f"; did you mean {' or '.join(repr(name) for name in close)}?" if close else "."
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{question} Valid: {', '.join(names[:_SHOWN])}{more}"


def as_identifier(name: str) -> str:
    """The Python identifier nearest to ``name``; ``""`` when no letter or digit is in it."""
    made = re.sub(r"\W", "_", name).strip("_")
    if not made:
        return ""
    if made[0].isdigit():
        made = f"_{made}"
    return f"{made}_" if keyword.iskeyword(made) else made


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_")
