"""The ranking by meaning and by words together."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from py_code_mode.ranking import Document, KeywordRanker, Match, everything, query_words, words

from .embedder import Embedder
from .named import EmbedderLike, embedder

if TYPE_CHECKING:
    import numpy as np

    from .index import Index
    from .vectors import VectorStore

_log = logging.getLogger(__name__)

_WORDS = 0.4
"""What the words count beside the meaning, for a document with all of them."""

_LEAST_MEANING, _LEAST_OF_BEST = 0.15, 0.5
"""A document without a word of the query is found from this cosine on, and any from this share of the best score."""

_TEXT = 4_000
"""So many characters of a document, its first, make its meaning."""

_BATCH = 1_024
"""So many texts are given to the embedder at once."""

_PAUSE = 30.0
"""Seconds without a further try after the embedder has failed."""


class MeaningRanker:
    """Ranks by cosine + 0.4 x coverage², made to lie between 0 and 1.

    The cosine is that of the query and of name, description and tags; the coverage is the share of the query's
    stems that the document holds anywhere, rare ones counting more (idf). The words and vectors of documents are
    kept, so that only new documents cost work; numpy and the embedder are loaded by the first search. While
    the embedder fails, which is logged, the ranking is by keyword. Safe to share between threads, and meant
    for one collection. For what can be given see ``named.embedder``; ``vectors`` keeps the vectors of documents,
    None: a file of this machine.
    """

    def __init__(self, given: EmbedderLike = None, vectors: VectorStore | None = None) -> None:
        self._embedder = embedder(given)
        self._store = vectors
        self._kept: Embedder | None = None
        self._keywords = KeywordRanker()
        self._lock = threading.Lock()
        self._index: Index | None = None
        self._resume = -math.inf

    def rank(self, query: str, documents: Sequence[Document], limit: int) -> list[Match]:
        """See ``Ranker.rank``."""
        wanted = query_words(query)
        if not wanted:
            return everything(documents, limit)
        if not documents or limit <= 0:
            return []
        with self._lock:
            if time.monotonic() >= self._resume:
                try:
                    return self._rank(query, wanted, documents, limit)
                except Exception as error:  # noqa: BLE001  an embedder is anybody's code
                    self._resume = time.monotonic() + _PAUSE
                    _log.warning("search goes by keywords: the embedder failed: %s: %s", type(error).__name__, error)
        return self._keywords.rank(query, documents, limit)

    def _rank(self, query: str, wanted: dict[str, str], documents: Sequence[Document], limit: int) -> list[Match]:
        import numpy as np

        from .index import Index

        if self._index is None:
            self._index = Index()
        self._index.select(documents, self._vectors)
        cosines = self._index.cosines(_unit(self._embedder.embed([query[:_TEXT]]), 1)[0])
        held = {stem: self._index.holding(stem) for stem in wanted}
        idf = {stem: math.log(1 + len(documents) / (int(holding.sum()) + 0.5)) for stem, holding in held.items()}
        coverage = np.zeros(len(documents), np.float32)
        for stem, holding in held.items():
            coverage[holding] += idf[stem] / sum(idf.values())
        scores = (np.maximum(cosines, 0) + _WORDS * coverage**2) / (1 + _WORDS)
        found = np.flatnonzero(
            (scores > 0) & ((coverage > 0) | (cosines >= _LEAST_MEANING)) & (scores >= _LEAST_OF_BEST * scores.max())
        )
        best = found[np.argsort(-scores[found], kind="stable")[:limit]]
        return [
            Match(
                int(index),
                min(float(scores[index]), 1.0),
                tuple(word for stem, word in wanted.items() if held[stem][index]),
            )
            for index in best
        ]

    def _vectors(self, documents: Sequence[Document]) -> np.ndarray:
        import numpy as np

        if self._kept is None:
            self._kept = _keeping(self._embedder, self._store)
        texts = [_text(document) for document in documents]
        batches = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
        return np.concatenate([_unit(self._kept.embed(batch), len(batch)) for batch in batches])


def _keeping(plain: Embedder, store: VectorStore | None) -> Embedder:
    """The embedder with a memory, if its name says under what."""
    from .vectors import DiskVectors, KeptEmbedder

    name = getattr(plain, "name", None)
    return KeptEmbedder(plain, name, store or DiskVectors()) if isinstance(name, str) else plain


def _text(document: Document) -> str:
    return f"{' '.join(words(document.name))} {document.text}"[:_TEXT]


def _unit(vectors: np.ndarray, count: int) -> np.ndarray:
    """The vectors with length 1, or 0 where they have none; ``count`` of them are expected."""
    import numpy as np

    array = np.asarray(vectors, np.float32)
    if array.ndim != 2 or len(array) != count or not np.isfinite(array).all():
        raise ValueError(f"the embedder gave an array {array.shape} for {count} texts, not finite numbers ({count}, d)")
    lengths = np.linalg.norm(array, axis=1, keepdims=True)
    unit: np.ndarray = np.divide(array, lengths, out=np.zeros_like(array), where=lengths > 0)
    return unit
