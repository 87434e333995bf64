"""The source of a cell: parsed, changed in places, and put below a ``def`` with its comments. Standard library only."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

IPYTHON = re.compile(r"\s*(?:[\w.,\[\]'\" ]+=\s*)?[%!]{1,2}\S|\s*\?{1,2}[\w%*]|.*[\w*)\]]\?{1,2}\s*;?$")
"""A line with a magic, a command of the shell, or a question for help."""


class CellSource:
    """One cell, called ``label`` in messages. Raises ValueError for what is no Python."""

    def __init__(self, text: str, label: str) -> None:
        self.label = label
        self.text = _dedented(text.replace("\r\n", "\n").replace("\r", "\n")).rstrip()
        try:
            self.tree = ast.parse(self.text)
            compile(self.text, label, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        except SyntaxError as error:
            raise ValueError(self._explain(error)) from None
        self._lines = self.text.split("\n")
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)
        self._edits: list[tuple[int, int, str]] = []

    def _explain(self, error: SyntaxError) -> str:
        lines = self.text.split("\n")
        numbers = [number for number in [error.lineno or 1, *range(1, len(lines) + 1)] if number <= len(lines)]
        for number in numbers:
            if IPYTHON.match(lines[number - 1]):
                shown = lines[number - 1].strip()[:80]
                return (
                    f"{self.label}, line {number}: {shown!r} is IPython syntax, which no workflow can have: leave that "
                    "cell out, or run it again written as Python (a command of the shell by subprocess.run or a tool)"
                )
        return f"{self.label}, line {error.lineno}: it does not parse: {error.msg}"

    def where(self, node: ast.AST) -> str:
        """For messages: the cell and the line of ``node``."""
        return f"{self.label}, line {getattr(node, 'lineno', 1)}"

    def segment(self, node: ast.stmt) -> CellSource:
        """The lines of a definition, or its code written anew where it shares lines or is indented."""
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
        last = node.end_lineno or node.lineno
        text = "\n".join(self._lines[first - 1 : last])
        try:
            (found,) = ast.parse(text).body
        except (SyntaxError, ValueError):
            return CellSource(ast.unparse(node), self.label)
        return CellSource(text if type(found) is type(node) else ast.unparse(node), self.label)

    def is_quiet(self) -> bool:
        """Whether the last statement ends with a semicolon, which says that its value is not wanted."""
        return self.text[self._end(self.tree.body[-1]) :].lstrip().startswith(";")

    # -- changes ----------------------------------------------------------------------------------------

    def replace(self, node: ast.AST, text: str) -> None:
        """Put ``text`` in the place of ``node``."""
        self._edits.append((self._offset(node), self._end(node), text))

    def insert(self, node: ast.AST, text: str) -> None:
        """Put ``text`` before ``node``."""
        start = self._offset(node)
        self._edits.append((start, start, text))

    def remove(self, node: ast.stmt) -> None:
        """Take a statement out: its lines, or where others share them ``pass`` takes its place."""
        start, end = self._offset(node), self._end(node)
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        before = self.text[self._starts[first] : start]
        after = self.text[end : self._starts[last] + len(self._lines[last])].strip()
        if before.strip() or (after and not after.startswith("#")):
            self._edits.append((start, end, "pass"))
        else:
            self._edits.append((self._starts[first], min(self._starts[last + 1], len(self.text)), ""))

    def _offset(self, node: ast.AST) -> int:
        return self._position(node.lineno, node.col_offset)  # type: ignore[attr-defined]

    def _end(self, node: ast.AST) -> int:
        return self._position(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def _position(self, line: int, column: int) -> int:
        """The offset in characters of what the compiler counts in bytes of UTF-8."""
        text = self._lines[line - 1]
        return self._starts[line - 1] + (column if text.isascii() else len(text.encode()[:column].decode()))

    def result(self, indent: str = "") -> str:
        """The text with all changes, each line ``indent`` deeper but for those inside of strings."""
        edits = list(self._edits)
        if indent:
            inside = set(_lines_in_strings(self.tree))
            for number, line in enumerate(self._lines, 1):
                start = self._starts[number - 1]
                removed = any(begin <= start < end and not text for begin, end, text in self._edits)
                if line.strip() and number not in inside and not removed:
                    edits.append((start, start - 1, indent))  # before an insertion at the same place
        parts: list[str] = []
        position = 0
        for start, end, text in sorted(edits, key=lambda edit: (edit[0], edit[1])):
            parts += [self.text[position:start], text]
            position = max(end, start)
        return "".join([*parts, self.text[position:]])


def _dedented(text: str) -> str:
    """``text`` without the indentation of its first line, which IPython takes away as well."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    space = first[: len(first) - len(first.lstrip())]
    return "\n".join(line.removeprefix(space) for line in text.split("\n")) if space else text


def _lines_in_strings(node: ast.AST) -> Iterator[int]:
    """The lines that begin inside of a string, or inside of the brackets around some."""
    text = isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    if text or type(node).__name__ in ("JoinedStr", "TemplateStr"):
        yield from range(node.lineno + 1, node.end_lineno + 1)  # type: ignore[attr-defined]
        return
    for child in ast.iter_child_nodes(node):
        yield from _lines_in_strings(child)
