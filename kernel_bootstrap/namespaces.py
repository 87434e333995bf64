"""``tools``, ``workflows``, ``artifacts`` and ``deps`` as code in a session sees them.

Each method is one request to the host, where the work is done. Everything is synchronous by default;
``call_async`` gives an awaitable for ``asyncio.gather``.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

from . import errors
from .artifacts import Artifacts
from .cells import Cells, ShellCells
from .link import Link
from .loops import AWAIT_NAME, awaitable
from .render import Names, Rows, as_html, as_text, ask, text_table
from .runner import WorkflowRunner
from .tools import Tools
from .workflows import Workflows


def build(link: Link, cells: Cells | None = None) -> dict[str, Any]:
    """The names that a session puts into its code: the four namespaces, and the errors to catch.

    ``cells`` are those that the code has run; None: those of the IPython shell.
    """
    artifacts = Artifacts(link)
    deps = Deps(link)
    tools = Tools(link)
    names: dict[str, Any] = {"tools": tools, "artifacts": artifacts, "deps": deps}
    names |= {name: cls for name, cls in errors.BY_NAME.items() if name != "LinkError"}
    names[AWAIT_NAME] = awaitable
    runner = WorkflowRunner(link, names)
    names["workflows"] = Workflows(link, runner, cells or ShellCells())
    return names


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
        return [(text, _installed(text)) for text in ask(self._link, "deps.list")]

    def __repr__(self) -> str:
        return as_text("deps", self._text)

    def _text(self) -> str:
        rows = [(text, version or "not installed; deps.sync()") for text, version in self._rows()]
        return text_table("deps", rows, empty='none; deps.add("package")')

    def _repr_html_(self) -> str:
        return as_html("deps", self._html)

    def _html(self) -> str:
        from . import views

        return views.deps(self._rows())


def _installed(requirement: str) -> str:
    """The version of a requirement's package that is there, or ""."""
    from importlib import metadata  # 20 ms

    found = re.match(r"\s*[\w.-]+", requirement, re.ASCII)
    if not found:
        return ""
    try:
        return metadata.version(found[0].strip())
    except (metadata.PackageNotFoundError, ValueError):
        return ""
