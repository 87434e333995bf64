"""``tools``, ``workflows``, ``artifacts`` and ``deps`` as code in a session sees them.

Each method is one request to the host, where the work is done. Everything is synchronous by default;
``call_async`` gives an awaitable for ``asyncio.gather``.
"""

from __future__ import annotations

import importlib
from typing import Any

from . import errors, formats
from .link import Link
from .loops import AWAIT_NAME, awaitable
from .render import Listing, Names, Rows, html_table, text_table
from .runner import WorkflowRunner
from .tools import Tools
from .workflows import Workflows


def build(link: Link) -> dict[str, Any]:
    """The names that a session puts into its code: the four namespaces, and the errors to catch."""
    artifacts = Artifacts(link)
    deps = Deps(link)
    tools = Tools(link)
    names: dict[str, Any] = {"tools": tools, "artifacts": artifacts, "deps": deps}
    names |= {name: cls for name, cls in errors.BY_NAME.items() if name != "LinkError"}
    names[AWAIT_NAME] = awaitable
    runner = WorkflowRunner(link, names)
    names["workflows"] = Workflows(link, runner)
    return names


class Artifacts:
    """The data of this workspace: kept when the session ends, shared by its sessions."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def save(
        self, name: str, data: Any, description: str = "", metadata: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Keep ``data``: text, bytes, JSON values, numpy arrays, pandas or Arrow tables."""
        payload = formats.dump(data)
        saved: dict[str, Any] = self._link.request(
            "artifacts.save",
            name=name,
            format=payload.format,
            data=payload.data,
            details=payload.details,
            description=description,
            metadata=metadata,
        )
        return saved

    def load(self, name: str) -> Any:
        """What was saved under ``name``."""
        item = self._link.request("artifacts.load", name=name)
        return formats.load(item["format"], item["data"], item["details"])

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


class Deps:
    """The packages of this workspace."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def list(self) -> Names:
        """The configured requirements, as they were written."""
        found: Names = self._link.request("deps.list")
        return found

    def add(self, package: str) -> dict[str, Any]:
        """Install ``package`` (PEP 508) now, and keep it in requirements.txt."""
        return self._changed("deps.add", package=package)

    def remove(self, package: str) -> dict[str, Any]:
        """Uninstall ``package`` and drop it from requirements.txt."""
        return self._changed("deps.remove", package=package)

    def sync(self) -> dict[str, Any]:
        """Install every configured requirement that is missing."""
        return self._changed("deps.sync")

    def _changed(self, method: str, **params: Any) -> dict[str, Any]:
        outcome: dict[str, Any] = self._link.request(method, **params)
        importlib.invalidate_caches()
        return outcome

    def _rows(self) -> Rows:
        return [(item, "") for item in self.list()]

    def __repr__(self) -> str:
        return text_table("deps", self._rows(), empty='none; deps.add("package")')

    def _repr_html_(self) -> str:
        return html_table("deps", ("requirement", ""), self._rows())
