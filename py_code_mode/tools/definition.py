"""``type: cli`` definitions: the YAML of one tool as checked, frozen objects."""

from __future__ import annotations

import keyword
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from .hints import as_identifier, nearest
from .values import TYPES, Argument, ArgumentType, BadValueError
from .yamlfile import Entry

MAX_OUTPUT = 10 * 1024 * 1024
"""Bytes that a tool may write unless its definition says otherwise."""

RESERVED = frozenset({"list", "search", "call_async"})
"""Names that code finds on ``tools`` and on every tool, so no tool or recipe can have them."""

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""``${NAME}`` in a value of ``env``."""

_TOOL_KEYS = (
    "name",
    "type",
    "description",
    "command",
    "timeout",
    "tags",
    "schema",
    "recipes",
    "env",
    "end_of_options",
    "max_output",
)
_ARGUMENT_KEYS = ("type", "required", "description", "default", "enum")
_OPTION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named way to call the tool: fixed values, and what a caller may add.

    Both are keyed by ``Argument.python_name``; a param has a default and a description of its own.
    """

    name: str
    description: str
    preset: Mapping[str, Any]
    params: Mapping[str, tuple[Any, str]]


@dataclass(frozen=True, slots=True)
class CliDefinition:
    """A command-line tool as its file describes it.

    ``command`` is the program with its first arguments: a list in the file, or a string that is split as a
    shell would split it (``shlex``), so a path with spaces is quoted or put into a list. ``timeout`` is in
    seconds (None: no limit but the cell's), ``max_output`` in bytes.
    """

    path: Path | str
    name: str
    description: str
    tags: tuple[str, ...]
    command: tuple[str, ...]
    options: tuple[Argument, ...]
    positional: tuple[Argument, ...]
    recipes: tuple[Recipe, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None
    max_output: int = MAX_OUTPUT
    end_of_options: bool = True

    @property
    def variables(self) -> frozenset[str]:
        """The variables of the host's environment that ``env`` refers to."""
        return frozenset(name for text in self.env.values() for name in VARIABLE.findall(text))


def read_definition(file: Entry) -> CliDefinition:
    """The definition that ``file`` holds.

    Raises:
        ToolDefinitionError: it is malformed; the message has file, line and key, and what was expected.
    """
    fields = file.fields(_TOOL_KEYS)
    name = _callable_name(file.required(fields, "name"), "a tool")
    command = _command(file.required(fields, "command"), file.path)
    options, positional = _schema(fields.get("schema"))
    recipes = fields["recipes"].entries() if "recipes" in fields else {}
    return CliDefinition(
        path=file.path,
        name=name,
        description=_text(fields, "description"),
        tags=tuple(tag.text() for tag in fields["tags"].items()) if "tags" in fields else (),
        command=command,
        options=options,
        positional=positional,
        recipes=tuple(_recipe(key, entry, (*positional, *options)) for key, entry in recipes.items()),
        env=_env(fields.get("env")),
        timeout=_above_zero(fields.get("timeout"), Entry.number, "seconds", None),
        max_output=_above_zero(fields.get("max_output"), Entry.integer, "bytes", MAX_OUTPUT),
        end_of_options=fields["end_of_options"].boolean() if "end_of_options" in fields else True,
    )


def _text(fields: Mapping[str, Entry], name: str) -> str:
    return fields[name].text().strip() if name in fields else ""


def _callable_name(entry: Entry, what: str, name: str | None = None) -> str:
    """``name`` (by default the entry's text) if Python code can write it after a dot."""
    name = entry.text() if name is None else name
    if name in RESERVED:
        raise entry.error(f"{what} cannot be called {name!r}: every tool has {', '.join(sorted(RESERVED))}")
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        better = as_identifier(name).lstrip("_")
        hint = f"; {better!r} would do" if better.isidentifier() and better not in RESERVED else ""
        raise entry.error(f"{what} needs a Python name that does not begin with '_', not {name!r}{hint}")
    return name


def _command(entry: Entry, path: Path | str) -> tuple[str, ...]:
    if entry.is_list:
        words = [item.text() for item in entry.items()]
    else:
        try:
            words = shlex.split(entry.text("a program, or a list with its first arguments"))
        except ValueError as error:
            raise entry.error(f"cannot be split into words: {error}") from None
    if not words or not words[0]:
        raise entry.error("names no program")
    if isinstance(path, str) and "/" in words[0] and not words[0].startswith(("/", "~")):
        raise entry.error(f"{words[0]!r} is relative to a file, and this is none: a name on PATH or an absolute path")
    return tuple(words)


def _above_zero(entry: Entry | None, read: Callable[[Entry], Any], unit: str, default: Any) -> Any:
    if entry is None:
        return default
    value = read(entry)
    if not 0 < value < float("inf"):
        raise entry.error(f"a number of {unit} above 0 expected, not {value}")
    return value


def _env(entry: Entry | None) -> dict[str, str]:
    env: dict[str, str] = {}
    for name, value in (entry.entries() if entry else {}).items():
        text = value.text()
        if not name or "=" in name or "\0" in name:
            raise value.error(f"{name!r} cannot be the name of an environment variable")
        if "${" in VARIABLE.sub("", text):
            raise value.error("only ${NAME} is read from the environment; what follows '${' here is not a name and '}'")
        env[name] = text
    return env


def _schema(entry: Entry | None) -> tuple[tuple[Argument, ...], tuple[Argument, ...]]:
    fields = entry.fields(("options", "positional")) if entry else {}
    entries = fields["options"].entries() if "options" in fields else {}
    places = fields["positional"].items() if "positional" in fields else []
    options = [(_option(name, option), option) for name, option in entries.items()]
    positional = [(_positional(place), place) for place in places]
    names: dict[str, Entry] = {}
    flags: dict[str, Entry] = {}
    for argument, place in (*positional, *options):
        _claim(names, argument.python_name, place)
        if argument.flag is not None:
            _claim(flags, argument.flag, place)
    for argument, place in positional[:-1]:
        if argument.type == "array":
            raise place.error("only the last positional can be an array")
    return tuple(argument for argument, _ in options), tuple(argument for argument, _ in positional)


def _claim(taken: dict[str, Entry], name: str, place: Entry) -> None:
    if name in taken:
        raise place.error(f"{name!r} is taken by {taken[name].key} (line {taken[name].line})")
    taken[name] = place


def _option(name: str, entry: Entry) -> Argument:
    fields = entry.fields(("short", *_ARGUMENT_KEYS))
    if not _OPTION_NAME.fullmatch(name):
        bare = name.lstrip("-")
        hint = f"; write {bare!r}" if _OPTION_NAME.fullmatch(bare) else ""
        raise entry.error(f"an option's name is letters, digits, '-', '_' and '.', not {name!r}{hint}")
    flag = f"--{name}" if len(name) > 1 else f"-{name}"
    if "short" in fields:
        short = fields["short"].text()
        if not (len(short) == 1 and short.isascii() and short.isalnum()):
            raise fields["short"].error(f"one letter or digit expected, without a dash, not {short!r}")
        flag = f"-{short}"
    return _argument(name, flag, entry, fields)


def _positional(entry: Entry) -> Argument:
    fields = entry.fields(("name", *_ARGUMENT_KEYS))
    name_entry = entry.required(fields, "name")
    name = name_entry.text()
    if not as_identifier(name):
        raise name_entry.error(f"{name!r} has no letter or digit")
    argument = _argument(name, None, entry, fields)
    if argument.type == "boolean":
        raise fields["type"].error("a positional cannot be a boolean: a flag has no place of its own")
    return argument


def _argument(name: str, flag: str | None, entry: Entry, fields: Mapping[str, Entry]) -> Argument:
    kind = fields["type"].text() if "type" in fields else "string"
    if kind not in TYPES:
        raise fields["type"].error(f"unknown type {kind!r}{nearest(kind, TYPES)}")
    bare = Argument(name, as_identifier(name), cast(ArgumentType, kind), flag)
    enum = _enum(fields.get("enum"), bare)
    limited = Argument(name, bare.python_name, bare.type, flag, enum=enum)
    default = read_value(fields["default"], limited) if "default" in fields else None
    required = fields["required"].boolean() if "required" in fields else False
    return Argument(
        name=name,
        python_name=bare.python_name,
        type=bare.type,
        flag=flag,
        required=required and default is None,
        default=default,
        enum=enum,
        description=_text(fields, "description"),
    )


def _enum(entry: Entry | None, argument: Argument) -> tuple[Any, ...] | None:
    if entry is None:
        return None
    if argument.type == "boolean":
        raise entry.error("a boolean has no enum")
    items = entry.items()
    if not items:
        raise entry.error("at least one value expected")
    return tuple(_scalar(item, "string" if argument.type == "array" else argument.type) for item in items)


def read_value(entry: Entry, argument: Argument) -> Any:
    """The value of ``argument`` that is written at ``entry`` (a default or a preset)."""
    if argument.type == "array":
        value: Any = [item.text() for item in entry.items()]
    else:
        value = _scalar(entry, argument.type)
    try:
        return argument.check(value)
    except BadValueError as error:
        raise entry.error(str(error)) from None


def _scalar(entry: Entry, kind: str) -> Any:
    readers: dict[str, Callable[[Entry], Any]] = {
        "boolean": Entry.boolean,
        "string": Entry.text,
        "integer": Entry.integer,
        "number": Entry.number,
    }
    return readers[kind](entry)


def _recipe(name: str, entry: Entry, arguments: Sequence[Argument]) -> Recipe:
    _callable_name(entry, "a recipe", name)
    fields = entry.fields(("description", "preset", "params"))
    preset: dict[str, Any] = {}
    for argument, place in _named(fields.get("preset"), arguments):
        preset[argument.python_name] = read_value(place, argument)
    params: dict[str, tuple[Any, str]] = {}
    for argument, place in _named(fields.get("params"), arguments):
        if argument.python_name in preset:
            raise place.error("in `preset` as well; give the param a `default` instead")
        own = place.fields(("default", "description"))
        default = read_value(own["default"], argument) if "default" in own else None
        params[argument.python_name] = (default, _text(own, "description"))
    for argument in arguments:
        if argument.required and argument.python_name not in preset.keys() | params.keys():
            raise entry.error(f"{argument.name!r} is required, but neither in `preset` nor in `params`")
    return Recipe(name, _text(fields, "description"), preset, params)


def _named(entry: Entry | None, arguments: Sequence[Argument]) -> Iterator[tuple[Argument, Entry]]:
    """The entries of ``preset`` or ``params``, each with the argument of the schema that it names."""
    by_name = {word: argument for argument in arguments for word in (argument.name, argument.python_name)}
    seen: dict[str, Entry] = {}
    for word, place in (entry.entries() if entry else {}).items():
        if word not in by_name:
            hint = nearest(word, [argument.name for argument in arguments]) or "; the schema is empty"
            raise place.error(f"{word!r} is not an option or positional of the schema{hint}")
        _claim(seen, by_name[word].python_name, place)
        yield by_name[word], place
