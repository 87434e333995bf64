"""``tools`` as code in a session sees it."""

from __future__ import annotations

import inspect
from collections.abc import Coroutine, Iterable
from typing import Any

from . import errors
from .link import Link
from .plaintext import one_line, short_repr
from .render import Listing, Names, as_html, as_text, ask, text_table

_TYPES: dict[str, Any] = {
    "boolean": bool,
    "string": str,
    "integer": int,
    "number": float,
    "array": list,
    "object": dict,
}
"""Types of tool definitions as Python has them; the others are Any."""

_LONGEST_CALL = 1000
_MOST_PARAMETERS = 50


def _signature(parameters: Iterable[dict[str, Any]]) -> inspect.Signature:
    made: list[inspect.Parameter] = []
    keywords = optional = False
    for item in parameters:
        required = bool(item.get("required"))
        if not item.get("positional") or (optional and required):
            keywords = True  # as ``CallableInfo.signature`` on the host has it
        optional = optional or not required
        kind = inspect.Parameter.KEYWORD_ONLY if keywords else inspect.Parameter.POSITIONAL_OR_KEYWORD
        default = inspect.Parameter.empty if required else _default(item)
        made.append(inspect.Parameter(item["name"], kind, default=default, annotation=_type(item)))
    return inspect.Signature(made)


def _type(parameter: dict[str, Any]) -> Any:
    return _TYPES.get(parameter.get("type") or "", Any)


def _default(parameter: dict[str, Any]) -> Any:
    default = parameter.get("default")
    return False if default is None and _type(parameter) is bool else default


def _written(parameter: dict[str, Any]) -> dict[str, Any]:
    """``parameter`` with ``annotation`` and ``default_text`` as Python would write them."""
    default = _default(parameter)
    return {
        **parameter,
        "annotation": "Any" if _type(parameter) is Any else _type(parameter).__name__,
        "default_text": "" if default is None else short_repr(default),
    }


def _readable(described: dict[str, Any]) -> dict[str, Any]:
    """A tool as ``views`` shows it."""
    callables = [
        {**item, "parameters": [_written(parameter) for parameter in item["parameters"]]}
        for item in described["callables"]
    ]
    return {**described, "callables": callables}


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

    @property
    def _path(self) -> str:
        return ".".join(part for part in ("tools", self._tool, self._recipe) if part)

    def _describe(self) -> dict[str, Any]:
        return _readable(ask(self._link, "tools.describe", name=self._tool))

    def _callable(self) -> dict[str, Any]:
        for item in self._describe()["callables"]:
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
        return as_text(self._path, self._help)

    def _help(self) -> str:
        item = self._callable()
        lines = [item["description"] or "", ""]
        lines += [f"    {_parameter_line(parameter)}" for parameter in item["parameters"]]
        return "\n".join(lines).strip() + "\n"

    def __repr__(self) -> str:
        return as_text(self._path, self._text)

    def _text(self) -> str:
        item = self._callable()
        lines = [_call_text(self._tool, item), f"    {one_line(item['description'])}"]
        told = [parameter for parameter in item["parameters"] if parameter.get("description") or parameter.get("enum")]
        lines += [f"    {one_line(_parameter_line(parameter))}" for parameter in told[:_MOST_PARAMETERS]]
        return "\n".join(line for line in lines if line.strip())

    def _repr_html_(self) -> str:
        return as_html(self._path, self._html)

    def _html(self) -> str:
        from . import views

        return views.callable_(f"tools.{self._tool}", self._callable())


def _call_text(tool: str, item: dict[str, Any]) -> str:
    dot = "." if item["name"] else ""
    return one_line(f"tools.{tool}{dot}{item['signature']}", _LONGEST_CALL)


def _parameter_line(parameter: dict[str, Any]) -> str:
    text = f"{parameter['name']}: {parameter['annotation']}"
    if parameter.get("required"):
        text += " (required)"
    elif parameter["default_text"]:
        text += f" = {parameter['default_text']}"
    if parameter.get("enum"):
        text += f", one of {', '.join(map(short_repr, parameter['enum']))}"
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
        found = self._link.request("tools.describe", name=self._tool)["callables"]
        names = ("name", "description", "signature")
        return Listing([{name: item[name] for name in names} for item in found if item["name"]], self._listing)

    def _listing(self, items: Listing) -> str:
        from . import views

        return views.recipes(self._path, items)

    def __getattr__(self, name: str) -> _Call:
        if name.startswith("_"):
            raise AttributeError(name)
        return _Call(self._link, self._tool, name)

    def __dir__(self) -> Names:
        return ["call_async", "list", *(item["name"] for item in self.list())]

    def _text(self) -> str:
        described = self._describe()
        rows = [
            (_call_text(self._tool, item), item["description"] if item["name"] else "the tool itself, any option")
            for item in described["callables"]
        ]
        return text_table(f"{self._path}: {one_line(described['description'])}", rows)

    def _html(self) -> str:
        from . import views

        return views.tool(self._describe())


class Tools:
    """The tools of this workspace: ``tools.<name>.<recipe>(...)`` or ``tools.<name>(...)``."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def list(self) -> Listing:
        """Every tool: ``name``, ``description``, ``tags``."""
        return Listing(self._link.request("tools.list"), _listing)

    def search(self, query: str, limit: int = 10) -> Listing:
        """The tools that fit ``query``, best first."""
        return Listing(self._link.request("tools.search", query=query, limit=limit), _listing)

    def __getattr__(self, name: str) -> Tool:
        if name.startswith("_"):
            raise AttributeError(name)
        return Tool(self._link, name)

    def __dir__(self) -> Names:
        return ["list", "search", *(item["name"] for item in self.list())]

    def __repr__(self) -> str:
        return as_text("tools", self._text)

    def _text(self) -> str:
        rows = [(f"tools.{item['name']}", _with_tags(item)) for item in ask(self._link, "tools.list")]
        return text_table("tools", rows, empty="none; a tool is a file in tools/*.yaml")

    def _repr_html_(self) -> str:
        return as_html("tools", lambda: _listing(ask(self._link, "tools.list")))


def _with_tags(item: dict[str, Any]) -> str:
    if item.get("broken"):
        return f"broken: {one_line(item['broken'], 200)}"
    tags = f"  [{one_line(', '.join(item['tags']), 60)}]" if item["tags"] else ""
    return f"{one_line(item['description'], 130)}{tags}"


def _listing(items: list[dict[str, Any]]) -> str:
    from . import views

    return views.tools(items)
