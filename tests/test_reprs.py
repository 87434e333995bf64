"""What people and models see when they look at tools, workflows, artifacts, dependencies and results."""

from __future__ import annotations

import base64
import os
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kernel_bootstrap import formats, html, previews, render, views
from kernel_bootstrap.link import ZmqLink
from kernel_bootstrap.namespaces import build
from kernel_bootstrap.plaintext import short_repr
from py_code_mode.results import DisplayEvent, ExecutionResult
from py_code_mode.session import Session

from .memory import MB, Peaks, linux_only

HOSTILE = "<script>alert(1)</script></td></pre></style>\"'&\0\x1b[31m\u202e\ud800"
LONG = "x" * MB
MOST = 120_000

CURL = f"""\
name: fetch
description: {HOSTILE[:24]!r}
command: echo
tags: [http, network]
schema:
  options:
    silent:  {{type: boolean, short: s, description: Silent mode}}
    method:  {{type: string, enum: [GET, POST], default: GET}}
  positional:
    - {{name: url, type: string, required: true, description: URL to request}}
recipes:
  get:
    description: Simple request
    params: {{url: {{}}}}
"""

GREET = '''"""Say a greeting."""


async def run(name: str, times: int = 1, *, loud: bool = False) -> list:
    """Greet."""
    return [f"<b>{name}</b>"] * times
'''


@pytest.fixture(autouse=True, scope="module")
def files(shared: Session) -> None:
    base: Path = shared.storage.base_path
    for folder, name, text in (
        ("tools", "fetch.yaml", CURL),
        ("workflows", "greet.py", GREET),
        ("workflows", "bad.py", "def run(: pass\n"),
    ):
        (base / folder).mkdir(exist_ok=True)
        (base / folder / name).write_text(text)
    (base / "requirements.txt").write_text("ipykernel>=7\nnot-there==1.0\n")


class Page(HTMLParser):
    """A page as a browser would read it. It is balanced, bounded, and of the tags that it may have."""

    ALLOWED = frozenset(
        [
            "div",
            "style",
            "span",
            "b",
            "br",
            "p",
            "code",
            "pre",
            "table",
            "caption",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "details",
            "summary",
            "ul",
            "li",
            "img",
        ]
    )

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.text = ""
        self.images: list[str] = []
        self._open: list[str] = []
        assert len(source) < MOST
        source.encode("utf-8")
        assert not {"\0", "\x1b", "\u202e"} & set(source)
        self.feed(source)
        self.close()
        assert self._open == []
        assert set(self.tags) <= self.ALLOWED

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs)["src"] or "")
        elif tag != "br":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data


async def shown(session: Session, code: str) -> tuple[str, Page]:
    """The text and the page that a notebook shows for the value of ``code``."""
    result = (await session.run(code)).raise_for_error()
    data = result.outputs[-1].data
    return data["text/plain"], Page(data["text/html"])


def preview(value: Any, name: str = "it", most: int = previews.WHOLE) -> Page:
    """What is shown of ``value`` when an artifact holds it, of which ``most`` bytes are read."""
    payload = formats.dump(value)
    data = b"".join(bytes(part) for part in payload.parts)
    head = {"format": payload.format, "details": payload.details, "size": len(data), "data": data[:most]}
    return Page(previews.preview(name, head))


# -- the namespaces -------------------------------------------------------------------------------------


async def test_tools_are_a_table_with_descriptions_and_tags(shared: Session):
    text, page = await shown(shared, "tools")
    assert text == "tools (1)\n  tools.fetch  <script>alert(1)</script [http, network]"
    assert "tools.fetch" in page.text
    assert "network" in page.text
    assert "table" in page.tags


async def test_a_tool_shows_its_recipes_with_their_parameters(shared: Session):
    text, page = await shown(shared, "tools.fetch")
    assert "tools.fetch.get(url: str)  Simple request" in text
    assert "tools.fetch(url: str, *, silent: bool = False, method: str = 'GET')" in page.text
    assert "one of 'GET', 'POST'" in page.text
    assert page.tags.count("details") == 2
    text, page = await shown(shared, "tools.fetch.get")
    assert text == "tools.fetch.get(url: str)\n    Simple request\n    url: str (required) - URL to request"
    assert "required" in page.text
    assert "URL to request" in page.text


async def test_a_workflow_shows_its_signature_and_its_source_in_colours(shared: Session):
    text, page = await shown(shared, "workflows.greet")
    assert text.startswith("workflows.greet(name: str, times: int = 1, *, loud: bool = False) -> list\n")
    assert "Say a greeting." in text
    assert 'return [f"<b>{name}</b>"] * times' in page.text
    source = (await shared.run("workflows.greet._repr_html_()")).value
    assert "<span class='k'>async</span>" in source
    assert (await shown(shared, "workflows.get('greet')"))[1].text == page.text
    text, page = await shown(shared, "workflows")
    assert "workflows.greet(name: str, times: int = 1, loud: bool = False)  Say a greeting." in text
    assert "does not parse" in page.text
    assert "does not parse" in (await shown(shared, "workflows.bad"))[0]


async def test_artifacts_are_a_table_and_one_shows_what_it_holds(shared: Session):
    await shared.save_artifact("shown/report", {"total": 3}, "Numbers <b>", {"source": "warehouse"})
    text, page = await shown(shared, "artifacts")
    assert "'shown/report'  json, 17 B, Numbers <b>" in text
    assert "17 B" in page.text
    text, page = await shown(shared, "artifacts.get('shown/report')")
    assert text.startswith("{'name': 'shown/report'")
    for word in ("Numbers <b>", "json", "17 B", "created 20", "metadata", "'warehouse'", "'total'", "3"):
        assert word in page.text
    await shared.delete_artifact("shown/report")


async def test_deps_tell_the_installed_version(shared: Session):
    text, page = await shown(shared, "deps")
    assert text.startswith("deps (2)\n  ipykernel>=7    7.")
    assert text.endswith("not-there==1.0  not installed; deps.sync()")
    assert "not installed" in page.text


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("tools.list()", "tools.fetch"),
        ("tools.search('request')", "tools.fetch"),
        ("tools.fetch.list()", "tools.fetch.get(url: str)"),
        ("workflows.list()", "workflows.greet"),
        ("workflows.search('greeting')", "workflows.greet"),
        ("artifacts.list()", "artifacts"),
    ],
)
async def test_lists_are_plain_data_and_show_as_tables(shared: Session, code: str, word: str):
    text, page = await shown(shared, code)
    assert text.startswith("[")
    assert word in page.text
    assert (await shared.run(f"import copy, json; v = {code}; json.loads(json.dumps(v)) == v == copy.copy(v)")).value


async def test_what_get_gives_is_a_dict_like_any_other(shared: Session):
    code = "import copy, json; w = workflows.get('greet'); (type(copy.deepcopy(w)), json.loads(json.dumps(w)) == w == dict(w))"
    assert (await shared.run(code.replace("type(copy.deepcopy(w))", "type(copy.deepcopy(w)) is dict"))).value == (
        True,
        True,
    )


async def test_the_in_process_session_shows_the_same(tmp_path: Path):
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "greet.py").write_text(GREET)
    async with Session.inprocess(tmp_path) as session:
        text, page = await shown(session, "workflows.greet")
    assert text.startswith("workflows.greet(name: str, times: int = 1, *, loud: bool = False) -> list\n")
    assert "Say a greeting." in page.text


# -- hostile and large ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [HOSTILE, HOSTILE * 10_000, LONG], ids=["hostile", "much", "long"])
def test_whatever_names_and_descriptions_hold_is_escaped_and_bounded(text: str):
    parameter = {"name": text, "type": text, "required": False, "default": text, "enum": [text], "description": text}
    written = {**parameter, "annotation": text, "default_text": text}
    call = {"name": text, "signature": text, "description": text, "parameters": [written] * 300}
    tool = {"name": text, "description": text, "tags": [text] * 100, "callables": [call] * 5}
    workflow = {
        "name": text,
        "signature": text,
        "description": text,
        "parameters": [parameter] * 300,
        "tags": [text] * 100,
        "version": 1,
        "updated": text,
        "author": text,
        "requires": dict.fromkeys(("tools", "workflows", "packages", "dependencies"), [text] * 1000),
    }
    version = {"version": 1, "created": text, "author": text, "change": text}
    artifact = {
        "name": text,
        "format": text,
        "size": 5,
        "description": text,
        "created_at": text,
        "updated_at": "",
        "path": text,
        "metadata": {text: [text] * 1000},
    }
    for page in (
        views.tools([tool] * 10_000),
        views.tool(tool),
        views.callable_(text, call),
        views.recipes(text, [call] * 10_000),
        views.workflows([workflow] * 10_000),
        views.workflows([{**workflow, "broken": text}] * 10_000),
        views.workflow({**workflow, "source": text, "broken": text}),
        views.versions(text, [version] * 10_000),
        views.uses([{"name": text, "calls": 1, "failures": 1, "last_used": text}] * 10_000),
        views.deps([(text, text)] * 10_000),
        previews.artifacts([artifact] * 10_000),
        previews.artifact(artifact, {"format": "text", "details": {}, "size": 5, "data": b"<b>\0\xff"}),
        render.html_table(text, (text, text), [(text, text)] * 10_000),
        render.as_html(text, lambda: 1 / 0),
    ):
        assert "alert(1)" not in page or "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        Page(page)


def test_ten_thousand_rows_are_counted_not_shown():
    items = [{"name": f"t{number}", "description": "A tool", "tags": []} for number in range(10_000)]
    page = Page(views.tools(items))
    assert "… and 9,900 more" in page.text
    text = render.text_table("tools", [(HOSTILE * 9999, LONG)] * 10_000, empty="none")
    assert text.endswith("… and 9,900 more")
    assert text.count("\n") == 101
    assert len(text) < 300_000
    assert not {"\0", "\x1b", "\ud800"} & set(text)


def test_a_tree_is_bounded_in_depth_width_and_characters():
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    assert "…" in Page(html.tree(deep)).text
    assert "… and 9,900 more" in Page(html.tree(list(range(10_000)))).text
    assert "… and" in Page(html.tree([{str(n): HOSTILE * 99 for n in range(100)} for _ in range(100)])).text
    shared: Any = 0
    for _ in range(30):
        shared = [shared] * 30
    started = time.monotonic()
    assert len(short_repr(shared)) < 1000
    Page(html.tree(shared))
    assert time.monotonic() - started < 5


def test_a_value_whose_repr_raises_is_told():
    class Bad:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert short_repr(Bad()) == "<Bad, whose repr failed: RuntimeError>"
    assert short_repr(10**5000) == "<int of 16610 bits>"
    assert "RuntimeError" in ExecutionResult(value=Bad())._repr_mimebundle_()["text/html"]
    assert "Bad instance" in repr(ExecutionResult(value=[Bad()]))


def test_a_long_source_is_cut_at_a_line_and_the_rest_counted():
    page = Page(html.python_source("x = '<b>'\n" * 10_000))
    assert "… and 9,600 more lines" in page.text
    assert Page(html.python_source(GREET)).text == GREET
    assert Page(html.python_source("\n\nx\n")).text.lstrip("\n") == "x\n"
    Page(html.python_source("+" * MB))


# -- a host that is gone --------------------------------------------------------------------------------


def test_a_host_that_does_not_answer_is_told_in_place_of_the_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(render, "_PATIENCE", 0.05)
    link = ZmqLink(f"ipc://{tmp_path}/nobody", "key", lambda: "")
    names = build(link)
    for path in ("tools", "tools.curl", "tools.curl.get", "workflows", "workflows.greet", "artifacts", "deps"):
        found = eval(path, names)
        assert repr(found) == f"<{path}: the host does not answer within 0.05 s>"
        assert "does not answer" in Page(found._repr_html_()).text
    link.close()
    assert repr(names["tools"]) == "<tools: the link to the host is closed>"
    assert "the link to the host is closed" in Page(names["artifacts"]._repr_html_()).text


async def test_what_is_not_there_is_told_with_the_right_names(shared: Session):
    text, page = await shown(shared, "tools.fetsch")
    assert text == "<tools.fetsch: no tool 'fetsch'; did you mean 'fetch'? Valid: fetch>"
    assert "did you mean 'fetch'?" in page.text
    await shared.save_artifact("gone", 1)
    code = "gone = artifacts.get('gone'); artifacts.delete('gone'); gone"
    assert "no artifact 'gone'" in (await shown(shared, code))[1].text


# -- previews -------------------------------------------------------------------------------------------


def test_the_head_of_a_frame_is_shown_with_its_index_and_its_size():
    frame = pd.DataFrame(
        {
            "day": pd.date_range("2026-01-01", periods=200),
            "price": np.linspace(0, 1, 200),
            "note": [HOSTILE[:40], None] * 100,
        }
    )
    page = preview(frame)
    for word in ("day", "2026-01-20", "0.0954774", "<script>", "… and 180 more", "200 rows × 3 columns"):
        assert word in page.text
    page = preview(frame.set_index("note"))
    assert page.text.index("note") < page.text.index("day")
    wide = preview(pd.DataFrame({f"c{number}": [1.5] for number in range(1000)}))
    assert "1 row × 1,000 columns, the first 30 shown" in wide.text
    mixed = preview(pd.DataFrame({1: [1, HOSTILE], "b": [[1], None]}))
    assert "2 rows × 2 columns" in mixed.text


def test_of_a_large_frame_the_columns_are_shown_from_its_first_bytes():
    page = preview(pd.DataFrame({"a": np.arange(200_000), "b": "x"}), most=previews.HEAD)
    for word in ("200,000 rows", "int64", "too large to show rows"):
        assert word in page.text


def test_a_parquet_file_shows_its_first_rows(tmp_path: Path):
    frame = pd.DataFrame({"city": ["Paris", "Lyon"] * 50, "people": range(100)})
    frame.to_parquet(tmp_path / "cities.parquet")
    data = (tmp_path / "cities.parquet").read_bytes()
    page = preview(data, "cities.parquet")
    assert "Lyon" in page.text
    assert "100 rows × 2 columns" in page.text
    assert "too large" in preview(data, "cities.parquet", most=100).text


def test_comma_separated_text_is_a_table():
    page = preview('name;size\n"a;b";1\nc;2\n', "sizes.csv")
    assert page.tags.count("td") == 4
    assert "a;b" in page.text
    assert "2 rows × 2 columns" in page.text
    cut = preview("a,b\n" + "1,2\n" * 100, "cut.csv", most=102)
    assert "20 rows shown" in cut.text
    assert preview("", "empty.csv").text == "it is empty"
    ragged = preview("a,b\n1\n1,2,3\n", "ragged.csv")
    assert "2 rows × 2 columns" in ragged.text
    assert "field larger" in preview(f"a\n{LONG[:200_000]}\n", "long.csv").text


def test_images_are_shown_and_an_svg_runs_no_script():
    png = b"\x89PNG\r\n\x1a\n" + b"pixels"
    assert preview(png).images == ["data:image/png;base64," + base64.b64encode(png).decode()]
    svg = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    page = preview(svg, "logo.svg")
    assert page.images == ["data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()]
    assert page.tags == ["img"]
    assert "too large for a preview" in preview(png + bytes(MB), most=100).text


def test_json_is_a_tree_that_opens():
    page = preview({"rows": [{"id": 1, "ok": None}], "title": HOSTILE})
    assert page.tags.count("details") == 3
    for word in ("'rows'", "list, 1 item", "'id'", "None", "<script>"):
        assert word in page.text
    assert "(1, 2)" in preview({"when": pd.Timestamp("2026-01-01").to_pydatetime(), (1, 2): {3}}).text
    assert "[[[" in preview('[[["text"]]]', "it.txt").text
    assert preview('{"a": 1}\n{"a": 2}\n', "log.jsonl").tags.count("details") == 3
    assert "the beginning of" in preview({"long": "x" * 1000}, most=500).text


def test_text_arrays_and_bytes_show_their_beginning():
    page = preview("first <b>\n" * 10_000)
    assert page.text.startswith("first <b>\n")
    assert page.text.endswith("the beginning of 100 kB")
    assert preview("\ud800 é").text == "\\ud800 é"
    assert preview("é" * 1000, most=11).text.startswith("ééééé")
    assert "float64 of shape (100, 100)" in preview(np.zeros((100, 100))).text
    assert "the first values" in preview(np.arange(100_000), most=1000).text
    assert "[[0." in preview(np.zeros((1000, 3)), most=1000).text
    assert "int64 of shape (0, 3)" in preview(np.zeros((0, 3), int)).text
    assert preview(bytes(range(256))).text.startswith("000000  00 01 02")
    assert preview(b"").text == ""


def test_content_that_is_no_such_format_is_told():
    for name in formats.FORMATS:
        for data in (b"", b"\xff\0rubbish", b"ARROW1\0\0" + bytes(50), b"\x93NUMPY\x01\0\xff\xff"):
            for size in (len(data), 10**9):
                head = {"format": name, "details": {}, "size": size, "data": data}
                Page(previews.preview("it", head))
    assert "no preview" in previews.preview("it", {"format": "arrow", "details": {}, "size": 5, "data": b"wrong"})


async def test_without_the_library_a_preview_says_what_it_needs(shared: Session):
    await shared.save_artifact("frame", pd.DataFrame({"city": ["Paris"]}))
    await shared.save_artifact("array", np.zeros(3))
    page = (await shown(shared, "artifacts.get('frame')"))[1]
    assert "1 row; columns: city" in page.text
    assert "deps.add('pyarrow')" in page.text
    assert "deps.add('numpy')" in (await shown(shared, "artifacts.get('array')"))[1].text
    for name in ("frame", "array"):
        await shared.delete_artifact(name)


@linux_only
async def test_an_artifact_of_a_gigabyte_costs_nothing_to_look_at(shared: Session):
    path = shared.storage.base_path / "artifacts" / "huge.bin"
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.truncate(1 << 30)
    kernel = (await shared.run("import os; artifacts.get('huge.bin')\nos.getpid()")).value
    peaks = Peaks(kernel, os.getpid())
    page = (await shown(shared, "artifacts.get('huge.bin')"))[1]
    assert "1.07 GB" in page.text
    assert "000000  00 00" in page.text
    assert max(peaks.of(kernel), peaks.of(os.getpid())) < 20 * MB
    path.unlink()


# -- results --------------------------------------------------------------------------------------------


def test_a_result_shows_all_that_has_to_be_known():
    result = ExecutionResult(
        stdout="10%\r100%\n\x1b[31mred\x1b[0m <b>\n",
        stderr="careful\n",
        error="TimeoutError: too slow",
        error_name="TimeoutError",
        timed_out=True,
        kernel_restarted=True,
        truncated=True,
        outputs=(
            DisplayEvent("display_data", {"application/json": {"a": [1]}, "text/plain": "json"}),
            DisplayEvent("display_data", {"image/svg+xml": "<svg><script>1</script></svg>", "text/plain": "svg"}),
            DisplayEvent("display_data", {"text/markdown": "**<b>**", "text/plain": "markdown"}),
        ),
    )
    bundle = result._repr_mimebundle_()
    assert bundle["text/plain"].splitlines() == [
        "100%",
        "red <b>",
        "careful",
        "json",
        "svg",
        "markdown",
        "TimeoutError: too slow",
        "[timed out; the kernel was restarted: variables from before are gone; output or value was cut at its limit]",
    ]
    page = Page(bundle["text/html"])
    for word in ("100%\nred <b>", "careful", "'a'", "**<b>**", "TimeoutError: too slow", "timed out", "restarted"):
        assert word in page.text
    assert page.images[0].startswith("data:image/svg+xml;base64,")


def test_a_result_is_bounded_whatever_it_holds():
    outputs = (DisplayEvent("display_data", {"text/html": "<b>" + LONG + "</b>", "text/plain": "p"}),) * 5
    result = ExecutionResult(value=LONG, stdout=LONG, stderr=LONG, error=LONG, traceback=LONG, outputs=outputs)
    bundle = result._repr_mimebundle_()
    assert "bytes left out" in bundle["text/html"]
    assert "more outputs" in bundle["text/html"]
    assert len(bundle["text/html"]) < 2_500_000
    assert len(bundle["text/plain"]) < 300_000
    assert len(repr(result)) < 10_000


def test_the_repr_of_a_result_names_what_there_is():
    assert repr(ExecutionResult()) == "ExecutionResult()"
    assert repr(ExecutionResult(value=3, stdout="hi\n")) == "ExecutionResult(value=3, stdout='hi\\n')"
    assert "3" in ExecutionResult(value=3)._repr_mimebundle_()["text/html"]
    assert repr(ExecutionResult(value=np.zeros(2), timed_out=True)) == (
        "ExecutionResult(value=array([0., 0.]), timed_out=True)"
    )
