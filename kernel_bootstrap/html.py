"""HTML for people who look at a notebook: escaped, of bounded size, and right on a light page and a dark one.

``Html`` is text that is HTML already; whatever else goes into a page passes ``escaped`` first. A page needs no script,
and stays readable where a front end drops its style.
"""

from __future__ import annotations

import base64
import importlib
from collections.abc import Collection, Iterable, Sequence
from html import escape
from itertools import islice
from typing import Any, Final, NewType

from .plaintext import LONGEST, clean, cut, short_repr

Html = NewType("Html", str)

MOST_HTML: Final = 90_000
"""Characters that the rows of a table, a tree or a listing may take, each."""
MOST_ROWS: Final = 100

_DEEPEST = 12
_MOST_NODES = 400
_MOST_ITEMS = 100
_MOST_SOURCE = 20_000
_MOST_LINES = 400

# Greys with transparency suit any page. JupyterLab's own colours follow its theme; the others can be read on both.
_STYLE: Final = """<style>
div.code-mode{overflow-x:auto;line-height:1.45;font-size:var(--jp-ui-font-size1,13px)}
div.code-mode .title{font-size:1.1em;font-weight:600;margin-bottom:.3em}
div.code-mode.code-mode .title code{font-size:1em}
div.code-mode .quiet,div.code-mode caption{opacity:.65;font-weight:400;font-size:.95em}
div.code-mode .tag{border:1px solid rgba(128,128,128,.5);border-radius:.8em;padding:0 .5em;margin-right:.3em;\
font-size:.85em;font-weight:400;white-space:nowrap}
div.code-mode .bad{color:var(--jp-error-color1,#d6433b)}
div.code-mode table{border-collapse:collapse;border:0;margin:.3em 0 .6em;font-size:inherit;table-layout:auto}
div.code-mode caption{caption-side:bottom;text-align:left;padding:.25em .7em}
div.code-mode.code-mode th,div.code-mode.code-mode td{text-align:left;vertical-align:top;padding:.25em .7em;border:0;\
max-width:44em;white-space:normal;overflow-wrap:break-word}
div.code-mode thead th{border-bottom:1px solid rgba(128,128,128,.5);font-weight:600;white-space:nowrap}
div.code-mode p{margin:.2em 0 .5em}
div.code-mode tbody tr{background:none}
div.code-mode tbody tr:nth-child(even){background:rgba(128,128,128,.09)}
div.code-mode.code-mode .number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
div.code-mode.code-mode code,div.code-mode.code-mode pre{\
font-family:var(--jp-code-font-family,ui-monospace,Menlo,Consolas,monospace);\
background:none;padding:0;color:inherit;font-size:.95em}
div.code-mode.code-mode pre{white-space:pre;overflow-x:auto;margin:.4em 0;padding:.5em .7em;\
background:rgba(128,128,128,.09);line-height:1.4}
div.code-mode summary{cursor:pointer;display:list-item;padding:.1em 0}
div.code-mode details>table,div.code-mode details>p{margin-left:1.1em}
div.code-mode ul.tree{list-style:none;margin:0;padding:0 0 0 1.2em}
div.code-mode li{margin:0}
div.code-mode img{max-width:100%;max-height:30em;background:#fff}
div.code-mode .k{color:var(--jp-mirror-editor-keyword-color,#8250df);font-weight:600}
div.code-mode .c{color:var(--jp-mirror-editor-comment-color,#7a8288);font-style:italic}
div.code-mode .s{color:var(--jp-mirror-editor-string-color,#c2541c)}
div.code-mode .m{color:var(--jp-mirror-editor-number-color,#1a8a6a)}
div.code-mode .f{color:var(--jp-mirror-editor-def-color,#2f74df)}
div.code-mode .d{color:var(--jp-mirror-editor-meta-color,#a8559c)}
div.code-mode .b{color:var(--jp-mirror-editor-builtin-color,#1a7f94)}
</style>"""


def escaped(text: str, most: int = LONGEST) -> Html:
    """At most ``most`` characters of ``text``."""
    return Html(escape(cut(text, most)))


def code(text: str, most: int = LONGEST) -> Html:
    """The same in a fixed-width font."""
    return Html(f"<code>{escaped(text, most)}</code>")


def quiet(text: str) -> Html:
    """Text in the background."""
    return Html(f"<span class='quiet'>{escaped(text, 1000)}</span>")


def note(text: str) -> Html:
    """A remark of its own."""
    return Html(f"<p class='quiet'>{escaped(text, 1000)}</p>")


def bad(text: str) -> Html:
    """What is wrong."""
    return Html(f"<span class='bad'>{escaped(text, 1000)}</span>")


def tags(words: Iterable[str]) -> Html:
    """Words as labels."""
    return Html("".join(f"<span class='tag'>{escaped(word, 60)}</span>" for word in islice(words, 20)))


def pre(text: Html) -> Html:
    """Text as it is laid out."""
    # A line break that follows the tag directly would be dropped.
    return Html(f"<pre>\n{text}</pre>" if text.startswith("\n") else f"<pre>{text}</pre>")


def joined(parts: Iterable[Html], sep: str = " ") -> Html:
    """The parts that are not empty, side by side."""
    return Html(sep.join(part for part in parts if part))


def page(title: Html, *parts: Html) -> str:
    """The whole of what one object shows."""
    heading = f"<div class='title'>{title}</div>" if title else ""
    return f"<div class='code-mode'>{_STYLE}{heading}{''.join(parts)}</div>"


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[Html]],
    total: int | None = None,
    *,
    numbers: Collection[int] = (),
    most: int = MOST_HTML,
) -> Html:
    """``rows`` until there are 100, or ``most`` characters; ``total`` are there, and those not shown are counted.

    ``numbers`` are the columns that align right.
    """
    kinds = [" class='number'" if position in numbers else "" for position in range(len(headings))]
    head = "".join(f"<th{kind}>{escaped(text, 100)}</th>" for kind, text in zip(kinds, headings, strict=True))
    body: list[str] = []
    size = 0
    for row in rows:
        made = "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True))
        if len(body) == MOST_ROWS or (body and size + len(made) > most):
            break
        body.append(f"<tr>{made}</tr>")
        size += len(made)
    left = 0 if total is None else total - len(body)
    more = f"<caption>… and {left:,} more</caption>" if left > 0 else ""
    return Html(f"<table>{more}<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>")


def folded(summary: Html, content: Html, *, is_open: bool = False) -> Html:
    """``content`` that opens with a click on ``summary``."""
    return Html(f"<details{' open' if is_open else ''}><summary>{summary}</summary>{content}</details>")


def image(kind: str, data: bytes | str) -> Html:
    """An image, ``data`` as bytes or in base64. Scripts in an SVG don't run there."""
    text = base64.b64encode(data).decode("ascii") if isinstance(data, bytes) else "".join(data.split())
    return Html(f"<img alt='' src='data:{escape(kind)};base64,{escape(text)}'>")


def python_source(source: str) -> Html:
    """The beginning of a Python source, with its syntax in colours where pygments is there."""
    lines = source[:_MOST_SOURCE].split("\n")
    text = "\n".join(lines[:_MOST_LINES])
    shown = Html(escape(clean(text)))
    try:
        coloured = _coloured(text)
    except Exception:  # noqa: BLE001 - colours are worth no error, whatever pygments makes of a source
        coloured = shown
    if len(coloured) <= MOST_HTML:
        shown = coloured
    rest = source[len(text) :].strip()
    more = note(f"… and {rest.count(chr(10)) + 1:,} more lines") if rest else Html("")
    return Html(pre(shown) + more)


def _coloured(source: str) -> Html:
    # 30 ms: only when a source is looked at.
    lexer = importlib.import_module("pygments.lexers.python").PythonLexer(stripnl=False, ensurenl=False)
    Token = importlib.import_module("pygments.token").Token  # noqa: N806 - its own name
    kinds = (
        (Token.Keyword, "k"),
        (Token.Operator.Word, "k"),
        (Token.Comment, "c"),
        (Token.Literal.String, "s"),
        (Token.Literal.Number, "m"),
        (Token.Name.Function, "f"),
        (Token.Name.Class, "f"),
        (Token.Name.Decorator, "d"),
        (Token.Name.Builtin, "b"),
    )
    made = []
    for kind, text in lexer.get_tokens(source):
        name = next((name for parent, name in kinds if kind in parent), "")
        shown = escape(clean(text))
        made.append(f"<span class='{name}'>{shown}</span>" if name else shown)
    return Html("".join(made))


def tree(value: Any, name: str = "") -> Html:
    """A JSON-like value that opens level by level; bounded in depth, items and characters."""
    parts: list[str] = []
    _Tree(parts).add(f"{escaped(name)}: " if name else "", value, 0)
    return Html(f"<ul class='tree'>{''.join(parts)}</ul>")


class _Tree:
    """Writes a value into ``parts``, until its room is used up."""

    def __init__(self, parts: list[str]) -> None:
        self._parts = parts
        self._nodes = _MOST_NODES
        self._room = MOST_HTML

    def add(self, name: str, value: Any, depth: int) -> None:
        items = _items(value)
        if not items:
            self._put(f"<li>{name}{coloured_literal(value)}</li>")
            return
        kind = type(value).__name__
        count = f"{len(items):,} {'items' if len(items) != 1 else 'item'}"
        label = f"{name}<span class='quiet'>{escaped(kind)}, {count}</span>"
        if depth == _DEEPEST:
            self._put(f"<li>{label} …</li>")
            return
        self._put(f"<li><details{' open' if depth < 1 else ''}><summary>{label}</summary><ul class='tree'>")
        shown = 0
        for key, item in _pairs(value):
            if shown == _MOST_ITEMS or self._nodes <= 0 or self._room <= 0:
                break
            self.add(f"<span class='f'>{literal(key)}</span>: ", item, depth + 1)
            shown += 1
        if shown < len(items):
            self._put(f"<li class='quiet'>… and {len(items) - shown:,} more</li>")
        self._parts.append("</ul></details></li>")

    def _put(self, text: str) -> None:
        self._parts.append(text)
        self._nodes -= 1
        self._room -= len(text)


def _items(value: Any) -> Any:
    return value if isinstance(value, dict | list | tuple | set | frozenset) else ()


def _pairs(value: Any) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, dict) else enumerate(value)


def literal(value: Any) -> Html:
    """A value as Python writes it, the beginning of a long one."""
    return escaped(short_repr(value), 2 * LONGEST)


def coloured_literal(value: Any) -> Html:
    """The same in the colour of its type."""
    kind = "s" if isinstance(value, str) else "k" if value is None or isinstance(value, bool) else "m"
    return Html(f"<code class='{kind}'>{literal(value)}</code>")
