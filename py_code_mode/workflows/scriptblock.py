"""The PEP 723 block of a workflow: what it depends on, and its tags.

# /// script
# dependencies = ["pandas>=2"]
# [tool.py-code-mode]
# tags = ["data"]
# ///
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

_COMMENTS = re.compile(r"(?m)(?:^#(?: .*)?\r?$\n?)+")
_BEGINS = re.compile(r"(?m)^# /// script\r?$\n")
_ENDS = re.compile(r"(?m)^# ///\r?$")
_LINE_END = re.compile(r"\r\n|\r|\n")
_TABLE = ("tool", "py-code-mode")
_PATH = (*_TABLE, "tags")
_MOST_TAGS = 50
_LONGEST_TAG = 100


class MetadataError(ValueError):
    """A block that cannot be used; ``line`` is where, counted from 1, ``reason`` why."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(f"line {line}: {reason}")
        self.reason = reason
        self.line = line


@dataclass(frozen=True, slots=True)
class Declared:
    """What a block says. ``dependencies`` are PEP 508 requirements in their order, ``tags`` are sorted."""

    dependencies: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


_NOTHING = Declared()


@dataclass(frozen=True, slots=True)
class _Block:
    """``toml`` is the content; ``start`` and ``end`` are where it lies in the source, as comment lines."""

    toml: str
    start: int
    end: int
    line: int

    def data(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self.toml)
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"\(at line (\d+), column \d+\)", str(error))
            line = self.line + (int(found[1]) if found else 0)
            raise MetadataError(f"the script block is not TOML: {error}", line) from None

    def line_of(self, text: str) -> int:
        """The line in the source on which ``text`` stands."""
        before, found, _ = self.toml.partition(text)
        return self.line + 1 + before.count("\n") if found else self.line


def declared(tree: ast.Module, source: str) -> Declared:
    """What the block of ``source`` declares, nothing without one. Raises MetadataError."""
    block = _find(tree, source)
    if block is None:
        return _NOTHING
    data = block.data()
    dependencies = _strings(block, data.get("dependencies", []), "dependencies")
    for text in dependencies:
        _check_requirement(block, text)
    tool = data.get("tool", {})
    own = tool.get("py-code-mode", {}) if isinstance(tool, dict) else tool
    if not isinstance(own, dict):
        raise MetadataError("'tool.py-code-mode' in the script block is a table", block.line_of("py-code-mode"))
    tags = _strings(block, own.get("tags", []), "tags")
    reason = _tags_problem(tags)
    if reason is not None:
        raise MetadataError(reason, block.line_of("tags"))
    return Declared(tuple(dependencies), tuple(sorted(set(tags))))


def with_tags(source: str, tags: Collection[str]) -> str:
    """``source`` with ``tags`` as the tags in its block, which is made where there is none; the rest stays as it was.

    Raises:
        MetadataError: the block there is cannot be read, or holds its tags in a way that cannot be changed here.
        ValueError: a tag is empty, too long or has control characters.
        SyntaxError: the source does not parse.
    """
    if isinstance(tags, str) or not isinstance(tags, Collection) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError(f"tags are a list of strings, such as ['data'], not {tags!r}")
    reason = _tags_problem(tags)
    if reason is not None:
        raise ValueError(reason)
    entry = f"tags = [{', '.join(json.dumps(tag, ensure_ascii=False) for tag in dict.fromkeys(tags))}]"
    tree = ast.parse(source)
    block = _find(tree, source)
    if block is None:
        return _with_block(tree, source, entry) if tags else source
    old = block.data()
    new = _with_entry(block.toml, entry, has_tags=bool(tags))
    if not _says(new, old, list(dict.fromkeys(tags))):
        raise MetadataError(
            "write the tags as 'tags = [...]' below '[tool.py-code-mode]' in the script block", block.line
        )
    if new == block.toml:
        return source
    ending = _LINE_END.search(source, block.start)
    assert ending is not None
    lines = [f"# {line}" if line else "#" for line in new.removesuffix("\n").split("\n")]
    return source[: block.start] + "".join(f"{line}{ending[0]}" for line in lines) + source[block.end :]


def _find(tree: ast.Module, source: str) -> _Block | None:
    if "# /// script" not in source:
        return None
    found: list[_Block] = []
    in_strings = _lines_in_strings(tree)
    line, counted = 1, 0
    # As in the PEP the last "# ///" of a run of comments ends the block, so that a run has one block at most.
    for run in _COMMENTS.finditer(source):
        begin = _BEGINS.search(source, run.start(), run.end())
        ends = list(_ENDS.finditer(source, begin.end(), run.end())) if begin else []
        if begin is None or not ends:
            continue
        line += source.count("\n", counted, begin.start())
        counted = begin.start()
        if line in in_strings:
            continue
        if found:
            raise MetadataError("a second '# /// script' block; a file has one", line)
        start, end = begin.end(), ends[-1].start()
        lines = source[start:end].replace("\r\n", "\n").split("\n")
        found.append(_Block("\n".join(text[2:] for text in lines), start, end, line))
    return found[0] if found else None


def _lines_in_strings(tree: ast.Module) -> set[int]:
    spans = {
        (node.lineno, node.end_lineno or node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    }
    return {line for first, last in spans for line in range(first + 1, last + 1)}


def _strings(block: _Block, value: Any, key: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise MetadataError(f"{key!r} in the script block is a list of strings", block.line_of(key))
    return value


def _check_requirement(block: _Block, text: str) -> None:
    from py_code_mode.deps.requirements import parse_runtime  # packaging takes a while to import
    from py_code_mode.errors import RequirementError

    try:
        parse_runtime(text)
    except RequirementError as error:
        raise MetadataError(f"the dependency {error.message}", block.line_of(text)) from None


def _tags_problem(tags: Collection[str]) -> str | None:
    if len(tags) > _MOST_TAGS:
        return f"{len(tags)} tags are more than {_MOST_TAGS}"
    for tag in tags:
        if not tag.strip() or tag != tag.strip() or not tag.isprintable() or len(tag) > _LONGEST_TAG:
            return (
                f"{tag[:_LONGEST_TAG]!r} is no tag: a word or a few, of at most {_LONGEST_TAG} characters, on one line"
            )
    return None


def _says(toml: str, old: dict[str, Any], tags: list[str]) -> bool:
    """Whether ``toml`` says what ``old`` did, but for the tags."""
    try:
        new = tomllib.loads(toml)
    except tomllib.TOMLDecodeError:
        return False
    tables = []
    for data in (old, new):
        tool = data.setdefault("tool", {})
        own = tool.setdefault("py-code-mode", {}) if isinstance(tool, dict) else None
        if not isinstance(own, dict):
            return False
        tables.append(own)
    tables[0].pop("tags", None)
    return tables[1].pop("tags", []) == tags and old == new


def _with_entry(toml: str, entry: str, *, has_tags: bool) -> str:
    header = None
    for path, value, end in _statements(toml):
        if path == _PATH and value is not None:
            return toml[:value] + entry.removeprefix("tags = ") + toml[end:]
        if path == _TABLE and value is None:
            header = end
    if not has_tags:
        return toml
    if header is not None:
        line = toml.find("\n", header)
        return f"{toml}\n{entry}\n" if line < 0 else f"{toml[: line + 1]}{entry}\n{toml[line + 1 :]}"
    return f"{toml.removesuffix(chr(10))}\n[tool.py-code-mode]\n{entry}\n".removeprefix("\n")


_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_DOTTED = rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*"
_KEYS = re.compile(rf"[ \t]*(?:\[{{1,2}}[ \t]*(?P<table>{_DOTTED})[ \t]*\]{{1,2}}|(?P<key>{_DOTTED})[ \t]*=[ \t]*)")
_PART = re.compile(
    r'"""(?:\\.|[^\\])*?"""|'
    r"'''.*?'''|"
    r'"(?:\\.|[^"\\\n])*"|'
    r"'[^'\n]*'|#[^\n]*|[\[\]{}\n]|[^\[\]{}\n#\"']+",
    re.DOTALL,
)


def _statements(toml: str) -> Iterator[tuple[tuple[str, ...], int | None, int]]:
    """The path of each table and entry of valid TOML, where an entry's value begins (None: a table), and the end."""
    table: tuple[str, ...] = ()
    position = 0
    while position < len(toml):
        match = _KEYS.match(toml, position)
        if match is None:
            position = (toml.find("\n", position) + 1) or len(toml)
        elif match["table"] is not None:
            table = _split(match["table"])
            yield table, None, match.end()
            position = match.end()
        else:
            end = _end_of_value(toml, match.end())
            yield (*table, *_split(match["key"])), match.end(), end
            position = end


def _split(path: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_KEY, path))


def _end_of_value(toml: str, start: int) -> int:
    depth, end = 0, start
    for match in _PART.finditer(toml, start):
        text = match[0]
        if not depth and (text == "\n" or text[0] == "#"):
            break
        depth += (text in ("[", "{")) - (text in ("]", "}"))
        if text[0] not in " \t\n#":
            end = match.start() + len(text.rstrip())
    return end


_HEAD = re.compile(r"(?:#!.*(?:\r\n|\r|\n|$))?(?:[ \t\f]*#.*?coding[:=].*(?:\r\n|\r|\n|$))?")


def _with_block(tree: ast.Module, source: str, entry: str) -> str:
    """``source`` with a block after its docstring, or before everything where there is none."""
    ending = _LINE_END.search(source)
    newline = ending[0] if ending else "\n"
    block = newline.join(("# /// script", "# [tool.py-code-mode]", f"# {entry}", "# ///", ""))
    at = _after_docstring(tree, source)
    if at is None:
        head = _HEAD.match(source)
        at = head.end() if head else 0
        return f"{source[:at]}{newline if at else ''}{block}{newline}{source[at:]}"
    before, after = source[:at], source[at:]
    if not before.endswith(("\n", "\r")):
        before += newline
    return f"{before}{newline}{block}{newline if not after.startswith(newline) else ''}{after}"


def _after_docstring(tree: ast.Module, source: str) -> int | None:
    """Where the line of the module's docstring ends; None where there is none that ends its line."""
    first = tree.body[0] if tree.body else None
    if not (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    ):
        return None
    ends = [match.end() for match in _LINE_END.finditer(source)]
    last = (first.end_lineno or 1) - 1
    start, end = (ends[last - 1] if last else 0), (ends[last] if last < len(ends) else len(source))
    rest = source[start:end].encode()[first.end_col_offset or 0 :].decode()
    return end if not rest.strip() or rest.lstrip().startswith("#") else None
