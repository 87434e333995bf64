"""What the magics list, as tables for a person: text in a terminal, HTML in a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kernel_bootstrap import html
from kernel_bootstrap.render import Row, html_table, text_table
from kernel_bootstrap.views import summary_call


class Table:
    """Rows under a title; ``empty`` stands for none, and without it they are not counted.

    What it shows is escaped and bounded.
    """

    def __init__(self, title: str, headings: Row, rows: Sequence[Row], *, empty: str = "") -> None:
        self._title = title
        self._headings = headings
        self._rows = rows
        self._empty = empty

    def __repr__(self) -> str:
        return text_table(self._title, self._rows, empty=self._empty)

    def _repr_html_(self) -> str | None:
        if not self._rows:
            return None
        if self._empty:
            return html_table(self._title, self._headings, self._rows)
        cells = [[html.code(first), html.escaped(second)] for first, second in self._rows]
        return html.page(html.code(self._title), html.table(self._headings, cells))


def tools(found: Sequence[Mapping[str, Any]], empty: str) -> Table:
    """What ``Session.list_tools`` and ``search_tools`` give."""
    rows = []
    for item in found:
        tags = f" [{', '.join(item['tags'])}]" if item.get("tags") else ""
        rows.append((f"tools.{item['name']}", f"{item['description']}{tags}"))
    return Table("tools", ("tool", "description"), rows, empty=empty)


def workflows(found: Sequence[Mapping[str, Any]], empty: str) -> Table:
    """What ``Session.list_workflows`` and ``search_workflows`` give."""
    rows = []
    for item in found:
        broken = item.get("broken")
        rows.append((f"workflows.{summary_call(dict(item))}", f"broken: {broken}" if broken else item["description"]))
    return Table("workflows", ("workflow", "description"), rows, empty=empty)


def artifacts(found: Sequence[Mapping[str, Any]], empty: str) -> Table:
    """What ``Session.list_artifacts`` gives."""
    rows = []
    for item in found:
        saved = str(item["created_at"]).replace("T", " ")[:16]
        rows.append((repr(item["name"]), f"{item['description']} ({saved})".strip()))
    return Table("artifacts", ("name", "description (saved at)"), rows, empty=empty)


def deps(found: Sequence[str], empty: str) -> Table:
    """What ``Session.list_deps`` gives."""
    return Table("deps", ("requirement", ""), [(item, "") for item in found], empty=empty)
