"""``workflows`` as code in a session sees it."""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Coroutine
from functools import partial
from typing import Any

from . import errors
from .cells import Cells
from .link import Link
from .loops import run_sync
from .plaintext import one_line
from .render import Listing, Names, Record, Text, as_html, as_text, ask, text_table
from .runner import WorkflowRunner

_MOST_PARAMETERS = 50


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
        return self._found(ask(self._link, "workflows.get", name=self._name))

    def _found(self, item: dict[str, Any] | None) -> dict[str, Any]:
        if item is None:
            raise errors.WorkflowNotFoundError(f"no workflow {self._name!r}", workflow=self._name)
        return item

    @property
    def __name__(self) -> str:
        return self._name

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._runner.load(self._name))

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return as_text(f"workflows.{self._name}", lambda: str(self._get()["description"]))

    @property
    def source(self) -> str:
        """The text of its file."""
        return str(self._found(self._link.request("workflows.get", name=self._name))["source"])

    def __repr__(self) -> str:
        return as_text(f"workflows.{self._name}", self._text)

    def _text(self) -> str:
        item = self._get()
        lines = [f"workflows.{one_line(item['signature'], 1000)}", f"    {one_line(item['description'], 1000)}"]
        if item.get("broken"):
            lines.append(f"    broken: {one_line(item['broken'], 1000)}")
        told = [parameter for parameter in item["parameters"] if parameter.get("description")]
        lines += [f"    {p['name']}: {one_line(p['description'])}" for p in told[:_MOST_PARAMETERS]]
        return "\n".join(line for line in lines if line.strip())

    def _repr_html_(self) -> str:
        return as_html(f"workflows.{self._name}", self._html)

    def _html(self) -> str:
        from . import views

        return views.workflow(self._get())


def _view(item: dict[str, Any]) -> str:
    from . import views

    return views.workflow(item)


def _history(name: str, items: list[dict[str, Any]]) -> str:
    from . import views

    return views.versions(name, items)


def _stats(items: list[dict[str, Any]]) -> str:
    from . import views

    return views.uses(items)


def _listing(items: list[dict[str, Any]]) -> str:
    from . import views

    return views.workflows(items)


class Workflows:
    """The workflows of this workspace: ``workflows.<name>(...)``."""

    def __init__(self, link: Link, runner: WorkflowRunner, cells: Cells) -> None:
        self._link = link
        self._runner = runner
        self._cells = cells

    def list(self) -> Listing:
        """Every workflow: ``name``, ``description``, ``parameters``."""
        return Listing(self._link.request("workflows.list"), _listing)

    def search(self, query: str, limit: int = 5) -> Listing:
        """The workflows that fit ``query``, best first."""
        return Listing(self._link.request("workflows.search", query=query, limit=limit), _listing)

    def get(self, name: str, version: int | None = None) -> dict[str, Any] | None:
        """``name``, ``description``, ``parameters``, ``source`` and more of one workflow, or None.

        ``version`` is that of an earlier one: see ``history``.
        """
        found: dict[str, Any] | None = self._link.request("workflows.get", name=name, version=version)
        return None if found is None else Record(found, _view)

    def create(
        self,
        name: str,
        source: str,
        description: str = "",
        *,
        tags: Names | None = None,
        test: bool = False,
    ) -> dict[str, Any]:
        """Save ``source``, which defines ``async def run(...)``, as a workflow for every session.

        One of that name is replaced, and stays in its ``history``. With ``test`` it is saved only if its tests pass,
        else that is a WorkflowTestError: see ``test``.
        """
        if test:
            self._prove(name, source, description, tags)
        made: dict[str, Any] = self._link.request(
            "workflows.create", name=name, source=source, description=description, tags=tags
        )
        return made

    def delete(self, name: str) -> bool:
        """Remove a workflow; True if it was there. ``rollback`` brings it back."""
        return bool(self._link.request("workflows.delete", name=name))

    def history(self, name: str) -> Listing:
        """Every version of a workflow, oldest first: ``version``, ``created``, ``author``, ``change``, ``digest``."""
        return Listing(self._link.request("workflows.history", name=name), partial(_history, name))

    def diff(self, name: str, old: int | None = None, new: int | None = None) -> str:
        """The unified diff between two versions of a workflow; by default of the newest and the one before."""
        return Text(self._link.request("workflows.diff", name=name, old=old, new=new))

    def rollback(self, name: str, version: int) -> dict[str, Any]:
        """Make an earlier version the newest one again."""
        made: dict[str, Any] = self._link.request("workflows.rollback", name=name, version=version)
        return made

    def stats(self, name: str | None = None) -> Listing:
        """How often workflows were called and failed, and when last: ``name``, ``calls``, ``failures``, ``last_used``.

        Of all of them, or of one; counted in every session.
        """
        return Listing(self._link.request("workflows.stats", name=name), _stats)

    def stubs(self) -> str:
        """The types of all workflows, as the text of a ``.pyi`` file."""
        return Text(self._link.request("workflows.stubs"))

    def test(self, name: str, source: str | None = None) -> dict[str, Any]:
        """Run the tests of a workflow: the examples (>>>) in its docstrings, and its functions ``test_...``.

        ``source`` is tested in place of what is saved. Returns ``name``, ``passed``, ``failed`` and ``failures``.
        """
        return run_sync(self._test(name, source), self._link.release)

    async def _test(self, name: str, source: str | None) -> dict[str, Any]:
        if source is None:
            found = self._link.request("workflows.code", name=name, call=False)
        else:
            found = self._link.request("workflows.check", name=name, source=source, description=None)
        return await self._runner.test(name, found)

    def _prove(self, name: str, source: str, description: str, tags: Names | None) -> None:
        """Raise WorkflowTestError unless the tests of what is to be saved pass, one at least."""
        params = {"name": name, "source": source, "description": description, "tags": tags}
        found = self._link.request("workflows.check", **params)
        report = run_sync(self._runner.test(name, found), self._link.release)
        if report["failed"] or not report["passed"]:
            from .workflow_tests import failed

            raise failed(report)

    def promote(
        self, name: str, description: str, cells: builtins.list[int] | None = None, *, tags: Names | None = None
    ) -> dict[str, Any]:
        """Make a workflow of cells that were just run, and save it.

        ``cells`` are their numbers, as in ``In [7]``, in order; None: the one before this. Names that they use and do
        not set become parameters, imports and functions of earlier cells come along, and the value of the last
        expression is returned. It is called once on the values that the parameters have now, and saved if that works.
        Returns what ``get`` does, with ``notes``.
        """
        from .promotion import promoted

        return Record(promoted(self._link, self._runner.names, self._cells, name, description, cells, tags), _view)

    def invoke(self, workflow_name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Run the workflow of that name."""
        return self._runner.call(workflow_name, args, kwargs)

    def __getattr__(self, name: str) -> Workflow:
        if name.startswith("_"):
            raise AttributeError(name)
        return Workflow(self._link, self._runner, name)

    def __dir__(self) -> Names:
        own = sorted(name for name in vars(type(self)) if not name.startswith("_"))
        return own + [item["name"] for item in self.list()]

    def __repr__(self) -> str:
        return as_text("workflows", self._text)

    def _text(self) -> str:
        from .views import summary_call

        rows = [
            (
                f"workflows.{summary_call(item)}",
                f"broken: {item['broken']}" if item.get("broken") else item["description"],
            )
            for item in ask(self._link, "workflows.list")
        ]
        return text_table("workflows", rows, empty="none; workflows.create(name=, source=, description=)")

    def _repr_html_(self) -> str:
        return as_html("workflows", lambda: _listing(ask(self._link, "workflows.list")))
