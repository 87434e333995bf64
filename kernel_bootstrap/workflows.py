"""``workflows`` as code in a session sees it."""

from __future__ import annotations

import inspect
from collections.abc import Coroutine
from typing import Any

from . import errors
from .link import Link
from .render import Listing, Names, Rows, html_table, text_table
from .runner import WorkflowRunner


class Workflow:
    """One workflow, callable."""

    def __init__(self, link: Link, runner: WorkflowRunner, name: str) -> None:
        self._link = link
        self._runner = runner
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it and return what it returns."""
        return self._runner.call(self._name, args, kwargs)

    def call_async(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """The same as an awaitable, for ``asyncio.gather``."""
        return self._runner.call_async(self._name, args, kwargs)

    def _get(self) -> dict[str, Any]:
        found = self._link.request("workflows.get", name=self._name)
        if found is None:
            raise errors.WorkflowNotFoundError(f"no workflow {self._name!r}", workflow=self._name)
        return dict(found)

    @property
    def __name__(self) -> str:
        return self._name

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._runner.load(self._name))

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        try:
            return str(self._get()["description"])
        except errors.CodeModeError as error:
            return str(error)

    @property
    def source(self) -> str:
        """The text of its file."""
        return str(self._get()["source"])

    def __repr__(self) -> str:
        try:
            item = self._get()
        except errors.CodeModeError as error:
            return f"<workflows.{self._name}: {error}>"
        return f"workflows.{item.get('signature') or item['name']}\n    {item['description']}"


class Workflows:
    """The workflows of this workspace: ``workflows.<name>(...)``."""

    def __init__(self, link: Link, runner: WorkflowRunner) -> None:
        self._link = link
        self._runner = runner

    def list(self) -> Listing:
        """Every workflow: ``name``, ``description``, ``parameters``."""
        found: Listing = self._link.request("workflows.list")
        return found

    def search(self, query: str, limit: int = 5) -> Listing:
        """The workflows that fit ``query``, best first."""
        found: Listing = self._link.request("workflows.search", query=query, limit=limit)
        return found

    def get(self, name: str) -> dict[str, Any] | None:
        """``name``, ``description``, ``parameters``, ``source`` of one workflow, or None."""
        found: dict[str, Any] | None = self._link.request("workflows.get", name=name)
        return found

    def create(self, name: str, source: str, description: str = "") -> dict[str, Any]:
        """Save ``source``, which defines ``async def run(...)``, as a workflow for every session."""
        made: dict[str, Any] = self._link.request("workflows.create", name=name, source=source, description=description)
        return made

    def delete(self, name: str) -> bool:
        """Remove a workflow; True if it was there."""
        return bool(self._link.request("workflows.delete", name=name))

    def invoke(self, workflow_name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Run the workflow of that name."""
        return self._runner.call(workflow_name, args, kwargs)

    def __getattr__(self, name: str) -> Workflow:
        if name.startswith("_"):
            raise AttributeError(name)
        return Workflow(self._link, self._runner, name)

    def __dir__(self) -> Names:
        own = ["create", "delete", "get", "invoke", "list", "search"]
        return own + [item["name"] for item in self.list()]

    def _rows(self) -> Rows:
        rows = []
        for item in self.list():
            names = ", ".join(parameter["name"] for parameter in item["parameters"])
            rows.append((f"workflows.{item['name']}({names})", item.get("broken") or item["description"]))
        return rows

    def __repr__(self) -> str:
        return text_table("workflows", self._rows(), empty="none; workflows.create(name=, source=, description=)")

    def _repr_html_(self) -> str:
        return html_table("workflows", ("workflow", "description"), self._rows())
