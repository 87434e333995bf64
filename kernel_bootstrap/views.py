"""What tools, workflows, artifacts and dependencies look like in a notebook, made of what the host tells of them.

Imported when the first of them is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .html import MOST_ROWS, Html, bad, code, escaped, folded, joined, note, page, python_source, quiet, table, tags
from .plaintext import one_line, short_repr

_LONGEST_CALL = 1000
_MOST_OPEN = 3
"""Recipes whose parameters are shown unasked."""
_MOST_PARAMETERS = 20_000
"""Characters of HTML that the parameters of one callable may take."""
_MOST_CALLABLES = 100
_MOST_LISTED = 50
"""Parameters in one line of a table."""
_NONE = Html("")


def tools(items: Sequence[dict[str, Any]], title: str = "tools") -> str:
    """The table of tools."""
    if not items:
        return page(_title(title, 0), note("none; a tool is a file in tools/*.yaml"))
    rows = (
        [
            code(f"tools.{item['name']}"),
            bad(one_line(item["broken"])) if item.get("broken") else _text(item["description"]),
            tags(item["tags"]),
        ]
        for item in items
    )
    return page(_title(title, len(items)), table(("tool", "description", "tags"), rows, len(items)))


def tool(described: dict[str, Any]) -> str:
    """One tool with its ways to be called."""
    path = f"tools.{described['name']}"
    callables = sorted(described["callables"], key=lambda item: not item["name"])  # recipes first
    open_ones = len(callables) <= _MOST_OPEN
    parts = [
        folded(
            joined((code(call(path, item), _LONGEST_CALL), _dash(item["description"] if item["name"] else "the tool"))),
            _parameters(item["parameters"]),
            is_open=open_ones and bool(item["parameters"]),
        )
        for item in callables[:_MOST_CALLABLES]
    ]
    left = len(callables) - len(parts)
    more = note(f"… and {left} more") if left else _NONE
    heading = joined((code(path), _dash(described["description"]), tags(described["tags"])))
    return page(heading, *parts, more)


def callable_(path: str, item: dict[str, Any]) -> str:
    """One recipe, or the raw call of a tool. ``path`` is that of the tool."""
    return page(code(call(path, item), _LONGEST_CALL), _paragraph(item["description"]), _parameters(item["parameters"]))


def recipes(path: str, items: Sequence[dict[str, Any]]) -> str:
    """The table of the recipes of one tool."""
    if not items:
        return page(_title(path, 0), note("no recipes; call the tool itself"))
    rows = ([code(f"{path}.{item['signature']}", _LONGEST_CALL), _text(item["description"])] for item in items)
    return page(_title(path, len(items)), table(("recipe", "description"), rows, len(items)))


def call(path: str, item: dict[str, Any]) -> str:
    """How a callable of the tool at ``path`` is called."""
    return f"{path}.{item['signature']}" if item["name"] else f"{path}{item['signature']}"


def workflows(items: Sequence[dict[str, Any]], title: str = "workflows") -> str:
    """The table of workflows; of a broken one the reason."""
    if not items:
        return page(_title(title, 0), note("none; workflows.create(name=, source=, description=)"))
    rows = (
        [
            code(f"workflows.{item['signature']}", _LONGEST_CALL),
            bad(one_line(item["broken"])) if item.get("broken") else _text(item["description"]),
        ]
        for item in ({**item, "signature": summary_call(item)} for item in items)
    )
    return page(_title(title, len(items)), table(("workflow", "description"), rows, len(items)))


def summary_call(item: dict[str, Any]) -> str:
    """How a workflow is called, as far as its summary tells."""
    if item.get("broken"):
        return str(item["name"])
    parts = [_summary_parameter(parameter) for parameter in item["parameters"][:_MOST_LISTED]]
    if len(item["parameters"]) > _MOST_LISTED:
        parts.append("…")
    return f"{one_line(item['name'])}({', '.join(parts)})"


def _summary_parameter(parameter: dict[str, Any]) -> str:
    typed = f": {one_line(parameter['type'], 100)}" if parameter["type"] != "Any" else ""
    default = f" = {one_line(parameter['default'], 100)}" if "default" in parameter else ""
    return f"{one_line(parameter['name'], 100)}{typed}{default}"


def workflow(item: dict[str, Any]) -> str:
    """One workflow with its parameters and source."""
    parts = [_paragraph(item["description"]), _about(item)]
    if item.get("broken"):
        parts.append(Html(f"<p>{bad(item['broken'])}</p>"))
    if item["parameters"]:
        parts.append(_parameters([_of_workflow(parameter) for parameter in item["parameters"]]))
    if item["source"]:
        parts.append(folded(quiet("source"), python_source(item["source"]), is_open=True))
    return page(joined((code(f"workflows.{item['signature']}", _LONGEST_CALL), tags(item["tags"]))), *parts)


def _about(item: dict[str, Any]) -> Html:
    """Where a workflow comes from, and what it needs."""
    told = []
    if item["version"] is not None:
        author = f" by {item['author']}" if item["author"] else ""
        told.append(f"version {item['version']}, {item['updated'].replace('T', ' ')[:19]} UTC{author}")
    needs = item["requires"]
    told += [f"{kind}: {', '.join(needs[kind])}" for kind in ("tools", "workflows") if needs[kind]]
    packages = [*needs["dependencies"]] or needs["packages"]
    if packages:
        told.append(f"packages: {', '.join(packages)}")
    return note("; ".join(one_line(text, 500) for text in told)) if told else _NONE


def versions(name: str, items: Sequence[dict[str, Any]]) -> str:
    """The versions of one workflow, the newest first."""
    rows = (
        [
            code(str(item["version"])),
            escaped(item["created"].replace("T", " ")[:19]),
            _text(item["author"]),
            _text(item["change"]),
        ]
        for item in reversed(items)
    )
    heading = _title(f"workflows.{name}", len(items))
    return page(heading, table(("version", "created (UTC)", "author", "change"), rows, len(items)))


def uses(items: Sequence[dict[str, Any]]) -> str:
    """How often workflows were used."""
    if not items:
        return page(_title("workflows", 0), note("none"))
    rows = (
        [
            code(f"workflows.{item['name']}"),
            escaped(f"{item['calls']:,}"),
            bad(f"{item['failures']:,}") if item["failures"] else escaped("0"),
            escaped((item["last_used"] or "never").replace("T", " ")[:19]),
        ]
        for item in items
    )
    return page(
        _title("workflows", len(items)), table(("workflow", "calls", "failures", "last used (UTC)"), rows, len(items))
    )


def _of_workflow(parameter: dict[str, Any]) -> dict[str, Any]:
    # Types and defaults of workflows are source text already.
    return {**parameter, "annotation": parameter["type"], "default_text": parameter.get("default", "")}


def deps(rows: Sequence[tuple[str, str]]) -> str:
    """The configured requirements with the versions that are installed ("" for none)."""
    if not rows:
        return page(_title("deps", 0), note('none; deps.add("package")'))
    cells = ([code(text), escaped(version) if version else bad("not installed")] for text, version in rows)
    missing = any(not version for _, version in rows)
    hint = note("deps.sync() installs what is missing") if missing else _NONE
    return page(_title("deps", len(rows)), table(("requirement", "installed"), cells, len(rows)), hint)


def _parameters(items: Sequence[dict[str, Any]]) -> Html:
    if not items:
        return note("no parameters")
    told = [_told(item) for item in items[:MOST_ROWS]]
    rows = (
        [
            code(item["name"]),
            code(item["annotation"]),
            quiet("required") if item.get("required") else code(item["default_text"]),
            *([_text(text)] if any(told) else []),
        ]
        for item, text in zip(items, told, strict=False)
    )
    headings = ("parameter", "type", "default", *(["description"] if any(told) else []))
    return table(headings, rows, len(items), most=_MOST_PARAMETERS)


def _told(parameter: dict[str, Any]) -> str:
    """What there is to say of a parameter beyond name, type and default."""
    choices = ", ".join(short_repr(choice, 60) for choice in (parameter.get("enum") or ())[:_MOST_LISTED])
    one_of = f"one of {choices}" if choices else ""
    return "; ".join(text for text in (one_line(parameter.get("description") or ""), one_of) if text)


def _title(name: str, count: int) -> Html:
    return joined((code(name), quiet(f"{count:,}") if count else _NONE))


def _text(text: str) -> Html:
    return escaped(one_line(text))


def _paragraph(text: str) -> Html:
    return Html(f"<p>{escaped(text, 2000)}</p>") if text else _NONE


def _dash(text: str) -> Html:
    return Html(f"– {_text(text)}") if text else _NONE
