"""Embeddings from a server."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import numpy as np

_PATIENCE = 20.0
"""Seconds that a server may take for one request."""

_AT_ONCE = 128
"""Texts in one request; servers refuse many more."""

_LARGEST = 64 * 1024 * 1024
"""Bytes of an answer: 128 vectors of 4,096 numbers are some 12 MB of JSON."""


class ServerEmbedder:
    """A server with the embeddings API that OpenAI's has: POST <url>/embeddings."""

    def __init__(self, url: str) -> None:
        base, _, model = url.partition("#")
        self.name = f"openai-compatible:{url}"
        self._url = f"{base.rstrip('/')}/embeddings"
        self._model = model

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """See ``Embedder.embed``. Raises OSError or ValueError, which name the server."""
        import numpy as np

        rows = [
            row for start in range(0, len(texts), _AT_ONCE) for row in self._ask([*texts[start : start + _AT_ONCE]])
        ]
        return np.asarray(rows, np.float32)

    def _ask(self, texts: list[str]) -> list[Any]:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        body = json.dumps({"input": texts, "model": self._model, "encoding_format": "float"}).encode()
        where = urlsplit(self._url).hostname
        try:
            request = urllib.request.Request(self._url, body, headers)
            with _OPENER.open(request, timeout=_PATIENCE) as response:
                answer = response.read(_LARGEST)
            data = sorted(json.loads(answer)["data"], key=lambda item: item["index"])
            return [item["embedding"] for item in data]
        except OSError as error:
            raise OSError(f"the embedding server {where}: {error}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"the embedding server {where} gave no embeddings: {type(error).__name__}") from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Does not go elsewhere: the key is for the server that was named."""


_OPENER = urllib.request.build_opener(_NoRedirects)
