"""``tools`` as code in a session sees it."""

from __future__ import annotations

import inspect
from collections.abc import Coroutine, Iterable
from typing import Any

from . import errors
from .link import Link
from .render import Listing, Names, Rows, html_table, text_table

_KINDS = {
    "positional": inspect.Parameter.POSITIONAL_OR_KEYWORD,
    "keyword": inspect.Parameter.KEYWORD_ONLY,
}


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
        lines += [f"    {_parameter_line(parameter)}" for parameter in item["parameters"]]
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
    # One tool: called raw, or by one of its recipes. A docstring here would hide the one that tells of the tool.
    __doc__ = _Call.__dict__["__doc__"]

    def __init__(self, link: Link, tool: str) -> None:
        super().__init__(link, tool, "")

    def list(self) -> Listing:
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

    def __dir__(self) -> Names:
        return ["call_async", "list", *(item["name"] for item in self.list())]

    def _rows(self) -> Rows:
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
        return html_table(
            f"tools.{self._tool}: {self._describe()['description']}", ("call", "description"), self._rows()
        )


class Tools:
    """The tools of this workspace: ``tools.<name>.<recipe>(...)`` or ``tools.<name>(...)``."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def list(self) -> Listing:
        """Every tool: ``name``, ``description``, ``tags``."""
        found: Listing = self._link.request("tools.list")
        return found

    def search(self, query: str, limit: int = 10) -> Listing:
        """The tools that fit ``query``, best first."""
        found: Listing = self._link.request("tools.search", query=query, limit=limit)
        return found

    def __getattr__(self, name: str) -> Tool:
        if name.startswith("_"):
            raise AttributeError(name)
        return Tool(self._link, name)

    def __dir__(self) -> Names:
        return ["list", "search", *(item["name"] for item in self.list())]

    def _rows(self) -> Rows:
        return [(f"tools.{item['name']}", item["description"]) for item in self.list()]

    def __repr__(self) -> str:
        return text_table("tools", self._rows(), empty="none; a tool is a file in tools/*.yaml")

    def _repr_html_(self) -> str:
        return html_table("tools", ("tool", "description"), self._rows())
