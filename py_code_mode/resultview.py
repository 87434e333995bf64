"""What a result looks like: text for a model or a terminal, HTML for a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kernel_bootstrap import html
from kernel_bootstrap.headtail import HeadTail
from kernel_bootstrap.html import Html
from kernel_bootstrap.plaintext import clean, console, short_repr
from kernel_bootstrap.render import as_html, as_text

if TYPE_CHECKING:
    from .results import ExecutionResult

_MOST_TEXT = 40_000
"""Bytes of stdout, of stderr and of a traceback that are shown: the head and the tail."""
_MOST_OUTPUT = 2_000_000
"""Characters of all rich outputs together: some large plots."""
_LONGEST_VALUE = 4000

_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_FONT = (
    "font-family:var(--jp-code-font-family,ui-monospace,Menlo,Consolas,monospace);"
    "font-size:var(--jp-code-font-size,13px);white-space:pre-wrap;max-height:40em;overflow:auto;margin:0;padding:0"
)
_STDERR = f"{_FONT};background:var(--jp-rendermime-error-background,rgba(220,60,60,.12))"
_ERROR = f"{_FONT};border-left:3px solid var(--jp-error-color1,#d6433b);padding-left:.6em"


def text(result: ExecutionResult) -> str:
    """What the code wrote and showed, its error, and what else has to be known."""
    return as_text("result", lambda: "\n".join(_texts(result)))


def page(result: ExecutionResult) -> str:
    """The same as HTML. Rich outputs are as the code made them; all else is escaped."""
    return as_html("result", lambda: "\n".join(_parts(result)))


def _texts(result: ExecutionResult) -> Iterator[str]:
    yield from (_shortened(written).rstrip("\n") for written in (result.stdout, result.stderr) if written)
    yield from _outputs(result, lambda data: clean(str(data.get("text/plain", ""))), "[… and {} more outputs]")
    if result.error is not None:
        yield _shortened(result.traceback or result.error)
    if marks := _marks(result):
        yield f"[{'; '.join(marks)}]"


def _parts(result: ExecutionResult) -> Iterator[str]:
    if result.stdout:
        yield _styled("pre", _FONT, _escaped(result.stdout))
    if result.stderr:
        yield _styled("pre", _STDERR, _escaped(result.stderr))
    yield from _outputs(result, _output, str(html.note("… and {} more outputs")))
    if result.error is not None:
        yield _styled("pre", _ERROR, _escaped(result.traceback or result.error))
    if marks := _marks(result):
        yield _styled("div", "opacity:.7;font-size:.9em", html.escaped("; ".join(marks), 1000))


def _outputs(result: ExecutionResult, make: Callable[[Mapping[str, Any]], str], more: str) -> Iterator[str]:
    shown: list[Mapping[str, Any]] = [output.data for output in result.outputs]
    if result.value is not None and not any(output.kind == "execute_result" for output in result.outputs):
        shown.append({"text/plain": short_repr(result.value, _LONGEST_VALUE)})
    size = 0
    for number, data in enumerate(shown):
        made = make(data)
        size += len(made)
        if size > _MOST_OUTPUT:
            yield more.format(len(shown) - number)
            return
        yield made


def _output(data: Mapping[str, Any]) -> str:
    if "text/html" in data:
        return clean(str(data["text/html"]))
    if "image/svg+xml" in data:
        return html.image("image/svg+xml", str(data["image/svg+xml"]).encode("utf-8", "backslashreplace"))
    for kind in _IMAGES:
        if kind in data:
            return html.image(kind, str(data[kind]))
    if isinstance(data.get("application/json"), dict | list):
        return html.page(Html(""), html.tree(data["application/json"]))
    for kind in ("text/markdown", "text/latex", "text/plain"):
        if kind in data:
            return _styled("pre", _FONT, _escaped(str(data[kind])))
    return ""


def _marks(result: ExecutionResult) -> list[str]:
    told = (
        (result.timed_out, "timed out"),
        (result.kernel_restarted, "the kernel was restarted: variables from before are gone"),
        (result.truncated, "output or value was cut at its limit"),
        (result.value_is_repr, "a repr stands for what cannot leave the kernel"),
    )
    return [words for applies, words in told if applies]


def _shortened(written: str) -> str:
    kept = HeadTail(_MOST_TEXT)
    head = kept.add(written)
    return console(head + kept.rest())


def _escaped(written: str) -> Html:
    return html.escaped(_shortened(written), 2 * _MOST_TEXT)


def _styled(tag: str, style: str, content: Html) -> str:
    # A line break that follows the tag directly would be dropped.
    first = "\n" if content.startswith("\n") else ""
    return f"<{tag} style='{style}'>{first}{content}</{tag}>"
