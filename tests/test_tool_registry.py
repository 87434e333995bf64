"""The one place that lists, finds, describes and calls every tool."""

from __future__ import annotations

import inspect
import json

import pytest

from py_code_mode.errors import ToolArgumentError, ToolNotFoundError
from py_code_mode.tools.base import CallableInfo, MemoryToolProvider, Parameter, ToolInfo
from py_code_mode.tools.loader import DirectoryToolProvider
from py_code_mode.tools.registry import ToolRegistry
from tests.tool_runner import running, write

RAW = CallableInfo("")


class Echo:
    """A tool that gives back what it was called with."""

    def __init__(self, name, description="", *tags, callables=(RAW,)):
        self.info = ToolInfo(name, description, tags, "memory", tuple(callables))

    async def call(self, recipe, args, kwargs):
        self.info.callable(recipe)
        return [self.info.description, recipe, args, kwargs]


class Failing(MemoryToolProvider):
    async def close(self):
        raise OSError("will not close")


@pytest.fixture
async def runner():
    async with running() as runner:
        yield runner


TOOLS = [
    Echo("curl", "Make HTTP requests", "http", callables=[CallableInfo("", "", (Parameter("max_time"),))]),
    Echo("jq", "Filter JSON", callables=[CallableInfo("keys", "The names in an object")]),
]


@pytest.fixture
def registry():
    return ToolRegistry([MemoryToolProvider(TOOLS, secrets=["A"]), MemoryToolProvider([Echo("ls")], secrets=["B"])])


async def test_tools_of_all_providers_are_listed_by_name(registry):
    assert [info.name for info in await registry.list()] == ["curl", "jq", "ls"]
    assert registry.secrets() == {"A", "B"}


async def test_the_summary_of_a_tool_is_its_name_description_and_tags(registry):
    assert (await registry.list())[0].summary() == {
        "name": "curl",
        "description": "Make HTTP requests",
        "tags": ["http"],
    }


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("http request", ["curl"]),
        ("filtering", ["jq"]),
        ("objects", ["jq"]),
        ("time", ["curl"]),
        ("", ["curl", "jq", "ls"]),
        ("weather", []),
    ],
)
async def test_a_search_looks_at_names_descriptions_tags_recipes_and_parameters(registry, query, names):
    assert [info.name for info in await registry.search(query)] == names


async def test_a_search_gives_at_most_as_many_as_asked(registry):
    assert len(await registry.search("", limit=2)) == 2


async def test_a_call_reaches_its_tool(registry):
    assert await registry.call("jq", "keys", (1,), {"a": 2}) == ["Filter JSON", "keys", (1,), {"a": 2}]


async def test_an_unknown_tool_names_the_nearest_and_the_others(registry):
    with pytest.raises(ToolNotFoundError, match=r"no tool 'crul'; did you mean 'curl'\? Valid: curl, jq, ls") as absent:
        await registry.call("crul", None, (), {})
    assert absent.value.tool == "crul"
    with pytest.raises(ToolNotFoundError, match="no tool 'x'; there are no tools"):
        await ToolRegistry([]).describe("x")


async def test_a_tool_without_a_call_of_its_own_names_its_recipes(registry):
    with pytest.raises(ToolNotFoundError, match=r"tools\.jq cannot be called itself; call one of: keys"):
        await registry.call("jq", None, (), {})
    with pytest.raises(ToolNotFoundError, match=r"tools\.curl has no recipe 'get'; it has no recipes"):
        await registry.call("curl", "get", (), {})


async def test_a_call_of_a_tool_whose_file_is_broken_gives_the_reason(tmp_path, runner):
    write(tmp_path, "name: curl\ncommand: curl\ntimeout: soon\n", "http.yaml")
    registry = ToolRegistry([DirectoryToolProvider(tmp_path, runner)])
    with pytest.raises(
        ToolNotFoundError, match=r"tools\.curl has a broken definition: .*http.yaml:3: timeout: a number"
    ):
        await registry.call("curl", None, (), {})
    assert list(registry.broken()) == [str(tmp_path / "http.yaml")]


async def test_the_first_provider_of_a_name_is_the_one():
    registry = ToolRegistry([MemoryToolProvider([Echo("a", "first")]), MemoryToolProvider([Echo("a", "second")])])
    assert (await registry.describe("a")).description == "first"


async def test_closing_reaches_every_provider_though_one_fails():
    last = MemoryToolProvider(TOOLS)
    with pytest.raises(OSError, match="will not close"):
        await ToolRegistry([Failing(), last]).close()
    assert await last.tools() == {}


async def test_a_command_line_tool_is_described_and_called_through_the_registry(tmp_path, runner):
    write(
        tmp_path,
        """
        name: say
        description: Says it
        command: echo
        schema:
          options: {n: {type: boolean, description: no newline}, x: {type: array, default: [a]}}
          positional: [{name: text, required: true}]
        recipes:
          hello: {description: Greets, params: {text: {default: hello, description: whom}}}
        """,
    )
    registry = ToolRegistry([DirectoryToolProvider(tmp_path, runner)])
    assert await registry.call("say", "hello", (), {}) == "-x a hello\n"
    described = json.loads(json.dumps((await registry.describe("say")).to_dict()))
    assert [candidate["signature"] for candidate in described["callables"]] == [
        "(text: str, *, n: bool = False, x: list = ['a'])",
        "hello(text: str = 'hello')",
    ]
    assert described["callables"][1]["parameters"] == [
        {
            "name": "text",
            "type": "string",
            "required": False,
            "default": "hello",
            "enum": None,
            "description": "whom",
            "positional": True,
        }
    ]
    with pytest.raises(ToolArgumentError):
        await registry.call("say", None, (), {"txt": "x"})


def test_a_signature_is_valid_python_whatever_the_order_of_defaults():
    first = Parameter("a", "string", positional=True)
    second = Parameter("b", "integer", required=True, positional=True)
    signature = CallableInfo("f", "", (first, second)).signature()
    assert signature == "f(a: str = None, *, b: int)"
    namespace = {}
    exec(f"def {signature}: ...", namespace)
    assert list(inspect.signature(namespace["f"]).parameters) == ["a", "b"]
