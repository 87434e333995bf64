"""The inputs of this session, for the arrow keys of a console and for ``%history``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from IPython.core.history import HistoryManager


class Forgetful(dict[int, list[Any]]):
    """Keeps no output. IPython keeps each, of every cell, as long as the kernel lives, for its own %notebook."""

    def __missing__(self, key: int) -> list[Any]:
        return []


class CellHistory(HistoryManager):
    """Answers from what IPython remembers anyway: no sqlite file, and no thread that writes it."""

    # IPython leaves "exit()" out, and gives the cells after it the numbers of others.
    _exit_re = re.compile(r"(?!)")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.outputs = Forgetful()

    def get_tail(
        self, n: int | None = 10, raw: bool = True, output: bool = False, include_latest: bool = False
    ) -> Iterable[Any]:
        entries = list(self.get_range(raw=raw, output=output))
        if not include_latest:
            del entries[-1:]
        return entries[max(0, len(entries) - (10 if n is None else n)) :]

    def search(
        self,
        pattern: str = "*",
        raw: bool = True,
        search_raw: bool = True,
        output: bool = False,
        n: int | None = None,
        unique: bool = False,
    ) -> Iterable[Any]:
        searched = self.input_hist_raw if search_raw else self.input_hist_parsed
        found = {}
        for entry in self.get_range(raw=raw, output=output):
            text = searched[entry[1]]
            if fnmatchcase(text, pattern):
                found[text if unique else entry[1]] = entry  # of those that are alike, the latest
        entries = sorted(found.values(), key=lambda entry: int(entry[1]))
        return entries if n is None else entries[max(0, len(entries) - n) :]
