"""Embedders that are given by name, and what else may be given as one."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .embedder import DEFAULT, Embedder

if TYPE_CHECKING:
    import numpy as np

SETTING = "PY_CODE_MODE_EMBEDDER"
"""The environment variable with the name of the embedder where none is given, as on the command line."""

EmbedderLike = str | Embedder | Callable[[Sequence[str]], Any] | None
"""What stands for an embedder: see ``embedder``."""

_KINDS = "'sentence-transformers:<model>', 'model2vec:<model>' or 'openai-compatible:<url>'"


def embedder(given: EmbedderLike) -> Embedder:
    """The embedder that ``given`` stands for. Nothing is imported, loaded or asked before its first use.

    Args:
        given: None for the one that PY_CODE_MODE_EMBEDDER names, else the one that comes with the package; an
            Embedder; a callable that takes a list of texts and gives an array (n, d) or lists of numbers; or a
            name: "sentence-transformers:<model>" and "model2vec:<model>" load the model with the package of that
            name, which is installed beside this one and may fetch the model from the network;
            "openai-compatible:<url>" posts to ``<url>/embeddings``. A "#<model>" at the end of the URL is the
            model that is asked for; OPENAI_API_KEY, if it is set, is the key.

    Raises:
        ValueError: a name that is none of these.
        TypeError: something else.
    """
    if given is None:
        given = os.environ.get(SETTING) or DEFAULT
    if isinstance(given, str):
        kind, _, rest = given.partition(":")
        if kind in _MODELS and rest:
            return ModelEmbedder(kind, rest)
        if kind == "openai-compatible" and urlsplit(rest).scheme in ("http", "https"):
            from .server import ServerEmbedder  # what it imports takes longer than all else here

            return ServerEmbedder(rest)
        raise ValueError(f"no embedder {given!r}; give {_KINDS}, a callable or an Embedder")
    if hasattr(given, "embed"):
        return given
    if callable(given):
        return FunctionEmbedder(given)
    raise TypeError(f"an embedder is {_KINDS}, a callable or an Embedder, not {type(given).__name__}")


class FunctionEmbedder:
    """A callable as an embedder. Its vectors are kept in memory only: nothing says when the callable changes."""

    def __init__(self, function: Callable[[Sequence[str]], Any]) -> None:
        self._function = function

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """See ``Embedder.embed``."""
        return _floats(self._function([*texts]))


class ModelEmbedder:
    """A model of the package ``sentence-transformers`` or ``model2vec``, loaded at the first use."""

    def __init__(self, kind: str, model: str) -> None:
        self.name = f"{kind}:{model}"
        self._load = _MODELS[kind]
        self._model = model
        self._loaded: Any = None

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """See ``Embedder.embed``. Raises ImportError if the package is not installed, and what it raises."""
        if self._loaded is None:
            self._loaded = self._load(self._model)
        return _floats(self._loaded.encode([*texts]))


_MODELS: dict[str, Callable[[str], Any]] = {
    "sentence-transformers": lambda model: importlib.import_module("sentence_transformers").SentenceTransformer(model),
    "model2vec": lambda model: importlib.import_module("model2vec").StaticModel.from_pretrained(model),
}


def _floats(vectors: Any) -> np.ndarray:
    import numpy as np

    return np.asarray(vectors, np.float32)
