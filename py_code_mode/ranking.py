"""Search over small collections: the ``Ranker`` seam and its ranking by keyword.

Tools and workflows are searched through the same seam; ``search.ranker`` has the ranking that they have by
default, and falls back to the one here.
"""

from __future__ import annotations

import functools
import math
import re
import threading
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any, Protocol

# How much a word of the query counts by where it was found.
_NAME, _TEXT, _EXTRA = 1.0, 0.9, 0.4

# So many characters of a query count, its first; whoever gives more has pasted a document.
_QUERY = 4_000

_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

# Left out of a query that has other words: in a collection of five, "from" can look rare.
_STOP_WORDS = """
a an and any are as at be by can do for from how i in into is it me my of on or our some
that the their this to using via want we what which with you your
"""
_STOP = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True, slots=True)
class Document:
    """One item that can be found.

    ``text`` is its description with its tags, ``extra`` what else may hold a word of the query (parameters,
    recipes, source) and counts less.
    """

    name: str
    text: str = ""
    extra: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """A document that was found: its ``index`` in the sequence given, and a ``score`` above 0, at most 1.

    ``words`` are those of the query that it holds, in any of their forms.
    """

    index: int
    score: float
    words: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """``score``, rounded, and ``matched``, the words: what a search adds to what it found."""
        return {"score": round(self.score, 4), "matched": list(self.words)}


class Ranker(Protocol):
    """Finds documents. The tool registry and the workflow library call it once for each search."""

    def rank(self, query: str, documents: Sequence[Document], limit: int) -> list[Match]:
        """At most ``limit`` matches, the best first, equal ones in the order of ``documents``.

        A query without a word matches everything, in order; a query that fits nothing gives ``[]``.
        """
        ...


class KeywordRanker:
    """Ranks by the share of the query's words that a document holds, rare words counting more (idf).

    Words are compared by their English stem, so "requests" finds "request"; identifiers count as the words
    that they are made of (``fetch_json``, ``fetchJson``). Safe to share between threads.
    """

    def rank(self, query: str, documents: Sequence[Document], limit: int) -> list[Match]:
        """See ``Ranker.rank``. The score is the idf-weighted share of the query's stems."""
        wanted = query_words(query)
        if not wanted:
            return everything(documents, limit)
        found = [_weights(wanted.keys(), document) for document in documents]
        idf = _idf(wanted.keys(), found)
        whole = sum(idf.values())
        matches = [
            Match(
                index,
                min(sum(idf[stem] * weight for stem, weight in weights.items()) / whole, 1.0),
                tuple(word for stem, word in wanted.items() if stem in weights),
            )
            for index, weights in enumerate(found)
            if weights
        ]
        matches.sort(key=lambda match: (-match.score, match.index))
        return matches[: max(limit, 0)]


def everything(documents: Sequence[Document], limit: int) -> list[Match]:
    """The answer to a query without a word."""
    return [Match(index, 1.0) for index in range(min(max(limit, 0), len(documents)))]


def stems(text: str) -> set[str]:
    """The stems of the words of ``text``, identifiers split at ``_`` and at camelCase."""
    return {_stem(word) for word in set(words(text))}


def words(text: str) -> list[str]:
    """The words of ``text`` in small letters, identifiers split at ``_`` and at camelCase."""
    found: list[str] = _WORD.findall(text)
    return [part.casefold() for word in found for part in ([word] if word.islower() else _CAMEL.split(word))]


def query_words(query: str) -> dict[str, str]:
    """The words to look for, by their stem; of a long query those at its beginning."""
    found = words(query[:_QUERY])
    wanted: dict[str, str] = {}
    for word in [word for word in found if word not in _STOP] or found:
        wanted.setdefault(_stem(word), word)
    return wanted


def _weights(wanted: Set[str], document: Document) -> dict[str, float]:
    weights: dict[str, float] = {}
    for text, weight in ((document.extra, _EXTRA), (document.text, _TEXT), (document.name, _NAME)):
        weights.update(dict.fromkeys(wanted & stems(text), weight))
    return weights


def _idf(wanted: Set[str], found: list[dict[str, float]]) -> dict[str, float]:
    counts = Counter(stem for weights in found for stem in weights)
    return {stem: math.log(1 + len(found) / (counts[stem] + 0.5)) for stem in wanted}


_stemming = threading.Lock()  # a snowball stemmer keeps its state between two steps of one word


@functools.cache
def _stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")


@functools.lru_cache(maxsize=32_768)
def _stem(word: str) -> str:
    with _stemming:
        return str(_stemmer().stemWord(word))
