"""The variables of a session, and how a run is compiled and executed on them."""

from __future__ import annotations
import __future__

import ast
import inspect
import io
import itertools
import linecache
import re
import tokenize
from types import CodeType, ModuleType
from typing import Any

from kernel_bootstrap import look, namespaces, tracebacks
from kernel_bootstrap.link import Link
from kernel_bootstrap.loops import PlainAwait, explain_plain_result

from .cell import Cell
from .display import clear_output, display, show_value

_FUTURES = sum({getattr(__future__, name).compiler_flag for name in __future__.all_feature_names})
_PARSE_TRIES = 5
_SPACES = itertools.count(1)

_IPYTHON = re.compile(r"\s*(?:[\w.,\[\]'\" ]+=\s*)?[%!]{1,2}\w|\s*\?{1,2}[\w%*]|.*[\w*)\]]\?{1,2}\s*$")
_FILE = re.compile(r"<cell (\d+) in space \d+>")


class Interpreter:
    """One set of variables. ``run`` executes a cell on them; everything runs on the worker's thread."""

    def __init__(self, link: Link) -> None:
        names = namespaces.build(link, self)
        self._names = dict(names)
        names.update(display=display, clear_output=clear_output)  # in place: workflows get these too
        self._module = ModuleType("__main__")
        self.namespace: dict[str, Any] = self._module.__dict__
        self.namespace.update(names)
        self._space = next(_SPACES)
        self._files: list[str] = []
        self._sources: dict[int, str] = {}
        self._futures = 0
        self.count = 0

    async def run(self, cell: Cell) -> Any:
        """The value of the cell's last expression; raises what the code raises."""
        self.count += 1
        cell.number = self.count
        self._sources[self.count] = cell.code
        self.namespace.update(self._names)
        body, last = self._compile(cell.code)
        if body is not None:
            await self._evaluate(body)
        if last is None:
            return None
        value = await self._evaluate(last)
        if value is None or _ends_quietly(cell.code):
            return None
        self.namespace["_"] = value
        show_value(value)
        return value

    def sources(self) -> dict[int, str]:
        """See ``kernel_bootstrap.cells.Cells``."""
        return {number: source for number, source in self._sources.items() if number < self.count}

    def look(self, name: str | None, limit: int) -> Any:
        """What ``kernel_bootstrap.look`` says of the variables; called on any thread."""
        if name is not None:
            return look.inspect_name(self.namespace, name)
        return look.variables(self.namespace, {*self._names, "display", "clear_output"}, limit)

    def explain(self, error: BaseException) -> str:
        """The traceback of what ``run`` raised, as text with the user's frames only."""
        explain_plain_result(error)
        own_source = isinstance(error, SyntaxError) and str(error.filename) in self._files
        # The frames of a source that does not compile are the compiler's.
        return self.readable(tracebacks.plain(error, None if own_source else error.__traceback__))

    @staticmethod
    def readable(text: str) -> str:
        """``text`` with the names of cells as people know them."""
        return _FILE.sub(r"<cell \1>", text)

    def close(self) -> None:
        """Forget the sources for tracebacks. The variables stay: functions that were returned need them."""
        for name in self._files:
            linecache.cache.pop(name, None)

    def _compile(self, source: str) -> tuple[CodeType | None, CodeType | None]:
        # All sessions share linecache, so the name has to be one of its own.
        name = f"<cell {self.count} in space {self._space}>"
        self._files.append(name)
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | self._futures
        try:
            tree = ast.fix_missing_locations(PlainAwait().visit(_parse(source, name, flags)))
            expression = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            body = last = None
            if tree.body:
                body = compile(tree, name, "exec", flags, dont_inherit=True)
                self._futures |= body.co_flags & _FUTURES
            if isinstance(expression, ast.Expr):
                last = compile(ast.Expression(expression.value), name, "eval", flags | self._futures, dont_inherit=True)
        except SyntaxError as error:
            raise _explained(error, source) from None
        return body, last

    async def _evaluate(self, code: CodeType) -> Any:
        value = eval(code, self.namespace)
        return await value if code.co_flags & inspect.CO_COROUTINE else value


def _parse(source: str, name: str, flags: int) -> ast.Module:
    for remaining in reversed(range(_PARSE_TRIES)):
        try:
            tree = compile(source, name, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
        except SystemError:
            # CPython gh-106905: a tree that another thread or a finalizer makes meanwhile upsets a counter.
            if not remaining:
                raise
        else:
            break
    assert isinstance(tree, ast.Module)
    return tree


def _explained(error: SyntaxError, source: str) -> SyntaxError:
    lines = source.splitlines()
    number = error.lineno or 1
    line = lines[number - 1] if 0 < number <= len(lines) else ""
    if not _IPYTHON.match(line):
        return error
    text = "IPython syntax (%magic, !command, name?) needs the kernel executor: Session.from_base(...)"
    return SyntaxError(text, (error.filename, number, error.offset, line))


def _ends_quietly(source: str) -> bool:
    """Whether the last token of ``source`` is a semicolon, which says that the value is not wanted."""
    if ";" not in source:
        return False
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER}
    try:
        tokens = [
            token for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type not in skipped
        ]
    except (tokenize.TokenError, SyntaxError):
        return False
    return bool(tokens) and tokens[-1].string == ";"
