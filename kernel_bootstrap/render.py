"""How the namespaces show themselves: as text for a model, as HTML for a person.

A view never fails and never waits for long: what goes wrong is told in its place. Standard library only; shared with
the host. What makes the HTML is imported when something is looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from .loops import run_sync
from .plaintext import one_line

if TYPE_CHECKING:
    from .link import Link

Row: TypeAlias = tuple[str, str]
Rows: TypeAlias = list[Row]
Names: TypeAlias = list[str]
View: TypeAlias = Callable[[Any], str]
"""Makes the HTML of a value."""

_PATIENCE = 10.0
"""How long a view waits for the host, seconds: a person looks at something else by then."""

_MOST_ROWS = 100
_WIDEST = 60
_LONGEST = 200
_LONGEST_CALL = 1000


class Listing(list[dict[str, Any]]):
    """What ``list`` and ``search`` of the namespaces give: a list that a notebook shows as a table."""

    def __init__(self, items: Iterable[dict[str, Any]], view: View) -> None:
        super().__init__(items)
        self._view = view

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)  # a copy is data and no more

    def _repr_html_(self) -> str:
        return as_html("listing", lambda: self._view(self))


class Record(dict[str, Any]):
    """What ``get`` of the namespaces gives: a dict that a notebook shows as what it describes."""

    def __init__(self, items: dict[str, Any], view: View) -> None:
        super().__init__(items)
        self._view = view

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)

    def _repr_html_(self) -> str:
        return as_html("record", lambda: self._view(self))


class Text(str):
    """Text of several lines, which shows itself as it is, not as a literal."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)


def ask(link: Link, method: str, **params: Any) -> Any:
    """The answer of the host, for a view. Raises what the host raises, and TimeoutError when it takes too long."""

    async def answer() -> Any:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await link.request_async(method, **params)
        except TimeoutError as error:
            raise TimeoutError(str(error) or f"the host does not answer within {_PATIENCE:g} s") from None

    return run_sync(answer(), link.release)


def as_text(path: str, make: Callable[[], str]) -> str:
    """What ``make`` gives, or why it gives nothing."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001 - a repr that raises spoils whatever wanted to show it
        return f"<{path}: {_reason(error)}>"


def as_html(path: str, make: Callable[[], str]) -> str:
    """The same for HTML."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001
        from . import html

        return html.page(html.Html(""), html.Html(f"{html.code(path)}: {html.bad(_reason(error))}"))


def _reason(error: Exception) -> str:
    return one_line(str(error), 1000) or type(error).__name__


def text_table(title: str, rows: Sequence[Row], *, empty: str = "") -> str:
    """``title`` and a line a row; at most 100 rows are shown, the rest counted."""
    if not rows:
        return f"{title}: {empty}" if empty else title
    shown = [(one_line(first, _LONGEST_CALL), one_line(second, _LONGEST)) for first, second in rows[:_MOST_ROWS]]
    width = max((len(first) for first, _ in shown if len(first) <= _WIDEST), default=0)
    lines = [f"{title} ({len(rows):,})" if empty else title]
    lines += [f"  {first.ljust(width)}  {second}".rstrip() for first, second in shown]
    if len(rows) > _MOST_ROWS:
        lines.append(f"  … and {len(rows) - _MOST_ROWS:,} more")
    return "\n".join(lines)


def html_table(title: str, headings: Row, rows: Sequence[Row]) -> str:
    """The same as HTML, under ``headings``."""
    from .html import Html, code, escaped, page, quiet, table

    cells = ([code(first, _LONGEST_CALL), escaped(one_line(second))] for first, second in rows)
    heading = f"{code(title)} {quiet(f'{len(rows):,}')}"
    return page(Html(heading), table(headings, cells, len(rows)))
