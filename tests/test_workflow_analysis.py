"""What a workflow needs, and its tags: found in the source, which is never run."""

from __future__ import annotations

import ast
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from py_code_mode.workflows.analysis import MetadataError, Requires, analyse, with_tags


def requires(source: str) -> Requires:
    return analyse(ast.parse(source), source)


def block(*lines: str) -> str:
    return "".join(f"{line}\n" for line in ("# /// script", *(f"# {line}".rstrip() for line in lines), "# ///"))


USES = '''"""Use much."""
import json, os.path
import pandas as pd
from numpy.linalg import norm
from . import neighbour
from kernel_bootstrap import errors

helper = lambda: tools.from_lambda()

class Client:
    tool = tools.from_class
    def get(self):
        return tools.from_method.get(url="x")

async def run(url: str, word=tools.from_default):
    import httpx
    tools.curl.get(url=url), tools.curl(url=url), tools.list(), tools.search("x")
    getattr(tools, "by-name")
    await asyncio.gather(*(workflows.several.call_async(row) for row in [tools.in_comprehension.go() for _ in "ab"]))
    workflows.plain(1), workflows.invoke("invoked", 2), workflows.invoke(word), workflows.list(), workflows.get("x")
    return f"{tools.in_fstring()} {workflows.kept}"
'''


def test_tools_workflows_and_packages_are_found_wherever_they_are_used():
    assert requires(USES) == Requires(
        tools=(
            "by-name",
            "curl",
            "from_class",
            "from_default",
            "from_lambda",
            "from_method",
            "in_comprehension",
            "in_fstring",
        ),
        workflows=("invoked", "kept", "plain", "several"),
        packages=("httpx", "numpy", "pandas"),
    )


@pytest.mark.parametrize(
    "source",
    [
        "async def run(tools): return tools.mine",
        "async def run(*, tools): return lambda: tools.mine",
        "async def run(*tools): return tools.mine",
        "async def run():\n    tools = open('x')\n    return [tools.mine for _ in 'ab']",
        "async def run():\n    for tools in []: tools.mine()",
        "async def run():\n    with open('x') as tools: tools.mine()",
        "async def run():\n    try: pass\n    except OSError as tools: tools.mine",
        "async def run():\n    import tools\n    tools.mine",
        "import tools\nasync def run(): tools.mine",
        "from mine import box as tools\nasync def run(): tools.mine",
        "async def run(x):\n    match x:\n        case {'a': 1, **tools}: tools.mine",
        "async def run(x):\n    match x:\n        case [*tools]: tools.mine",
        "async def run(x):\n    match x:\n        case int() as tools: tools.mine",
        "async def run(x): return [tools.mine for tools in x]",
        "async def run(x): return {tools.mine: 1 for _, tools in x}",
        "async def run(x): return [y for y in x if (tools := y)], tools.mine",
        "class A:\n    tools = 1\n    x = tools.mine",
        "def tools(): ...\nasync def run(): tools.mine",
        "def f():\n    global tools\n    tools = 1\nasync def run(): tools.mine",
        "def f():\n    tools = 1\n    def g():\n        nonlocal tools\n        tools.mine",
        "f = lambda tools: tools.mine",
    ],
)
def test_a_name_that_the_source_binds_itself_is_not_the_namespace(source):
    assert requires(source).tools == ()


@pytest.mark.parametrize(
    "source",
    [
        "class A:\n    tools = 1\n    def f(self): return tools.theirs",
        "def f(tools): ...\nasync def run(): tools.theirs",
        "async def run(x): return [1 for tools in tools.theirs]",
        "async def run(x): return [tools for tools in x], tools.theirs",
        "def f(tools):\n    def g():\n        global tools\n        return tools.theirs",
        "def f(tools=tools.theirs): ...",
        "async def run(x: tools.theirs): ...",
    ],
)
def test_a_name_bound_elsewhere_leaves_the_namespace_alone(source):
    assert requires(source).tools == ("theirs",)


def test_what_only_type_checkers_read_is_not_needed():
    source = "import typing\nif typing.TYPE_CHECKING:\n    import pandas\nelse:\n    import polars\n"
    assert requires(source).packages == ("polars",)


def test_dependencies_and_tags_are_read_from_the_script_block():
    source = '"""D."""\n' + block(
        'requires-python = ">=3.11"', 'dependencies = [  # both', '  "pandas>=2",', '  "rich[jupyter]",', "]", "",
        "[tool.py-code-mode]", 'tags = ["web", "data", "web"]', "[tool.other]", "x = 1",
    )  # fmt: skip
    found = requires(source)
    assert found.dependencies == ("pandas>=2", "rich[jupyter]")
    assert found.tags == ("data", "web")
    assert requires(source.replace("\n", "\r\n")) == found


@pytest.mark.parametrize(
    "source",
    [
        "x = 1\n",
        "# /// script\n# dependencies = ['a']\nx = 1\n",
        f'"""\n{block("dependencies = 1")}"""\n',
        "# /// other\n# dependencies = 1\n# ///\n",
        block(),
    ],
)
def test_what_is_no_script_block_declares_nothing(source):
    assert requires(source) == Requires()


@pytest.mark.parametrize(
    ("lines", "line", "reason"),
    [
        (["dependencies = ['pandas>=2'", "x = 1"], 4, "not TOML"),
        (["x = 1", "dependencies = 'pandas'"], 4, "'dependencies' in the script block is a list of strings"),
        (["dependencies = [1]"], 3, "list of strings"),
        (["dependencies = [", "  'six',", "  'not a requirement',", "]"], 5, "several requirements"),
        (["dependencies = ['six', 'x @ https://example.com/x.whl']"], 3, "direct URLs"),
        (["dependencies = ['./here']"], 3, "paths"),
        (["dependencies = ['-e .']"], 3, "options"),
        (["dependencies = ['six; python_version > \"3\"']"], 3, "markers"),
        (["[tool]", "py-code-mode = 1"], 4, "is a table"),
        (["tool = 1"], 2, "is a table"),
        (["[tool.py-code-mode]", "tags = 'data'"], 4, "'tags' in the script block is a list of strings"),
        (["[tool.py-code-mode]", "tags = [' ']"], 4, "is no tag"),
    ],
)
def test_a_malformed_block_is_refused_with_its_line(lines, line, reason):
    with pytest.raises(MetadataError, match=reason) as caught:
        requires("# a comment\n" + block(*lines))
    assert caught.value.line == line
    assert str(caught.value) == f"line {line}: {caught.value.reason}"


def test_a_second_block_is_refused():
    with pytest.raises(MetadataError, match="line 5: a second"):
        requires(f"{block('x = 1')}\n{block('y = 1')}")


RUN = "async def run():\n    return 1\n"
MADE = block("[tool.py-code-mode]", 'tags = ["a"]')


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f'"""D."""\n\n{RUN}', f'"""D."""\n\n{MADE}\n{RUN}'),
        ('"""D."""', f'"""D."""\n\n{MADE}\n'),
        (f"#!/usr/bin/python\n{RUN}", f"#!/usr/bin/python\n\n{MADE}\n{RUN}"),
        (f'"D"; x = 1\n{RUN}', f'{MADE}\n"D"; x = 1\n{RUN}'),
        (block("x = 1"), block("x = 1", "[tool.py-code-mode]", 'tags = ["a"]')),
        (block(), MADE),
        (
            block("[tool.py-code-mode] # ours", "", "[[tool.other]]", "tags = 1"),
            block("[tool.py-code-mode] # ours", 'tags = ["a"]', "", "[[tool.other]]", "tags = 1"),
        ),
        (
            block("[tool.'py-code-mode']", "tags = [ # old", " 'x]', # [", "] # kept", "more = '''", "tags = [", "'''"),
            block("[tool.'py-code-mode']", 'tags = ["a"] # kept', "more = '''", "tags = [", "'''"),
        ),
        (block("tool.py-code-mode.tags = []"), block('tool.py-code-mode.tags = ["a"]')),
        (block("[tool]", "py-code-mode.tags=['b', \"c\"]"), block("[tool]", 'py-code-mode.tags=["a"]')),
    ],
)
def test_tags_are_written_and_all_else_is_kept(before, after):
    assert with_tags(before, ["a"]) == after
    assert with_tags(after, ["a"]) == after
    assert requires(after).tags == ("a",)
    assert with_tags(before.replace("\n", "\r\n"), ["a"]).replace("\r\n", "\n") == after


def test_no_tags_leave_a_source_without_them_as_it_is_and_empty_what_it_has():
    assert with_tags(RUN, []) == RUN
    assert with_tags(block("x = 1"), []) == block("x = 1")
    assert with_tags(block("[tool.py-code-mode]", "tags = ['a']"), []) == block("[tool.py-code-mode]", "tags = []")


@pytest.mark.parametrize("tags", ["data", ["a", 1], [""], [" a"], ["a\nb"], ["x" * 101], [str(n) for n in range(51)]])
def test_what_is_no_tag_is_refused(tags):
    with pytest.raises(ValueError, match=r"tag"):
        with_tags(RUN, tags)


def test_tags_in_a_place_that_cannot_be_changed_are_refused_with_what_to_do():
    with pytest.raises(MetadataError, match=r"line 1: write the tags as 'tags = \[...\]' below"):
        with_tags(block("tool = {py-code-mode = {tags = []}}"), ["a"])


PARTS = st.lists(
    st.sampled_from(
        [
            "#!/usr/bin/env python\n",
            "# a comment\n",
            "#\n",
            "\n",
            '"""D."""\n',
            "'''Ölt\n# /// script\n# x\n# ///\n'''  # and a comment\n",
            "from __future__ import annotations\n",
            "import json\n",
            "@decorated\nasync def run(): ...\n",
        ]
    )
).map("".join)


@settings(max_examples=150, deadline=None)
@given(
    PARTS,
    st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=9), min_size=1),
    st.sampled_from(["\n", "\r\n"]),
)
def test_tags_that_are_written_are_read_again_and_the_code_is_the_same(text, tags, newline):
    source = text.replace("\n", newline)
    try:
        before = ast.dump(compile(source, "w", "exec", ast.PyCF_ONLY_AST, dont_inherit=True))
    except SyntaxError:
        return
    tagged = with_tags(source, tags)
    assert requires(tagged).tags == tuple(sorted(set(tags)))
    assert ast.dump(ast.parse(tagged)) == before
    assert ast.get_docstring(ast.parse(tagged)) == ast.get_docstring(ast.parse(source))
    assert with_tags(tagged, tags) == tagged
    assert f"# tags = {json.dumps(list(dict.fromkeys(tags)), ensure_ascii=False)}\n" in tagged.replace(newline, "\n")
