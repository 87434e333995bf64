"""``artifacts`` as code in a session sees it."""

from __future__ import annotations

from typing import Any

from . import formats
from .link import Link
from .plaintext import one_line, short_repr
from .render import Listing, Record, as_html, as_text, ask, text_table
from .wire import ONE_MESSAGE, Source


class Artifacts:
    """The data of this workspace: kept when the session ends, shared by its sessions."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def save(
        self, name: str, data: Any, description: str = "", metadata: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Keep ``data``: text, bytes, JSON values, numpy arrays, pandas or Arrow tables."""
        payload = formats.dump(data)
        about = {
            "name": name,
            "format": payload.format,
            "details": payload.details,
            "description": description,
            "metadata": metadata,
        }
        saved: dict[str, Any]
        if payload.size <= ONE_MESSAGE:
            saved = self._link.request("artifacts.save", data=b"".join(payload.parts), **about)
        else:
            saved = self._link.upload("artifacts.save", payload.parts, **about)
        return saved

    def load(self, name: str) -> Any:
        """What was saved under ``name``."""
        return self._link.download("artifacts.load", _value, name=name)

    def get(self, name: str) -> dict[str, Any] | None:
        """Name, path, description, metadata and more of one artifact, or None."""
        found: dict[str, Any] | None = self._link.request("artifacts.get", name=name)
        return None if found is None else Record(found, self._view)

    def exists(self, name: str) -> bool:
        """Whether there is an artifact of that name."""
        return bool(self._link.request("artifacts.exists", name=name))

    def list(self) -> Listing:
        """Every artifact: ``name``, ``path``, ``description``, ``metadata``, ``created_at``."""
        return Listing(self._link.request("artifacts.list"), _listing)

    def delete(self, name: str) -> None:
        """Remove an artifact; ArtifactNotFoundError where there is none."""
        self._link.request("artifacts.delete", name=name)

    def __repr__(self) -> str:
        return as_text("artifacts", self._text)

    def _text(self) -> str:
        from .previews import size_text

        rows = []
        for item in ask(self._link, "artifacts.list"):
            about = (item["format"], size_text(item["size"]), one_line(item["description"]))
            rows.append((short_repr(item["name"]), ", ".join(text for text in about if text)))
        return text_table("artifacts", rows, empty="none; artifacts.save(name, data)")

    def _repr_html_(self) -> str:
        return as_html("artifacts", lambda: _listing(ask(self._link, "artifacts.list")))

    def _view(self, item: dict[str, Any]) -> str:
        from . import previews

        wanted = item["size"] if item["size"] <= previews.WHOLE else previews.HEAD
        head = ask(self._link, "artifacts.head", name=item["name"], size=wanted)
        return previews.artifact(item, head)


def _listing(items: list[dict[str, Any]]) -> str:
    from . import previews

    return previews.artifacts(items)


def _value(item: dict[str, Any], source: Source | None) -> Any:
    if source is None:
        return formats.load(item["format"], item["data"], item["details"])
    return formats.read(item["format"], source, item["size"], item["details"])
