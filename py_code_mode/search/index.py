"""What is known of the documents of a collection: the words of each, and its vector."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

import numpy as np

from py_code_mode.ranking import Document, stems

_SPARE = 64
"""So many documents that are gone are kept, however few there are."""


class Index:
    """Rows for documents, found again by their content; only what is new costs work.

    A row of a document that is gone stays until there are more of those than of the others. Not thread-safe.
    """

    def __init__(self) -> None:
        self._rows: dict[Document, int] = {}
        self._postings: dict[str, array[int]] = {}
        self._vectors = np.zeros((0, 0), np.float32)
        self._documents: Sequence[Document] = ()
        self._used = np.zeros(0, np.intp)

    def __len__(self) -> int:
        return len(self._rows)

    def select(self, documents: Sequence[Document], embed: Callable[[Sequence[Document]], np.ndarray]) -> None:
        """Make ``documents`` what the other methods are about; ``embed`` is asked for the vectors of new ones.

        The same tuple as the last time costs nothing. What ``embed`` raises is raised, and nothing is lost.
        """
        if documents is not self._documents:
            self._add([document for document in documents if document not in self._rows], embed)
            if len(self._rows) > 2 * len(documents) + _SPARE:
                self._compact(documents)
            self._used = np.fromiter((self._rows[document] for document in documents), np.intp, len(documents))
            # Only of a tuple is it sure that it has not changed the next time.
            self._documents = documents if isinstance(documents, tuple) else ()

    def cosines(self, vector: np.ndarray) -> np.ndarray:
        """The cosine between the unit vector and that of each document, in their order; float32 (n,)."""
        found: np.ndarray = (self._vectors[: len(self._rows)] @ vector)[self._used]
        return found

    def holding(self, stem: str) -> np.ndarray:
        """Which documents hold a word with that stem, in their order; bool (n,)."""
        held = np.zeros(len(self._rows), bool)
        rows = self._postings.get(stem)
        if rows is not None:
            held[np.array(rows, np.intp)] = True
        found: np.ndarray = held[self._used]
        return found

    def _add(self, documents: Sequence[Document], embed: Callable[[Sequence[Document]], np.ndarray]) -> None:
        if not documents:
            return
        first, new = len(self._rows), list(dict.fromkeys(documents))
        vectors = embed(new)
        self._reserve(first + len(new), vectors.shape[1])
        self._vectors[first : first + len(new)] = vectors
        for row, document in enumerate(new, first):
            self._rows[document] = row
            for stem in stems(f"{document.name} {document.text} {document.extra}"):
                self._postings.setdefault(stem, array("I")).append(row)

    def _reserve(self, rows: int, width: int) -> None:
        known = len(self._rows)
        if known and width != self._vectors.shape[1]:
            raise ValueError(f"the embedder gave {width} numbers a text, and {self._vectors.shape[1]} before")
        if rows > len(self._vectors) or not known:
            larger = np.zeros((rows + rows // 8, width), np.float32)
            if known:
                larger[:known] = self._vectors[:known]
            self._vectors = larger

    def _compact(self, documents: Sequence[Document]) -> None:
        kept = {document: self._rows[document] for document in documents}
        places = np.full(len(self._rows), -1, np.int64)
        places[list(kept.values())] = np.arange(len(kept))
        postings = {}
        for stem, rows in self._postings.items():
            moved = places[np.array(rows, np.intp)]
            moved = moved[moved >= 0]
            if len(moved):
                postings[stem] = array("I", moved.tolist())
        self._postings = postings
        self._vectors = self._vectors[list(kept.values())]
        self._rows = {document: row for row, document in enumerate(kept)}
