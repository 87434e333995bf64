"""What the command gets for what the caller gives."""

from __future__ import annotations

import argparse
import getopt
import json
import tempfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from py_code_mode.errors import ToolArgumentError, ToolNotFoundError
from tests.tool_runner import PRINT_ARGV, cli_tool, running

CURL = """
    name: curl
    description: Make HTTP requests
    command: curl
    timeout: 60
    tags: [http, network]
    schema:
      options:
        silent:   {type: boolean, short: s, description: Silent mode}
        location: {type: boolean, short: L}
        header:   {type: array,   short: H}
        data:     {type: string,  short: d}
        max-time: {type: integer}
        resolve:  {type: array}
      positional:
        - {name: url, type: string, required: true, description: URL to request}
    recipes:
      get:
        description: Simple GET request
        preset: {silent: true, location: true}
        params: {url: {}}
      post:
        params: {url: {}, data: {default: "{}"}, max-time: {}}
"""


@pytest.fixture
def curl(tmp_path):
    return cli_tool(tmp_path, CURL)


def schema(tmp_path, options="{}", positional="[]", more=""):
    return cli_tool(tmp_path, f"name: x\ncommand: x\nschema:\n  options: {options}\n  positional: {positional}\n{more}")


def argv(tool, *args, recipe=None, **kwargs):
    return tool.argv(recipe, args, kwargs)[1:]


async def test_the_command_gets_the_words_of_the_call_one_by_one(tmp_path):
    async with running() as runner:
        tool = cli_tool(tmp_path, CURL.replace("command: curl", f"command: {PRINT_ARGV}"), runner)
        call = {"url": "a b; $HOME '*", "silent": True, "data": "x\ny", "max_time": 5}
        words = await tool.call(None, (), call)
    assert json.loads(words) == ["-s", "-d", "x\ny", "--max-time", "5", "a b; $HOME '*"]


def test_a_flag_is_there_when_true_and_absent_when_false(curl):
    assert argv(curl, "u", silent=True, location=False) == ["-s", "u"]


def test_an_array_repeats_its_option(curl):
    assert argv(curl, "u", header=["a", "b"]) == ["-H", "a", "-H", "b", "u"]
    assert argv(curl, "u", resolve=("a", 1)) == ["--resolve", "a", "--resolve", "1", "u"]


def test_the_value_of_an_option_that_begins_with_a_dash_is_attached_to_it(curl):
    assert argv(curl, "u", data="-x", max_time=-5, header=["-a", "b"], resolve=["--y"]) == (
        ["-H-a", "-H", "b", "-d-x", "--max-time=-5", "--resolve=--y", "u"]
    )


def test_a_positional_that_begins_with_a_dash_comes_after_the_end_of_the_options(curl):
    assert argv(curl, "--config", silent=True) == ["-s", "--", "--config"]


@pytest.mark.parametrize("value", ["-x", "-", "--"])
def test_a_command_without_an_end_of_options_is_never_given_a_positional_with_a_dash(tmp_path, value):
    tool = schema(tmp_path, "{a: {}}", "[{name: f, type: array}]", "end_of_options: false")
    assert argv(tool, ["f"], a="-1") == ["-a-1", "f"]
    with pytest.raises(ToolArgumentError, match="begins with '-', and 'x' would read it as an option"):
        argv(tool, ["f", value])


OPTIONS = """{
    alpha: {short: a}, beta: {type: array, short: b}, gamma: {}, delta-x: {type: array}, flag: {type: boolean}
  }"""
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
OPTION_LIKE = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["-", "--", "---"]),
        st.text("abfgd=-", max_size=3),
        st.sampled_from(["", "alpha", "gamma", "delta-x", "flag", "--"]),
        st.just("") | TEXT.map("=".__add__),
    ),
)
VALUES = TEXT | OPTION_LIKE
LISTS = st.lists(VALUES, max_size=3)
with tempfile.TemporaryDirectory() as folder:
    PARSED = schema(Path(folder), OPTIONS, "[{name: one, required: true}, {name: rest, type: array}]")


@settings(max_examples=200, deadline=None)
@given(VALUES, LISTS, VALUES, LISTS, VALUES, LISTS)
def test_a_program_reads_exactly_the_values_given_and_never_another_option(a, b, g, d, one, rest):
    words = argv(PARSED, one, rest, alpha=a, beta=b, gamma=g, delta_x=d)
    parsed, places = getopt.gnu_getopt(words, "a:b:", ["gamma=", "delta-x=", "flag"])
    assert [value for name, value in parsed if name == "-a"] == [a]
    assert [value for name, value in parsed if name == "-b"] == b
    assert [value for name, value in parsed if name == "--gamma"] == [g]
    assert [value for name, value in parsed if name == "--delta-x"] == d
    assert len(parsed) == 2 + len(b) + len(d)
    assert places == [one, *rest]


@settings(max_examples=200, deadline=None)
@given(VALUES, LISTS, VALUES, VALUES)
def test_argparse_reads_exactly_the_values_given(a, b, g, one):
    # argparse of Python 3.11 reads --gamma=-- as an empty list (CPython issue 60346 and its kin)
    assume("--" not in (a, g, *b))
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-a", "--alpha")
    parser.add_argument("-b", action="append", default=[])
    parser.add_argument("--gamma")
    parser.add_argument("--flag", action="store_true")
    parser.add_argument("one")
    found = parser.parse_args(argv(PARSED, one, alpha=a, beta=b, gamma=g))
    assert vars(found) == {"alpha": a, "b": b, "gamma": g, "one": one, "flag": False}


async def test_values_reach_a_real_process_unchanged(tmp_path):
    values = [
        "",
        " ",
        "\n",
        "a b",
        "'\"\\",
        "$HOME `id` *",
        "-x",
        "--",
        "--a=b",
        "é🙂\u2028",
        "%s{}",
        "\udc80",
        "x" * 100_000,
    ]
    text = f"name: x\ncommand: {PRINT_ARGV}\nschema: {{positional: [{{name: a, type: array}}]}}"
    async with running() as runner:
        words = json.loads(await cli_tool(tmp_path, text, runner).call(None, [values], {}))
    assert words == ["--", *values]


def test_names_are_callable_as_python_names_and_as_they_are_written(tmp_path):
    tool = schema(tmp_path, "{max-time: {}, from: {}, n: {type: boolean}, on: {}, http1.1: {type: boolean}}")
    assert argv(tool, max_time="5", from_="a", n=True, on="b", http1_1=True) == (
        ["--max-time", "5", "--from", "a", "-n", "--on", "b", "--http1.1"]
    )
    assert argv(tool, **{"max-time": "5", "from": "a"}) == ["--max-time", "5", "--from", "a"]
    assert tool.info.callables[0].signature() == (
        "(*, max_time: str = None, from_: str = None, n: bool = False, on: str = None, http1_1: bool = False)"
    )


def test_arguments_without_a_name_bind_to_the_positionals_in_order(tmp_path):
    tool = schema(tmp_path, "{o: {}}", "[{name: a}, {name: b}, {name: c, type: array}]")
    assert argv(tool, "1", "2", ["3", "4"]) == ["1", "2", "3", "4"]
    assert argv(tool, "1", b="2") == ["1", "2"]
    with pytest.raises(ToolArgumentError, match=r"at most 3 arguments without a name \(a, b, c\), 4 given"):
        argv(tool, "1", "2", ["3"], "4")
    with pytest.raises(ToolArgumentError, match="'a' is given twice"):
        argv(tool, "1", a="2")


def test_a_positional_cannot_slip_into_the_place_of_one_left_out(tmp_path):
    tool = schema(tmp_path, positional="[{name: source}, {name: target}]")
    with pytest.raises(ToolArgumentError, match="'target' needs 'source' as well"):
        argv(tool, target="t")


@pytest.mark.parametrize(
    ("options", "value", "problem"),
    [
        ("{a: {type: integer}}", "5", "takes an integer, not str '5'; pass the number without quotes"),
        ("{a: {type: integer}}", True, "takes an integer, not bool True"),
        ("{a: {type: integer}}", 5.0, "takes an integer, not float 5.0"),
        ("{a: {type: number}}", "5", "takes a number, not str '5'; pass the number without quotes"),
        ("{a: {type: number}}", False, "takes a number, not bool False"),
        ("{a: {type: boolean}}", 1, "takes True or False, not int 1"),
        ("{a: {type: boolean}}", "true", "takes True or False, not str 'true'"),
        ("{a: {type: string}}", 5, r"takes a string, not int 5; pass str\(...\) of it"),
        ("{a: {type: string}}", b"x", "takes a string, not bytes b'x'"),
        ("{a: {type: string}}", "x\0y", "has a NUL character"),
        ("{a: {type: string}}", "\ud800", "has a lone surrogate"),
        ("{a: {type: array}}", "x y", r"takes a list, not str 'x y'; pass \['x y'\]"),
        ("{a: {type: array}}", {"x": 1}, "takes a list, not dict"),
        ("{a: {type: array}}", [["x"]], r"takes a list of strings, not one with list \['x'\]"),
        ("{a: {type: array}}", ["x\0"], "has a NUL character"),
        ("{a: {enum: [no, yes]}}", "maybe", "takes one of 'no', 'yes', not str 'maybe'"),
        ("{a: {type: array, enum: [x]}}", ["x", "y"], "takes one of 'x', not str 'y'"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_reason(tmp_path, options, value, problem):
    with pytest.raises(ToolArgumentError, match=rf"^tools\.x: 'a' {problem}"):
        argv(schema(tmp_path, options), a=value)


def test_values_of_the_right_type_are_written_plainly(tmp_path):
    tool = schema(tmp_path, "{n: {type: number}, i: {type: integer, enum: [1, 2]}, p: {}, s: {enum: [no, 1.0]}}")
    assert argv(tool, n=5, i=2, p=PurePosixPath("a/b"), s="no") == [
        "-n",
        "5",
        "-i",
        "2",
        "-p",
        "a/b",
        "-s",
        "no",
    ]
    assert argv(tool, n=0.5, s="1.0", p="") == ["-n", "0.5", "-p", "", "-s", "1.0"]


def test_none_means_not_given(curl):
    assert argv(curl, "u", data=None, silent=None) == ["u"]
    with pytest.raises(ToolArgumentError, match="missing 'url'"):
        argv(curl, None)


def test_a_default_of_the_schema_is_passed_unless_the_caller_gives_another_value(tmp_path):
    tool = schema(tmp_path, "{q: {type: boolean, default: true}, m: {default: GET}, h: {type: array, default: [a, b]}}")
    assert argv(tool) == ["-q", "-m", "GET", "-h", "a", "-h", "b"]
    assert argv(tool, q=False, m="PUT", h=[]) == ["-m", "PUT"]


def test_a_required_array_needs_an_item(tmp_path):
    tool = schema(tmp_path, positional="[{name: files, type: array, required: true}]")
    with pytest.raises(ToolArgumentError, match="missing 'files'; it takes: files"):
        argv(tool, [])


def test_a_recipe_adds_its_preset_and_takes_its_params_only(curl):
    assert argv(curl, "u", recipe="get") == argv(curl, recipe="get", url="u") == ["-s", "-L", "u"]
    with pytest.raises(ToolArgumentError, match=r"^tools\.curl\.get: no argument 'silent'. Valid: url$"):
        argv(curl, "u", recipe="get", silent=False)


def test_the_params_of_a_recipe_bind_in_their_order_and_have_their_own_defaults(curl):
    assert argv(curl, "u", recipe="post") == ["-d", "{}", "u"]
    assert argv(curl, "u", "x", 5, recipe="post") == ["-d", "x", "--max-time", "5", "u"]
    assert curl.info.callable("post").signature() == "post(url: str, data: str = '{}', max_time: int = None)"


def test_an_unknown_recipe_or_argument_names_the_nearest_and_the_valid_ones(curl):
    with pytest.raises(
        ToolNotFoundError, match=r"tools\.curl has no recipe 'gett'; did you mean 'get'\? Valid: get, post"
    ):
        argv(curl, recipe="gett")
    with pytest.raises(
        ToolArgumentError, match=r"tools\.curl: no argument 'max_tim'; did you mean 'max_time'\? Valid: url"
    ):
        argv(curl, "u", max_tim=5)
