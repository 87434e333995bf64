"""``tools``, ``workflows``, ``artifacts`` and ``deps`` as code in a session sees them.

Each method is one request to the host, where the work is done. Everything is synchronous by default;
``call_async`` gives an awaitable for ``asyncio.gather``.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Coroutine, Iterable
from typing import Any

from . import errors, formats
from .link import Link
from .loops import AWAIT_NAME, awaitable
from .render import Row, html_table, text_table
from .runner import WorkflowRunner

_KINDS = {
    "positional": inspect.Parameter.POSITIONAL_OR_KEYWORD,
    "keyword": inspect.Parameter.KEYWORD_ONLY,
}


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


def _signature(parameters: Iterable[dict[str, Any]]) -> inspect.Signature:
    made = []
    for item in parameters:
        kind = _KINDS["positional" if item.get("positional") else "keyword"]
        default = inspect.Parameter.empty if item.get("required") else item.get("default")
        made.append(inspect.Parameter(item["name"], kind, default=default, annotation=_Text(item.get("type") or "any")))
    # A required positional may not follow an optional one in a Signature; the order of kinds is ours to keep.
    made.sort(key=lambda p: (p.kind, p.default is not inspect.Parameter.empty))
    return inspect.Signature(made)


class _Text(str):
    """An annotation that shows without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class _Call:
    """A tool or one of its recipes: callable, with signature and help text from its definition."""

    def __init__(self, link: Link, tool: str, recipe: str) -> None:
        self._link = link
        self._tool = tool
        self._recipe = recipe

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it and return what it gives."""
        return self._link.request("tools.call", **self._params(args, kwargs))

    def call_async(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """The same as an awaitable, for ``asyncio.gather``."""
        return self._link.request_async("tools.call", **self._params(args, kwargs))

    def _params(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return {"tool": self._tool, "recipe": self._recipe or None, "args": list(args), "kwargs": kwargs}

    def _describe(self) -> dict[str, Any]:
        found: dict[str, Any] = self._link.request("tools.describe", name=self._tool)
        return found

    def _callable(self) -> dict[str, Any]:
        described = self._describe()
        for item in described["callables"]:
            if item["name"] == self._recipe:
                return dict(item)
        raise errors.ToolNotFoundError(f"tool {self._tool!r} has no recipe {self._recipe!r}", tool=self._tool)

    @property
    def __name__(self) -> str:
        return self._recipe or self._tool

    @property
    def __signature__(self) -> inspect.Signature:
        return _signature(self._callable()["parameters"])

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        try:
            item = self._callable()
        except errors.CodeModeError as error:
            return str(error)
        lines = [item["description"] or "", ""]
        for parameter in item["parameters"]:
            lines.append(f"    {_parameter_line(parameter)}")
        return "\n".join(lines).strip() + "\n"

    def __repr__(self) -> str:
        path = ".".join(part for part in ("tools", self._tool, self._recipe) if part)
        try:
            item = self._callable()
        except errors.CodeModeError as error:
            return f"<{path}: {error}>"
        return f"{path}{_signature(item['parameters'])}\n    {item['description'] or ''}".rstrip()


def _parameter_line(parameter: dict[str, Any]) -> str:
    text = f"{parameter['name']}: {parameter.get('type') or 'any'}"
    if parameter.get("required"):
        text += " (required)"
    elif parameter.get("default") is not None:
        text += f" = {parameter['default']!r}"
    if parameter.get("enum"):
        text += f", one of {', '.join(map(repr, parameter['enum']))}"
    if parameter.get("description"):
        text += f" - {parameter['description']}"
    return text


class Tool(_Call):
    """One tool: call it raw, or call one of its recipes."""

    def __init__(self, link: Link, tool: str) -> None:
        super().__init__(link, tool, "")

    def list(self) -> list[dict[str, Any]]:
        """Its recipes: ``name``, ``description``, ``signature``."""
        return [
            {
                "name": item["name"],
                "description": item["description"],
                "signature": f"{item['name']}{_signature(item['parameters'])}",
            }
            for item in self._describe()["callables"]
            if item["name"]
        ]

    def __getattr__(self, name: str) -> _Call:
        if name.startswith("_"):
            raise AttributeError(name)
        return _Call(self._link, self._tool, name)

    def __dir__(self) -> list[str]:
        return ["call_async", "list", *(item["name"] for item in self.list())]

    def _rows(self) -> list[Row]:
        rows = []
        for item in self._describe()["callables"]:
            path = ".".join(part for part in ("tools", self._tool, item["name"]) if part)
            rows.append((f"{path}{_signature(item['parameters'])}", item["description"] or ""))
        return rows

    def __repr__(self) -> str:
        try:
            described = self._describe()
            return text_table(f"tools.{self._tool}: {described['description']}", self._rows())
        except errors.CodeModeError as error:
            return f"<tools.{self._tool}: {error}>"

    def _repr_html_(self) -> str:
        return html_table(f"tools.{self._tool}: {self._describe()['description']}", ("call", "description"), self._rows())


class Tools:
    """The tools of this workspace: ``tools.<name>.<recipe>(...)`` or ``tools.<name>(...)``."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def list(self) -> list[dict[str, Any]]:
        """Every tool: ``name``, ``description``, ``tags``."""
        found: list[dict[str, Any]] = self._link.request("tools.list")
        return found

    def search(self, query: str, limit: int = 10) -> list[dict[str, Any]]:
        """The tools that fit ``query``, best first."""
        found: list[dict[str, Any]] = self._link.request("tools.search", query=query, limit=limit)
        return found

    def __getattr__(self, name: str) -> Tool:
        if name.startswith("_"):
            raise AttributeError(name)
        return Tool(self._link, name)

    def __dir__(self) -> list[str]:
        return ["list", "search", *(item["name"] for item in self.list())]

    def _rows(self) -> list[Row]:
        return [(f"tools.{item['name']}", item["description"]) for item in self.list()]

    def __repr__(self) -> str:
        return text_table("tools", self._rows(), empty="none; a tool is a file in tools/*.yaml")

    def _repr_html_(self) -> str:
        return html_table("tools", ("tool", "description"), self._rows())


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

    def list(self) -> list[dict[str, Any]]:
        """Every workflow: ``name``, ``description``, ``parameters``."""
        found: list[dict[str, Any]] = self._link.request("workflows.list")
        return found

    def search(self, query: str, limit: int = 5) -> list[dict[str, Any]]:
        """The workflows that fit ``query``, best first."""
        found: list[dict[str, Any]] = self._link.request("workflows.search", query=query, limit=limit)
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

    def __dir__(self) -> list[str]:
        own = ["create", "delete", "get", "invoke", "list", "search"]
        return own + [item["name"] for item in self.list()]

    def _rows(self) -> list[Row]:
        rows = []
        for item in self.list():
            names = ", ".join(parameter["name"] for parameter in item["parameters"])
            rows.append((f"workflows.{item['name']}({names})", item.get("broken") or item["description"]))
        return rows

    def __repr__(self) -> str:
        return text_table("workflows", self._rows(), empty="none; workflows.create(name=, source=, description=)")

    def _repr_html_(self) -> str:
        return html_table("workflows", ("workflow", "description"), self._rows())


class Artifacts:
    """The data of this workspace: kept when the session ends, shared by its sessions."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def save(self, name: str, data: Any, description: str = "", metadata: dict[str, Any] | None = None) -> dict[str, Any]:
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

    def list(self) -> list[dict[str, Any]]:
        """Every artifact: ``name``, ``path``, ``description``, ``metadata``, ``created_at``."""
        found: list[dict[str, Any]] = self._link.request("artifacts.list")
        return found

    def delete(self, name: str) -> None:
        """Remove an artifact; ArtifactNotFoundError where there is none."""
        self._link.request("artifacts.delete", name=name)

    def _rows(self) -> list[Row]:
        return [(repr(item["name"]), item["description"] or item.get("format", "")) for item in self.list()]

    def __repr__(self) -> str:
        return text_table("artifacts", self._rows(), empty="none; artifacts.save(name, data)")

    def _repr_html_(self) -> str:
        return html_table("artifacts", ("name", "description"), self._rows())


class Deps:
    """The packages of this workspace."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def list(self) -> list[str]:
        """The configured requirements, as they were written."""
        found: list[str] = self._link.request("deps.list")
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

    def _rows(self) -> list[Row]:
        return [(item, "") for item in self.list()]

    def __repr__(self) -> str:
        return text_table("deps", self._rows(), empty='none; deps.add("package")')

    def _repr_html_(self) -> str:
        return html_table("deps", ("requirement", ""), self._rows())


