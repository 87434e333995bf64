"""What turns texts into vectors: the ``Embedder`` seam, and the one that is there after a plain install."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np


class Embedder(Protocol):
    """Turns texts into vectors, near ones for texts that mean nearly the same.

    A search calls it, off the event loop and by one thread at a time, with the query and with the texts that it
    has not seen before. One that raises makes that search go by keywords. If it has a ``name``, a str that says
    model and version, the vectors of documents are kept on disk under it.
    """

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """A float32 array (n, d), one row for each of the n texts; d is the same at every call."""
        ...


class WordLlamaEmbedder:
    """The 256 numbers that the ``wordllama`` package knows for each token, averaged over a text. No network.

    Its files are read without importing it: the import sets up the logging of the whole process, and takes
    longer than all else. Loaded at the first use, 16 MB; safe to share between threads.
    """

    name = "wordllama-0.4/l2_supercat_256"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """See ``Embedder.embed``. Raises ImportError or OSError if the package or its files are not there."""
        import numpy as np

        tokenizer, table = self._model()
        vectors = np.zeros((len(texts), table.shape[1]), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            # One by one: encode_batch starts threads, of which tokenizers warns at the next fork.
            tokens = tokenizer.encode(_whole(text), add_special_tokens=False).ids
            if tokens:
                table[tokens].mean(axis=0, dtype=np.float32, out=vector)
        return vectors

    def _model(self) -> tuple[Any, Any]:
        with self._lock:
            if self._loaded is None:
                self._loaded = _load()
            return self._loaded


def _whole(text: str) -> str:
    """The text with "?" for halves of surrogate pairs, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode()


def _load() -> tuple[Any, Any]:
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    found = find_spec("wordllama")
    if found is None or found.origin is None:
        raise ImportError("wordllama is not installed")
    folder = Path(found.origin).parent
    tokenizer = Tokenizer.from_file(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    (table,) = load_file(folder / "weights" / "l2_supercat_256.safetensors").values()
    return tokenizer, table


DEFAULT = WordLlamaEmbedder()
"""One for the process: its model is loaded once, whatever is searched."""
