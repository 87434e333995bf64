"""``artifacts`` as code in a session sees it."""

from __future__ import annotations

from typing import Any

from . import formats
from .link import Link
from .render import Listing, Rows, html_table, text_table
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
        return found

    def exists(self, name: str) -> bool:
        """Whether there is an artifact of that name."""
        return bool(self._link.request("artifacts.exists", name=name))

    def list(self) -> Listing:
        """Every artifact: ``name``, ``path``, ``description``, ``metadata``, ``created_at``."""
        found: Listing = self._link.request("artifacts.list")
        return found

    def delete(self, name: str) -> None:
        """Remove an artifact; ArtifactNotFoundError where there is none."""
        self._link.request("artifacts.delete", name=name)

    def _rows(self) -> Rows:
        return [(repr(item["name"]), item["description"] or item.get("format", "")) for item in self.list()]

    def __repr__(self) -> str:
        return text_table("artifacts", self._rows(), empty="none; artifacts.save(name, data)")

    def _repr_html_(self) -> str:
        return html_table("artifacts", ("name", "description"), self._rows())


def _value(item: dict[str, Any], source: Source | None) -> Any:
    if source is None:
        return formats.load(item["format"], item["data"], item["details"])
    return formats.read(item["format"], source, item["size"], item["details"])
