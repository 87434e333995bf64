"""Small tables, as text for a model and as HTML for a person."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, TypeAlias

Row: TypeAlias = tuple[str, str]
Rows: TypeAlias = list[Row]
Names: TypeAlias = list[str]
Listing: TypeAlias = list[dict[str, Any]]
"""What the namespaces' own ``list`` methods give; below those, ``list`` is no longer the type's name."""

_MOST_ROWS = 100
_WIDEST = 60


def text_table(title: str, rows: Sequence[Row], *, empty: str = "") -> str:
    """``title`` and a line a row; at most 100 rows are shown, the rest counted."""
    if not rows:
        return f"{title}: {empty}" if empty else title
    width = min(max(len(first) for first, _ in rows), _WIDEST)
    lines = [f"{title} ({len(rows)})" if empty else title]
    lines += [f"  {first.ljust(width)}  {_one_line(second)}".rstrip() for first, second in rows[:_MOST_ROWS]]
    if len(rows) > _MOST_ROWS:
        lines.append(f"  … and {len(rows) - _MOST_ROWS} more")
    return "\n".join(lines)


def html_table(title: str, headings: Row, rows: Sequence[Row]) -> str:
    """The same as an escaped HTML table."""
    head = "".join(f"<th style='text-align:left'>{escape(heading)}</th>" for heading in headings)
    body = "".join(
        f"<tr><td style='text-align:left'><code>{escape(first)}</code></td>"
        f"<td style='text-align:left'>{escape(_one_line(second))}</td></tr>"
        for first, second in rows[:_MOST_ROWS]
    )
    more = f"<caption>… and {len(rows) - _MOST_ROWS} more</caption>" if len(rows) > _MOST_ROWS else ""
    return f"<div><b>{escape(title)}</b><table>{more}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 200 else text[:199] + "…"
