"""Completion of the arguments of the magics, in whatever front end."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

Source: TypeAlias = Callable[[], Iterable[str]]

_LINE = re.compile(r"\s*(?P<magic>%%?\w+)[ \t]+(?P<arguments>.*)", re.DOTALL)
_MOST = 500

_OPTIONS = {
    "%code_mode": ("--timeout", "--python"),
    "%%code_mode": ("-o", "--out", "-t", "--timeout"),
}
_VERBS = {
    "%code_mode": ("close", "reset"),
    "%code_mode_here": ("close",),
    "%deps": ("add", "remove", "sync"),
}


def matcher(names: Mapping[str, Source]) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """For ``IPCompleter.custom_matchers``. ``names`` tells the tools, workflows and deps that there are."""

    @context_matcher(identifier="py_code_mode")  # type: ignore[untyped-decorator]
    def match(context: CompletionContext) -> SimpleMatcherResult:
        found = list(_completions(context.text_until_cursor, context.token, names))
        return {"completions": [SimpleCompletion(text=text, type="param") for text in found], "suppress": bool(found)}

    return match  # type: ignore[no-any-return]


def _completions(text: str, token: str, names: Mapping[str, Source]) -> Iterable[str]:
    """What may stand in place of ``token``, which is the end of ``text`` as IPython splits it."""
    line = _LINE.fullmatch(text)
    if line is None:
        return
    before, begun = _split(line["arguments"])
    for candidate in _candidates(line["magic"], before, begun, names):
        if candidate.startswith(begun):
            # IPython ends words at quotes and other signs, so it replaces the last part only.
            if begun.endswith(token):
                yield candidate[len(begun) - len(token) :]
        elif begun == token and candidate[1:].startswith(begun):  # it needs quotes, which were not begun
            yield candidate


def _split(arguments: str) -> tuple[list[str], str]:
    """The arguments that are complete, and the text of the last, as it was typed."""
    begun = ""
    for match in re.finditer(r"\"[^\"]*\"?|'[^']*'?|\S+|\s+", arguments):
        begun = "" if match[0].isspace() else begun + match[0]
    complete = arguments[: len(arguments) - len(begun)]
    try:
        return shlex.split(complete), begun
    except ValueError:
        return complete.split(), begun


def _candidates(magic: str, before: Sequence[str], begun: str, names: Mapping[str, Source]) -> Iterable[str]:
    options = _OPTIONS.get(magic, ())
    if before and before[-1] in options:
        return  # the value of an option
    if begun.startswith("-"):
        yield from options
        return
    first = not [word for word in before if not word.startswith("-")]
    if first:
        yield from _VERBS.get(magic, ())
    if first and magic in ("%code_mode", "%code_mode_here"):
        yield from _directories(begun)
    elif magic in ("%tools", "%workflows") or (first and magic == "%%workflow"):
        yield from names["tools" if magic == "%tools" else "workflows"]()
    elif magic == "%deps" and before[:1] == ["remove"]:
        yield from names["deps"]()
    if not begun:
        yield from options


def _directories(begun: str) -> Iterable[str]:
    quote = begun[:1] if begun[:1] in ("'", '"') else ""
    typed = begun[len(quote) :]
    above, slash, last = typed.rpartition("/")
    try:
        here = Path(above + slash).expanduser() if slash else Path()
        found = sorted(entry.name for entry in os.scandir(here) if entry.is_dir())
    except (OSError, RuntimeError, ValueError):
        return
    for name in found[:_MOST]:
        if name.startswith(last) and (last or not name.startswith(".")):
            path = f"{above}{slash}{name}/"
            if quote:
                yield f"{quote}{path}"
            else:
                yield path if shlex.quote(name) == name else f"'{path}'"
