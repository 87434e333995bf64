"""Definitions: what is read from a file, and what is refused with file, line and key."""

from __future__ import annotations

from textwrap import dedent

import pytest

from py_code_mode.errors import ToolDefinitionError
from py_code_mode.tools.definition import MAX_OUTPUT, read_definition
from py_code_mode.tools.yamlfile import Entry


def read(tmp_path, text):
    content = dedent(text).encode() if isinstance(text, str) else text
    return read_definition(Entry.parse(tmp_path / "tool.yaml", content))


def test_a_definition_has_its_values_and_the_defaults_of_what_it_leaves_out(tmp_path):
    definition = read(tmp_path, "{name: ls, command: ls -l, timeout: 0.5, tags: [files, 2024], max_output: 10}")
    assert (definition.name, definition.command, definition.timeout) == ("ls", ("ls", "-l"), 0.5)
    assert (definition.tags, definition.max_output) == (("files", "2024"), 10)
    bare = read(tmp_path, "name: ls\ncommand: ls\ndescription:\nschema:\nrecipes:\ntags:\nenv:\n")
    assert (bare.description, bare.options, bare.recipes, bare.tags) == ("", (), (), ())
    assert (bare.timeout, bare.max_output, bare.end_of_options) == (None, MAX_OUTPUT, True)


def test_text_is_what_the_file_has_and_no_guess_of_yaml(tmp_path):
    definition = read(
        tmp_path,
        """
        name: x
        command: [x, 010, on]
        env: {DEBUG: 1, FLAG: yes}
        schema:
          options:
            no: {}
            4: {type: boolean}
            a: {enum: [on, off, 1.0, 2024-01-01], default: off}
        """,
    )
    assert definition.command == ("x", "010", "on")
    assert definition.env == {"DEBUG": "1", "FLAG": "yes"}
    assert [option.name for option in definition.options] == ["no", "4", "a"]
    assert definition.options[2].enum == ("on", "off", "1.0", "2024-01-01")
    assert definition.options[2].default == "off"


def test_a_command_is_split_like_a_shell_line_or_taken_word_by_word(tmp_path):
    assert read(tmp_path, "{name: x, command: git 'log all'}").command == ("git", "log all")
    assert read(tmp_path, "{name: x, command: [my program, log all]}").command == ("my program", "log all")


HEAD = "name: x\ncommand: x\n"

MALFORMED = {
    "an empty file": ("", 1, "the file is empty"),
    "a comment only": ("# nothing\n", 1, "the file is empty"),
    "no mapping": ("- name: x\n", 1, "a mapping expected, a list found"),
    "bytes": (b"name: x\ncommand: \xff\n", 2, "not UTF-8 text"),
    "broken yaml": ("name: x\ncommand: [a\n", 3, "not valid YAML: while parsing a flow sequence"),
    "a tab": ("name: x\n\tcommand: x\n", 2, "not valid YAML"),
    "a control character": ("name: x\ncommand: \x01\n", 1, "not valid YAML"),
    "two documents": (HEAD + "---\n" + HEAD, 3, "not valid YAML: expected a single document"),
    "an unknown anchor": ("name: *x\n", 1, "not valid YAML: found undefined alias"),
    "no name": ("command: x\n", 1, "the key 'name' is missing"),
    "no command": ("name: x\ncommand:\n", 1, "the key 'command' is missing"),
    "an unknown key": (
        HEAD + "recipies: {}\n",
        3,
        "unknown key 'recipies'; did you mean 'recipes'? Valid: name",
    ),
    "a key twice": (HEAD + "timeout: 1\nname: y\n", 4, "name: written twice, first in line 1"),
    "an option twice": (
        HEAD + "schema:\n  options:\n    a: {}\n    b: {}\n    a: {}\n",
        7,
        "schema.options.a: written twice, first in line 5",
    ),
    "a key that is a list": (HEAD + "? [a]\n: b\n", 3, "a key must be text"),
    "a name that is no identifier": ("name: my-tool\ncommand: x\n", 1, "not 'my-tool'; 'my_tool' would do"),
    "a keyword as a name": ("name: import\ncommand: x\n", 1, "not 'import'; 'import_' would do"),
    "a private name": ("name: _x\ncommand: x\n", 1, "not '_x'; 'x' would do"),
    "a reserved name": ("command: x\nname: search\n", 2, "a tool cannot be called 'search'"),
    "a reserved recipe": (
        HEAD + "recipes:\n  list: {}\n",
        4,
        "recipes.list: a recipe cannot be called 'list'",
    ),
    "a recipe that is no identifier": (HEAD + "recipes:\n  a b: {}\n", 4, "not 'a b'; 'a_b' would do"),
    "a list as a name": ("name: [x]\ncommand: x\n", 1, "name: text expected, a list found"),
    "an empty command": ("name: x\ncommand: ''\n", 2, "command: names no program"),
    "an open quote": (
        "name: x\ncommand: a 'b\n",
        2,
        "command: cannot be split into words: No closing quotation",
    ),
    "a mapping as a command": ("name: x\ncommand: {a: b}\n", 2, "command: a program, or a list"),
    "a NUL": ('name: x\ncommand: "a\\0"\n', 2, "command: text without NUL characters expected"),
    "a quoted timeout": (HEAD + "timeout: '5'\n", 3, "timeout: a number expected, text (5) found"),
    "a timeout of nothing": (
        HEAD + "timeout: 0\n",
        3,
        "timeout: a number of seconds above 0 expected, not 0",
    ),
    "a timeout that is no number": (HEAD + "timeout: .nan\n", 3, "timeout: a number of seconds above 0"),
    "a size with a unit": (
        HEAD + "max_output: 10MB\n",
        3,
        "max_output: an integer expected, text (10MB) found",
    ),
    "text as tags": (HEAD + "tags: http\n", 3, "tags: a list expected, text (http) found"),
    "a list in tags": (HEAD + "tags:\n- a\n- [b]\n", 5, "tags[1]: text expected, a list found"),
    "text as a boolean": (HEAD + "end_of_options: nope\n", 3, "true or false expected, text (nope) found"),
    "a shell default": (HEAD + "env:\n  T: ${A:-b}\n", 4, "env.T: only ${NAME} is read from the environment"),
    "a wrong variable name": (HEAD + "env: {A=B: c}\n", 3, "cannot be the name of an environment variable"),
    "an unknown type": (
        HEAD + "schema:\n  options:\n    a:\n      type: int\n",
        6,
        "schema.options.a.type: unknown type 'int'; did you mean 'integer'? Valid: boolean, string",
    ),
    "an unknown key of an option": (
        HEAD + "schema: {options: {a: {shrt: a}}}\n",
        3,
        "schema.options.a: unknown key 'shrt'; did you mean 'short'?",
    ),
    "an option with dashes": (HEAD + "schema: {options: {--max: {}}}\n", 3, "not '--max'; write 'max'"),
    "a long short": (HEAD + "schema: {options: {a: {short: -s}}}\n", 3, "one letter or digit expected"),
    "one short for two": (
        HEAD + "schema:\n  options:\n    a: {short: s}\n    b: {short: s}\n",
        6,
        "schema.options.b: '-s' is taken by schema.options.a (line 5)",
    ),
    "two options with one python name": (
        HEAD + "schema:\n  options:\n    a-b: {}\n    a_b: {}\n",
        6,
        "'a_b' is taken by schema.options.a-b (line 5)",
    ),
    "an option named like a positional": (
        HEAD + "schema:\n  options:\n    a: {}\n  positional:\n  - name: a\n",
        5,
        "'a' is taken by schema.positional[0] (line 7)",
    ),
    "a default of another type": (
        HEAD + "schema:\n  options:\n    a: {type: integer, default: x}\n",
        5,
        "schema.options.a.default: an integer expected, text (x) found",
    ),
    "a default outside the enum": (
        HEAD + "schema: {options: {a: {enum: [b], default: c}}}\n",
        3,
        "takes one of 'b'",
    ),
    "an empty enum": (HEAD + "schema: {options: {a: {enum: []}}}\n", 3, "at least one value expected"),
    "an enum of a flag": (
        HEAD + "schema: {options: {a: {type: boolean, enum: [true]}}}\n",
        3,
        "a boolean has no enum",
    ),
    "a flag as a positional": (
        HEAD + "schema: {positional: [{name: a, type: boolean}]}\n",
        3,
        "a positional cannot be a boolean",
    ),
    "an array before the end": (
        HEAD + "schema:\n  positional:\n  - {name: a, type: array}\n  - {name: b}\n",
        5,
        "only the last positional can be an array",
    ),
    "a positional without a name": (
        HEAD + "schema:\n  positional:\n  - type: string\n",
        5,
        "the key 'name' is missing",
    ),
    "a param not in the schema": (
        HEAD + "schema: {options: {url: {}}}\nrecipes:\n  get:\n    params:\n      ulr: {}\n",
        7,
        "recipes.get.params.ulr: 'ulr' is not an option or positional of the schema; did you mean 'url'?",
    ),
    "a preset of another type": (
        HEAD + "schema: {options: {a: {type: boolean}}}\nrecipes:\n  get:\n    preset: {a: 1}\n",
        6,
        "recipes.get.preset.a: true or false expected, an integer (1) found",
    ),
    "a param that is preset": (
        HEAD + "schema: {options: {a: {}}}\nrecipes:\n  get:\n    preset: {a: b}\n    params: {a: {}}\n",
        7,
        "recipes.get.params.a: in `preset` as well",
    ),
    "a recipe that could never be called": (
        HEAD + "schema: {positional: [{name: a, required: true}]}\nrecipes:\n  get: {}\n",
        5,
        "recipes.get: 'a' is required, but neither in `preset` nor in `params`",
    ),
}


@pytest.mark.parametrize(("text", "line", "problem"), MALFORMED.values(), ids=list(MALFORMED))
def test_a_malformed_file_is_refused_with_its_path_line_and_reason(tmp_path, text, line, problem):
    with pytest.raises(ToolDefinitionError) as refused:
        read(tmp_path, text)
    assert refused.value.message.startswith(f"{tmp_path / 'tool.yaml'}:{line}: ")
    assert problem in refused.value.message
    assert refused.value.path == str(tmp_path / "tool.yaml")


def test_aliases_are_followed_and_a_file_that_repeats_itself_does_no_harm(tmp_path):
    text = "name: x\ncommand: x\nschema:\n  options:\n    a: &a {type: integer}\n    b: *a\n"
    assert [option.type for option in read(tmp_path, text).options] == ["integer", "integer"]
    with pytest.raises(ToolDefinitionError, match="text expected, a list found"):
        read(tmp_path, "name: x\ncommand: x\ntags: &a [*a]\n")
