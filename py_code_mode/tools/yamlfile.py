"""YAML read with its line numbers, so that every error can name the line and the key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from py_code_mode.errors import ToolDefinitionError

from .hints import nearest

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Numbers: Any = yaml.constructor.SafeConstructor
_TAG = "tag:yaml.org,2002:"
_WORDS = {
    "null": "nothing",
    "bool": "a boolean",
    "int": "an integer",
    "float": "a number",
    "str": "text",
    "seq": "a list",
    "map": "a mapping",
}
# A plain scalar of one of these tags is text where text is expected, exactly as it was written.
_TEXT_TAGS = frozenset(_TAG + name for name in ("str", "bool", "int", "float", "timestamp"))


@dataclass(frozen=True, slots=True)
class Entry:
    """A place in a YAML file, read as what the reader expects there.

    ``path`` is that of the file, or the address of what is none. ``key`` is its dotted path in the file
    (``recipes.get.params``, ``""`` for the whole file), ``line`` counts from 1. Every method raises
    ToolDefinitionError when something else is there.
    """

    path: Path | str
    key: str
    line: int
    node: yaml.Node

    @classmethod
    def parse(cls, path: Path | str, content: bytes) -> Entry:
        """The whole of the file ``path``, whose bytes are ``content``."""
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise _error(path, line, "not UTF-8 text") from None
        try:
            node = yaml.compose(text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            problem = ", ".join(part for part in (error.context, error.problem) if part)
            raise _error(path, mark.line + 1 if mark else 1, f"not valid YAML: {problem}") from None
        except (yaml.YAMLError, RecursionError) as error:
            raise _error(path, 1, f"not valid YAML: {' '.join(str(error).split())}") from None
        if node is None:
            raise _error(path, 1, "the file is empty; a tool needs at least `name` and `command`")
        return cls(path, "", node.start_mark.line + 1, node)

    def error(self, problem: str) -> ToolDefinitionError:
        """The error to raise for this place; names the file, the line and the key."""
        return _error(self.path, self.line, f"{self.key}: {problem}" if self.key else problem)

    @property
    def is_null(self) -> bool:
        """True when nothing, or ``null``, is written there."""
        return bool(self.node.tag == f"{_TAG}null")

    @property
    def is_list(self) -> bool:
        """True when a list is written there."""
        return isinstance(self.node, yaml.SequenceNode)

    def value(self) -> str:
        """What is there, for a message."""
        found = _WORDS.get(self.node.tag.removeprefix(_TAG), f"a value tagged {self.node.tag}")
        if isinstance(self.node, yaml.ScalarNode) and not self.is_null:
            return f"{found} ({self.node.value[:80]})"
        return found

    def text(self, expected: str = "text") -> str:
        """Text as it is written: ``no``, ``1.0`` and ``2024-01-01`` stay these characters."""
        if not isinstance(self.node, yaml.ScalarNode) or self.node.tag not in _TEXT_TAGS:
            raise self.error(f"{expected} expected, {self.value()} found")
        if "\0" in self.node.value:
            raise self.error("text without NUL characters expected")
        return str(self.node.value)

    def boolean(self) -> bool:
        """``true``, ``false`` and the other words of YAML 1.1 for them."""
        if self.node.tag != f"{_TAG}bool":
            raise self.error(f"true or false expected, {self.value()} found")
        return str(self.node.value).lower() in {"true", "yes", "on"}

    def integer(self) -> int:
        """A whole number, not quoted."""
        if isinstance(self.node, yaml.ScalarNode) and self.node.tag == f"{_TAG}int":
            try:
                return int(_Numbers().construct_yaml_int(self.node))
            except ValueError:
                pass  # a tag of its own, `!!int x`
        raise self.error(f"an integer expected, {self.value()} found")

    def number(self) -> int | float:
        """An integer or a number with a fraction, not quoted."""
        if isinstance(self.node, yaml.ScalarNode) and self.node.tag == f"{_TAG}float":
            try:
                return float(_Numbers().construct_yaml_float(self.node))
            except ValueError:
                pass
        if self.node.tag == f"{_TAG}int":
            return self.integer()
        raise self.error(f"a number expected, {self.value()} found")

    def items(self) -> list[Entry]:
        """The items of a list; none when nothing is written."""
        if self.is_null:
            return []
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.error(f"a list expected, {self.value()} found")
        return [
            Entry(self.path, f"{self.key}[{index}]", node.start_mark.line + 1, node)
            for index, node in enumerate(self.node.value)
        ]

    def entries(self) -> dict[str, Entry]:
        """The entries of a mapping with keys of the author's choice; none when nothing is written.

        A key is text as it is written: an option may be called ``on`` or ``4``.
        """
        if self.is_null:
            return {}
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error(f"a mapping expected, {self.value()} found")
        found: dict[str, Entry] = {}
        for key_node, node in self.node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise _error(self.path, line, f"{self._inside()}a key must be text")
            name = str(key_node.value)
            entry = Entry(self.path, f"{self.key}.{name}" if self.key else name, line, node)
            if name in found:
                raise entry.error(f"written twice, first in line {found[name].line}")
            found[name] = entry
        return found

    def fields(self, known: Iterable[str]) -> dict[str, Entry]:
        """The entries of a mapping with fixed keys, without those where nothing is written."""
        known = tuple(known)
        entries = self.entries()
        for name, entry in entries.items():
            if name not in known:
                where = self._inside()
                raise _error(self.path, entry.line, f"{where}unknown key {name!r}{nearest(name, known)}")
        return {name: entry for name, entry in entries.items() if not entry.is_null}

    def peek(self, name: str) -> str | None:
        """The text at the key ``name`` of this mapping, None when there is no such text."""
        entry = self.entries().get(name)
        return str(entry.node.value) if entry and isinstance(entry.node, yaml.ScalarNode) else None

    def required(self, fields: Mapping[str, Entry], name: str) -> Entry:
        """The entry ``name`` of ``fields``, which has to be there."""
        if name not in fields:
            raise self.error(f"the key {name!r} is missing")
        return fields[name]

    def _inside(self) -> str:
        return f"{self.key}: " if self.key else ""


def _error(path: Path | str, line: int, problem: str) -> ToolDefinitionError:
    return ToolDefinitionError(f"{path}:{line}: {problem}", path=str(path))
