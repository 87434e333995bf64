"""Examples of a docstring, run as doctest runs them, but that they may await.

doctest's own runner compiles and runs each example by itself, without an event loop; its parser and its checker
are used here. Standard library only.
"""

from __future__ import annotations
import __future__

import ast
import asyncio
import inspect
import linecache
import traceback
from collections.abc import Iterator
from types import CodeType
from typing import TYPE_CHECKING, Any, Protocol

from . import tracebacks
from .capture import Captured, captured
from .loops import PlainAwait, set_aside

if TYPE_CHECKING:
    import doctest

_SHOW = "__code_mode_show__"


class Fail(Protocol):
    """Takes a failure: its line, counted from 0 in the docstring, and what was expected and came."""

    def __call__(self, line: int, source: str, *, expected: str = "", got: str = "", error: str = "") -> None: ...


def give_way(error: BaseException) -> None:
    """Raise ``error`` again when it is there to end the tests: an interrupt, or the cancellation of this task."""
    loop = asyncio._get_running_loop()  # none in a thread, or where the code took it away
    task = asyncio.current_task(loop) if loop is not None else None
    cancelled = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
    if cancelled or isinstance(error, KeyboardInterrupt | GeneratorExit):
        raise error


async def run_examples(docstring: str, title: str, names: dict[str, Any], fail: Fail) -> None:
    """Run the examples of one docstring in ``names``, their globals; ``title`` names it in tracebacks."""
    import doctest  # imports a debugger and more: 30 ms

    try:
        examples = doctest.DocTestParser().get_examples(docstring, title)
    except ValueError as error:
        fail(0, "", error=f"its examples cannot be read: {error}")
        return
    for number, example in enumerate(examples):
        flags = 0
        for flag, wanted in example.options.items():
            flags = flags | flag if wanted else flags & ~flag
        if flags & doctest.SKIP:
            continue
        problem = await _Example(example, flags, f"<{title}, example {number + 1}>").run(names)
        if problem is not None:
            fail(example.lineno, example.source, **problem)
            if flags & doctest.FAIL_FAST:
                return


class _Example:
    def __init__(self, example: doctest.Example, flags: int, filename: str) -> None:
        self._example = example
        self._flags = flags
        self._filename = filename

    async def run(self, names: dict[str, Any]) -> dict[str, str] | None:
        """What is wrong with it, None when nothing is."""
        raised: BaseException | None = None
        source = self._example.source
        linecache.cache[self._filename] = (len(source), None, source.splitlines(keepends=True), self._filename)
        try:
            with captured() as output:
                try:
                    await self._execute(names, output)
                except BaseException as error:  # noqa: BLE001 - whatever the code raises is its result
                    give_way(error)
                    raised = error
                got = output.take()
            return self._judged(got, raised)
        finally:
            linecache.cache.pop(self._filename, None)

    async def _execute(self, names: dict[str, Any], output: Captured) -> None:
        waiting: list[Any] = []

        def show(value: Any) -> None:
            if inspect.iscoroutine(value):
                waiting.append(value)
            elif value is not None:
                names["_"] = value
                output.write(f"{value!r}\n")

        names[_SHOW] = show
        code = self._compile(names)
        try:
            if code.co_flags & inspect.CO_COROUTINE:
                await eval(code, names)
            else:
                with set_aside():  # as in a file of its own, so that asyncio.run() works
                    exec(code, names)
            while waiting:
                show(await waiting.pop(0))
        finally:
            for coroutine in waiting:
                coroutine.close()

    def _compile(self, names: dict[str, Any]) -> CodeType:
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        for name in __future__.all_feature_names:
            if names.get(name) is getattr(__future__, name):
                flags |= getattr(__future__, name).compiler_flag
        source, filename = self._example.source, self._filename
        tree = compile(source, filename, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
        tree = ast.fix_missing_locations(_ShowsValues().visit(PlainAwait().visit(tree)))
        code: CodeType = compile(tree, filename, "exec", flags, dont_inherit=True)
        return code

    def _judged(self, got: str, raised: BaseException | None) -> dict[str, str] | None:
        import doctest

        expected = self._example.exc_msg
        if got and not got.endswith("\n"):
            got += "\n"
        if raised is None:
            want = self._example.want
            return None if self._fits(want, got) else {"expected": want, "got": got}
        if expected is None:
            error = tracebacks.plain(raised, _own(raised))
            return {"expected": self._example.want, "got": got, "error": error}
        messages = list(_messages(raised))
        if any(self._fits(expected, message) for message in messages):
            return None
        if self._flags & doctest.IGNORE_EXCEPTION_DETAIL and _kind(expected) == _kind(messages[0]):
            return None
        return {"expected": expected, "got": messages[0]}

    def _fits(self, want: str, got: str) -> bool:
        import doctest

        return doctest.OutputChecker().check_output(want, got, self._flags)


class _ShowsValues(ast.NodeTransformer):
    """Hands the value of each expression statement to ``show``, as the interactive mode of the compiler does."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        call = ast.Call(ast.Name(_SHOW, ast.Load()), [node.value], [])
        node.value = ast.copy_location(call, node.value)
        return node

    def _leave(self, node: ast.AST) -> ast.AST:
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _leave  # noqa: N815


def _own(error: BaseException) -> Any:
    # The compiler's frames, where the source does not compile.
    return None if isinstance(error, SyntaxError) else error.__traceback__


def _messages(error: BaseException) -> Iterator[str]:
    """The last lines of the traceback, as doctest and as people write them: with the module of the class or without."""
    lines = traceback.format_exception_only(type(error), error)
    if isinstance(error, SyntaxError):
        lines = lines[-1:]
    for text in dict.fromkeys(["".join(lines), lines[0]]):
        yield text
        yield text.removeprefix(f"{type(error).__module__}.")


def _kind(message: str) -> str:
    """The bare name of the class in the last line of a traceback."""
    return message.split("\n", 1)[0].split(":", 1)[0].rpartition(".")[2].strip()
