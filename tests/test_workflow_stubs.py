"""The typed stub of a library: what type checkers make of it, whatever the workflows are like."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mypy import api

import kernel_bootstrap
from py_code_mode.workflows.stubs import stubs
from py_code_mode.workflows.workflow import RESERVED, Workflow, parse

HEADS = """
from typing import Annotated, Any, Callable, Dict, List, Literal, Optional, TypedDict, TYPE_CHECKING
import collections.abc, os.path
import datetime as dt
import xml.etree.ElementTree
import xml.dom.minidom
import pandas as pd
import no_such_package.inside as nsp
from decimal import Decimal as D
from no_such_package import Thing
from somewhere_else import Literal as Other
from . import neighbour
from .neighbour import Neighbour
try:
    import orjson
except ImportError:
    orjson = None
if TYPE_CHECKING:
    from fractions import Fraction
    from collections.abc import Sequence

class Row(TypedDict):
    x: int

Rows = list[Row]
Words = "dict[str, D]"
Loop = "Loop | int"
LIMIT = 10

"""

SIGNATURES = {
    "fetch": "url: str, limit: int = 10, *, how: Literal['a', 'b'] = 'a' | -> dict[str, int]",
    "nothing": " | ",
    "untyped": "a, b=1, *rest, c, d=None, **more | ",
    "only": "a: int, /, b: str | -> None",
    "me": "self: int, _self: str | -> list[int]",
    "hidden": "__a: int | -> int",
    "implicit": "a: int = None, b: Optional[int] = None, c: 'str | None' = None | -> str",
    "frames": "df: pd.DataFrame, t: Thing, n: nsp.Deep.Deeper | -> pd.DataFrame",
    "rows": "rows: Rows, row: Row, words: Words, loop: Loop, limit: LIMIT = LIMIT | -> list[Row]",
    "names": "d: D, f: Fraction, s: Sequence[int], when: dt.datetime | -> dt.timedelta",
    "dotted": "e: xml.etree.ElementTree.Element, d: xml.dom.minidom.Document, p: collections.abc.Sized | -> int",
    "odd": "a: any, b: callable, c: 5, d: [int], e: f(), g: '1 +', h: ..., i: orjson.Fragment, j: tools.curl | -> 'Row'",
    "bare": "a: dict, b: list, c: tuple, d: List, e: Dict, f: Callable, g: set | -> dict",
    "deep": "a: Annotated[int, f()], b: Callable[[int, Row], str], c: tuple[int, ...], d: dict[str] | -> tuple[()]",
    "relative": "a: neighbour.X, b: Neighbour, c: Other['x'] | -> list[Neighbour]",
    "strings": "a: 'list[\"D\"]', b: list['D | None'] | -> 'dict[str, list[D]]'",
    "literal": "a: Literal['x', -1, None, True], b: Literal[LIMIT] | -> Literal['it\\'s']",
    "defaults": "a: str = 'x' * 3, b: float = -1.5, c: bytes = b'z', d: int = 'wrong', e: str = '" + "y" * 99 + "' | -> int",
    **dict.fromkeys(
        ["int", "str", "dict", "print", "property", "object", "type", "tuple", "Any", "Literal", "Callable", "D", "pd",
         "builtins", "typing", "workflow", "Workflow", "Workflows", "self", "source", "run", "match", "ParamSpec",
         "Coroutine", "collections", "xml", "café"],
        "a: int, b: list[str], c: dict[str, int], d: str | -> list[int]",
    ),
}  # fmt: skip

USE = """
from library import workflows

reveal_type(workflows.fetch("x"))  # note: dict[str, int]
later = reveal_type(workflows.fetch.call_async("x", limit=3, how="b"))  # note: Coroutine[Any, Any, dict[str, int]]
workflows.fetch()  # error: call-arg
workflows.fetch(1)  # error: arg-type
workflows.fetch("x", 3, "b")  # error: call-arg
workflows.fetch("x", how="c")  # error: arg-type
workflows.fetch("x", limt=3)  # error: call-arg
wrong = workflows.fetch.call_async(url=1)  # error: arg-type
workflows.no_such()  # error: attr-defined
workflows.nothing()
workflows.nothing(1)  # error: call-arg
workflows.untyped(1, 2, 3, 4, c=5, e=6)
workflows.untyped(1, 2)  # error: call-arg
workflows.only(1, "b")
workflows.only(a=1, b="b")  # error: call-arg
reveal_type(workflows.me(self=1, _self="x"))  # note: list[int]
workflows.me(1, 2)  # error: arg-type
workflows.hidden(1)
workflows.implicit(None, 1, None)
workflows.implicit("x")  # error: arg-type
reveal_type(workflows.frames(1, 2, 3))  # note: Any
reveal_type(workflows.rows([{}], 1, {}, 5, "any"))  # note: list[Any]
workflows.rows(1, 1, {}, 5)  # error: arg-type
workflows.rows([], 1, [], 5)  # error: arg-type
import datetime, decimal, fractions
reveal_type(workflows.names(decimal.Decimal(1), fractions.Fraction(1), [1], datetime.datetime.now()))  # note: timedelta
workflows.names(1, fractions.Fraction(1), [1], datetime.datetime.now())  # error: arg-type
workflows.names(decimal.Decimal(1), 1, [1], datetime.datetime.now())  # error: arg-type
workflows.names(decimal.Decimal(1), fractions.Fraction(1), ["a"], datetime.datetime.now())  # error: list-item
import xml.etree.ElementTree as ET, xml.dom.minidom
workflows.dotted(ET.Element("a"), xml.dom.minidom.Document(), [])
workflows.dotted(1, xml.dom.minidom.Document(), [])  # error: arg-type
workflows.dotted(ET.Element("a"), 1, [])  # error: arg-type
workflows.dotted(ET.Element("a"), xml.dom.minidom.Document(), 1)  # error: arg-type
reveal_type(workflows.odd(1, 2, 3, 4, 5, 6, 7, 8, 9))  # note: Any
workflows.bare({1: 2}, [3], (4, "x"), [5], {}, print, {6})
workflows.bare([], [3], (4, "x"), [5], {}, print, {6})  # error: arg-type
reveal_type(workflows.deep(1, lambda n, row: "x", (1, 2), {}))  # note: tuple[()]
workflows.deep("x", lambda n, row: "x", (1, 2), {})  # error: arg-type
workflows.deep(1, lambda n, row: 2, (1, 2), {})  # error: arg-type, return-value
reveal_type(workflows.relative(1, 2, 3))  # note: list[Any]
reveal_type(workflows.strings([decimal.Decimal(1)], [None]))  # note: dict[str, list[Decimal]]
workflows.strings([1], [None])  # error: list-item
reveal_type(workflows.literal("x", "whatever"))  # note: Literal["it's"]
workflows.literal("y", 1)  # error: arg-type
workflows.defaults("a", 1, b"", 3, "e")
workflows.defaults(1)  # error: arg-type
reveal_type(workflows.int(1, ["a"], {"b": 2}, "d"))  # note: list[int]
reveal_type(workflows.print(1, ["a"], {"b": 2}, "d"))  # note: list[int]
workflows.dict(1, ["a"], ["b"], "d")  # error: arg-type
workflows.type(1, ["a"], {"b": 2}, 4)  # error: arg-type
reveal_type(workflows.café(1, ["a"], {"b": 2}, "d"))  # note: list[int]
reveal_type(workflows.list())  # note: list[dict[str, Any]]
reveal_type(workflows.get("fetch"))  # note: dict[str, Any] | None
workflows.search(1)  # error: arg-type
reveal_type(workflows.delete("fetch"))  # note: bool
reveal_type(workflows.invoke("fetch", 1, a=2))  # note: Any
reveal_type(workflows.fetch.source)  # note: str
"""


def library() -> list[Workflow]:
    found = [Workflow("broken_one", broken='workflows/broken_one.py:1: "bad"\nworse')]
    for name, text in SIGNATURES.items():
        parameters, _, returns = text.rpartition("|")
        found.append(
            parse(name, f'"""Does {name}."""{HEADS}async def run({parameters.strip()}) {returns.strip()}: ...')
        )
    return found


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """The stub of the library, and what ``mypy --strict`` says of it and of code that uses it."""
    folder = tmp_path_factory.mktemp("stubs")
    text = stubs(library())
    Path(folder, "library.pyi").write_text(text, "utf-8")
    Path(folder, "use.py").write_text(USE, "utf-8")
    Path(folder, "mypy.ini").write_text("[mypy]\n")
    options = ["--strict", "--cache-dir=/dev/null", "--no-error-summary", f"--config-file={folder / 'mypy.ini'}"]
    limit = sys.getrecursionlimit()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        told, problems, _ = api.run([*options, "library.pyi", "use.py"])
    sys.setrecursionlimit(limit)  # which mypy raises
    assert problems == ""
    return text, told.splitlines()


def test_the_stub_of_any_library_is_valid_and_types_the_calls_of_its_workflows(checked):
    _, told = checked
    assert [line for line in told if line.startswith("library.pyi")] == []
    found: dict[int, set[str]] = {}
    for line in told:
        _, number, level, message = line.split(":", 3)
        if level.strip() == "error":
            found.setdefault(int(number), set()).add(message.rpartition("[")[2].rstrip("]"))
        elif "Revealed type is" in message:
            shown = message.partition('"')[2].rstrip('"').replace("builtins.", "").replace("typing.", "")
            found.setdefault(int(number), set()).add(shown.replace("datetime.", "").replace("decimal.", ""))
    expected = {}
    for number, line in enumerate(USE.splitlines(), 1):
        kind, _, what = line.partition("  # ")[2].partition(": ")
        if kind:
            expected[number] = {what} if kind == "note" else set(what.split(", "))
    assert found == expected


def test_the_stub_reads_as_python_does_and_describes_each_workflow(checked):
    text, _ = checked
    tree = ast.parse(text)
    (cls,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Workflows"]
    methods = {node.name: node for node in cls.body if isinstance(node, ast.FunctionDef)}
    assert set(methods) == {*SIGNATURES, *RESERVED}
    assert {name: ast.get_docstring(methods[name]) for name in SIGNATURES} == {n: f"Does {n}." for n in SIGNATURES}
    assert all(ast.get_docstring(methods[name]) for name in RESERVED)
    assert '\n    # broken_one is broken: workflows/broken_one.py:1: "bad" worse\n' in text
    assert (
        "def fetch(self, url: _builtins.str, limit: _builtins.int = 10, *, how: _Literal['a', 'b'] = 'a') -> " in text
    )
    assert "limit: _Any = ...) -> " in text


def test_a_small_library_reads_plainly():
    source = '"""Fetch \\\\d and \\"quote\\".\n\n  Indented."""\nimport pandas as pd\nasync def run(url: str, n=None) -> pd.DataFrame:\n    """R.\n\n    Args:\n        url: where it is\n    """\n'
    text = stubs([parse("fetch", source)])
    assert "import pandas as pd\n" in text
    assert text.endswith(
        "    @_workflow\n"
        "    def fetch(self, url: str, n: Any = None) -> pd.DataFrame:\n"
        '        """Fetch \\\\d and "quote".\n'
        "\n"
        "          Indented.\n"
        "\n"
        "        url: where it is\n"
        '        """\n'
        "\n"
        "workflows: Workflows\n"
    )
    assert stubs([]).endswith("workflows: Workflows\n")


def test_the_own_methods_are_those_of_the_namespace():
    source = Path(kernel_bootstrap.__file__).with_name("workflows.py").read_text("utf-8")
    assert set(RESERVED) == {
        method.name
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == "Workflows"
        for method in node.body
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_")
    }


@settings(max_examples=150, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\"\\\n\r\t {}'\0"), min_size=1).filter(
        str.strip
    )
)
def test_any_description_stays_within_its_docstring(description):
    text = stubs([Workflow("one", description=description), Workflow("two", broken=description)])
    tree = ast.parse(text)
    (cls,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Workflows"]
    assert [node.name for node in cls.body if isinstance(node, ast.FunctionDef)][-1] == "one"
    assert isinstance(tree.body[-1], ast.AnnAssign)
