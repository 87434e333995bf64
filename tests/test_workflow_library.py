"""Workflows, whatever keeps them: what is accepted, what it is described as, how it is found."""

from __future__ import annotations

import ast
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from py_code_mode import MemoryStorage
from py_code_mode.errors import WorkflowInvalidError, WorkflowNotFoundError
from py_code_mode.workflows.workflow import describe, parse

from .storages import BACKENDS

FETCH = '''"""Fetch and parse JSON from a URL."""

import json


async def run(url: str, limit: int = 10) -> dict:
    """Fetch it.

    Args:
        url: where it is
        limit (int): how much of it
    """
    return json.loads(tools.curl.get(url=url))[:limit]
'''
ONE = "async def run() -> int:\n    return 1\n"


@pytest.fixture(params=BACKENDS)
def library(request, tmp_path):
    return BACKENDS[request.param](tmp_path).get_workflow_library()


def test_a_workflow_is_described_by_its_docstring_and_its_signature(library):
    workflow = library.create("fetch_json", FETCH)
    assert workflow.summary() == {
        "name": "fetch_json",
        "description": "Fetch and parse JSON from a URL.",
        "parameters": [
            {"name": "url", "type": "str", "required": True, "description": "where it is"},
            {
                "name": "limit",
                "type": "int",
                "required": False,
                "default": "10",
                "description": "how much of it",
            },
        ],
    }
    assert workflow.to_dict() == workflow.summary() | {
        "source": FETCH,
        "returns": "dict",
        "tags": [],
        "requires": {"tools": ["curl"], "workflows": [], "packages": [], "dependencies": []},
    }
    assert workflow.signature() == "fetch_json(url: str, limit: int = 10) -> dict"
    assert workflow.path == "workflows/fetch_json.py"
    assert workflow.digest == hashlib.sha256(FETCH.encode()).hexdigest()
    assert library.get("fetch_json") == workflow == library.require("fetch_json")
    assert library.list() == [workflow]


@pytest.mark.parametrize(
    "signature",
    [
        "f()",
        "f(a, /, b, *, c)",
        "f(a: int = 1, /) -> list[str]",
        "f(*args: int, key=None, **options: dict[str, Any])",
        "f(text: 'str | None' = None, *, flag: bool = False) -> 'Any'",
    ],
)
def test_a_signature_reads_as_it_was_written(signature):
    source = f'"""D."""\nasync def {signature.replace("f(", "run(", 1)}: ...\n'
    assert parse("f", source).signature() == signature


def test_parameters_are_described_by_a_sphinx_docstring_as_well():
    docstring = '    """Run.\n\n    :param str url: where\n    :param n: how many\n    """\n'
    source = f'"""D."""\nasync def run(url, n=1):\n{docstring}'
    assert [parameter.doc for parameter in parse("f", source).parameters] == ["where", "how many"]


def test_a_description_that_is_given_becomes_the_docstring_of_the_source(library):
    workflow = library.create("one", ONE, "Gives one")
    assert workflow.description == "Gives one"
    assert workflow.source == f'"""Gives one"""\n\n{ONE}'
    replaced = library.create("one", workflow.source, "Always one")
    assert replaced.source == f'"""Always one"""\n\n{ONE}'
    assert library.get("one") == replaced


def test_examples_in_the_docstring_are_no_part_of_the_description_and_outlive_a_new_one(library):
    examples = ">>> one()\n1\n"
    workflow = library.create("one", f'"""Gives one.\n\n{examples}"""\n{ONE}')
    assert workflow.description == "Gives one."
    workflow = library.create("one", workflow.source, "Always one")
    assert (workflow.description, workflow.source) == ("Always one", f'"""Always one\n\n{examples}"""\n{ONE}')
    own = library.create("one", workflow.source, "Other\n\n>>> one() + 1\n2")
    assert own.source == f'"""Other\n\n>>> one() + 1\n2"""\n{ONE}'
    assert parse("one", f'"""{examples}"""\n{ONE}').description == examples.strip()


def test_without_a_description_the_docstring_of_the_source_is_kept_and_one_of_the_two_is_needed(library):
    assert library.create("kept", f'"""Kept."""\n{ONE}', "").description == "Kept."
    with pytest.raises(WorkflowInvalidError, match=r"'bare' has no description: give one"):
        library.create("bare", ONE, "  ")
    assert library.get("bare") is None


@pytest.mark.parametrize(
    "source",
    [
        f"from __future__ import annotations\n{ONE}",
        f'"""Old."""\nfrom __future__ import annotations\n{ONE}',
        f"'old'; import os\n{ONE}",
        f"#!/usr/bin/env python\n# a comment\n{ONE}",
        f"#!/usr/bin/env python\r\n'''Ölt\r\nwith lines'''\r\n{ONE}",
        f'("old "\n "and split")\n{ONE}',
        f"\ufeff{ONE}",
        ONE.rstrip(),
    ],
)
def test_the_description_is_put_in_wherever_a_docstring_may_stand(library, source):
    description = 'Says """quotes""" and \\back\\slashes\\ and "ends with one"'
    workflow = library.create("one", source, description)
    assert workflow.description == description
    assert "old" not in workflow.source.lower()
    assert workflow.source.startswith("#!") == source.startswith("#!")
    assert ("import" in workflow.source) == ("import" in source)
    assert library.create("one", workflow.source, "other").description == "other"


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters() | st.sampled_from("\"\\\n\r\t {}'\0\ud800"), min_size=1).filter(str.strip))
def test_any_description_comes_back_as_it_was_given(description):
    source = describe("one", ONE, description.strip())
    assert parse("one", source).description == description.strip()
    assert ast.dump(ast.Module(ast.parse(source).body[1:], [])) == ast.dump(ast.parse(ONE))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("x = (\n", r"workflows/w\.py:1: it does not parse"),
        ("x = 1\n  y = 2\n", r"workflows/w\.py:2: it does not parse: unexpected indent"),
        ("", "no 'async def run'"),
        ("\n\ndef run(): pass", r"w\.py:3: 'run' is a plain function: expected 'async def run"),
        ("class run: pass", "'run' is a class"),
        ("if True:\n    async def run(): pass", "no 'async def run'"),
        ("async def run():\n    yield 1", r"w\.py:2: 'run' yields"),
        ("return 1\nasync def run(): pass", "'return' outside function"),
        ("async def run(): pass\n# a\0b", r"w\.py:2: it has a NUL"),
        ("# \ud800\nasync def run(): pass", "surrogate"),
        ("async def run(): pass\n#" + "x" * (1 << 20), "1,048,576"),
        ("async def run(): return " + "(" * 5000, "does not parse"),
        ("async def run(): return " + "-" * 500_000 + "1", "does not parse"),
        ("async def run(x: " + "a" + ".b" * 50_000 + "): pass", "nested too deeply|does not parse"),
        ("async def run(): return " + "-" * 100_000 + "1", "does not parse: .+"),
        (b"async def run(): pass", "string, not bytes"),
    ],
)
def test_a_source_that_cannot_be_a_workflow_is_refused_with_line_and_reason(library, source, reason):
    with pytest.raises(WorkflowInvalidError, match=reason) as caught:
        library.create("w", source, "Described")
    assert caught.value.workflow == "w"
    assert library.list() == []


def test_a_function_inside_run_may_yield():
    source = '"""D."""\nasync def run():\n    def inner():\n        yield 1\n    return list(inner())\n'
    assert parse("w", source).broken is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("my-flow", "try 'my_flow'"),
        ("2nd", "try 'run_2nd'"),
        ("class", "keyword.*try 'class_workflow'"),
        ("list", "workflows.list is a method.*try 'list_workflow'"),
        ("invoke", "method"),
        ("_private", "private.*try 'private'"),
        ("__init__", "private"),
        ("", "identifier.*try 'my_workflow'"),
        ("../evil", "identifier.*try 'evil'"),
        ("a/b", "identifier"),
        ("a\0", "identifier"),
        ("ﬁx", "try 'fix'"),
        ("x" * 300, "252 bytes"),
        (5, "int"),
    ],
)
def test_a_name_that_a_workflow_cannot_have_is_refused_with_a_better_one(library, name, reason):
    with pytest.raises(WorkflowInvalidError, match=reason):
        library.create(name, ONE, "One")
    assert library.get(name) is None
    assert library.delete(name) is False
    assert library.list() == []


def test_creating_again_replaces_and_deleting_says_whether_it_was_there(library):
    library.create("größe", ONE, "One")
    library.create("größe", ONE.replace("1", "2"), "Two")
    assert [workflow.description for workflow in library.list()] == ["Two"]
    assert library.delete("größe") is True
    assert library.delete("größe") is False
    assert library.get("größe") is None


def test_a_refused_source_leaves_the_workflow_that_is_there(library):
    kept = library.create("one", ONE, "One")
    with pytest.raises(WorkflowInvalidError):
        library.create("one", "def run(): pass", "Broken")
    assert library.get("one") == kept


def test_a_workflow_that_is_needed_but_missing_is_an_error_that_names_the_nearest(library):
    library.create("fetch_json", FETCH)
    with pytest.raises(WorkflowNotFoundError, match=r"no workflow 'fetch_jsn'; did you mean 'fetch_json'"):
        library.require("fetch_jsn")
    with pytest.raises(AttributeError):
        library.require("other")


def test_search_finds_by_name_description_and_parameter_before_source(library):
    library.create("fetch_json", FETCH)
    library.create("by_source", "async def run():\n    weather = 1\n", "Something else")
    library.create("forecast", "async def run(city: str):\n    return city\n", "Weather of a city")
    assert [workflow.name for workflow in library.search("weather")] == ["forecast", "by_source"]
    assert [workflow.name for workflow in library.search("parsing json")] == ["fetch_json"]
    assert [workflow.name for workflow in library.search("limit")] == ["fetch_json"]
    assert [workflow.name for workflow in library.search("weather", limit=1)] == ["forecast"]
    assert library.search("zebra") == []


def test_the_code_of_a_workflow_never_runs_on_the_host(library, tmp_path):
    trace = tmp_path / "trace"
    source = f'"""D."""\nopen({str(trace)!r}, "w")\nasync def run(x=open({str(trace)!r}, "w")): pass\n'
    library.create("w", source)
    library.search("trace")
    assert library.require("w").parameters[0].default is not None
    assert not trace.exists()


def test_a_source_is_parsed_once_as_long_as_it_does_not_change():
    library = MemoryStorage().get_workflow_library()
    library.create("one", ONE, "One")
    assert library.get("one") is library.get("one") is library.list()[0]
