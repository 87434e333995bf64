"""The tests of a workflow: examples in its docstrings, and its functions ``test_...``.

Standard library only; the host finds tests, the kernel runs them. Examples are doctest's, with its directives, in
which ``await`` may stand at the top level; a coroutine that is the value of an example is awaited. ``run``, the name
of the workflow and ``workflows.<name>`` are all the source under test.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import re
import traceback
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from . import tracebacks
from .arguments import Checker
from .asserts import EXPLAIN, ExplainAsserts, explain
from .capture import captured
from .compiled import execute, on_trial, run_of
from .doctests import give_way, run_examples
from .errors import WorkflowTestError
from .loops import AWAIT_NAME, awaitable, run_sync, set_aside
from .plaintext import clean, cut

_LONGEST = 2_000
_MOST_FAILURES = 20
_SHOWN = 3
_EXAMPLE = re.compile(r"^[ \t]*>>> *[^\s#]", re.MULTILINE)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def find(tree: ast.Module) -> list[str]:
    """The names of the tests that a workflow has, in their order: "docstring of run", "test_empty"."""
    return [name for name, _ in _tests(tree)]


def _tests(tree: ast.Module) -> Iterator[tuple[str, ast.Constant | Function]]:
    yield from _docstrings(tree, "")
    for node in tree.body:
        if isinstance(node, Function) and node.name.startswith("test_"):
            yield node.name, node


def _docstrings(node: ast.Module | ast.ClassDef | Function, path: str) -> Iterator[tuple[str, ast.Constant]]:
    first = node.body[0] if node.body else None
    match first:
        case ast.Expr(ast.Constant(str(text)) as docstring) if _EXAMPLE.search(text):
            yield (f"docstring of {path}" if path else "docstring"), docstring
    if isinstance(node, Function):
        return
    for child in node.body:
        if isinstance(child, ast.ClassDef | Function):
            yield from _docstrings(child, f"{path}.{child.name}" if path else child.name)


async def run_tests(name: str, source: str, path: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run the tests of a source that is to be the workflow ``name``, with ``names`` as its globals.

    Gives ``name``, how many tests ``passed`` and ``failed``, and ``failures``: a dict each with ``test``, ``line``,
    ``source``, ``expected``, ``got`` and ``error`` (a traceback), all text of bounded length. An interrupt or a
    cancellation ends it, as does a source that does not parse; all else that the code does is a failure.
    """
    tests = list(_tests(ast.parse(source, filename=path)))
    report = _Report(name)
    with on_trial(name, path):
        module = await _module(name, source, path, names, report, len(tests))
        for title, node in tests if module is not None else ():
            assert module is not None
            with report.counted(title):
                if isinstance(node, ast.Constant):
                    await _docstring(module, name, node, report)
                else:
                    await _function(module, node, report)
    return report.to_dict()


def failed(report: dict[str, Any]) -> WorkflowTestError:
    """The error for a report with failures, the first of which its message shows, or without any test."""
    name, failures = report["name"], report["failures"]
    count = report["passed"] + report["failed"]
    if not count:
        told = f"the workflow {name!r} has no tests: give it examples (>>>) in a docstring, or functions test_...()"
        return WorkflowTestError(told, workflow=name, report=report)
    lines = [f"{report['failed']} of {count} tests of the workflow {name!r} failed:"]
    for failure in failures[:_SHOWN]:
        where = f", line {failure['line']}" if failure["line"] else ""
        lines.append(f"\n{failure['test']}{where}: {failure['source'].strip()}")
        if failure["expected"]:
            lines.append(f"  expected:{_indented(failure['expected'])}")
        if failure["got"] or failure["expected"]:
            lines.append(f"  got:{_indented(failure['got'] or '(nothing)')}")
        if failure["error"]:
            lines.append(f"  error:{_indented(failure['error'])}")
    if len(failures) > _SHOWN:
        lines.append(f"\n… and {len(failures) - _SHOWN} more failures")
    return WorkflowTestError("\n".join(lines), workflow=name, report=report)


def _indented(text: str) -> str:
    text = text.rstrip("\n")
    return f" {text}" if "\n" not in text else "\n    " + text.replace("\n", "\n    ")


class _Report:
    def __init__(self, name: str) -> None:
        self.name = name
        self.passed = 0
        self.failed = 0
        self.failures: list[dict[str, Any]] = []
        self.test = ""
        self._bad = False

    @contextmanager
    def counted(self, test: str) -> Iterator[None]:
        """One test: failed if ``fail`` is called inside."""
        self.test, self._bad = test, False
        yield
        self.failed += self._bad
        self.passed += not self._bad

    def fail(self, line: int, source: str, *, expected: str = "", got: str = "", error: str = "") -> None:
        """Note a failure of the test that is running."""
        self._bad = True
        if len(self.failures) < _MOST_FAILURES:
            found = {"test": self.test, "line": line, "source": cut(source, _LONGEST)}
            found |= {"expected": cut(expected, _LONGEST), "got": cut(got, _LONGEST), "error": _end(error)}
            self.failures.append(found)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "passed": self.passed, "failed": self.failed, "failures": self.failures}


def _end(text: str) -> str:
    """The end of a traceback, where the error stands, from a whole line on."""
    if len(text) <= _LONGEST:
        return clean(text)
    return "…\n" + clean(text[-_LONGEST:].partition("\n")[2] or text[-_LONGEST:])


async def _module(
    name: str, source: str, path: str, names: dict[str, Any], report: _Report, count: int
) -> types.ModuleType | None:
    """The module under test; None, with every test failed, when its code raises."""
    modules: list[types.ModuleType] = []
    names = {AWAIT_NAME: awaitable, **names, EXPLAIN: explain}
    if "workflows" in names:
        names["workflows"] = _Workflows(names["workflows"], name, modules)
    try:
        module = execute(name, source, path, names, ExplainAsserts())
        run_of(module, name)
    except BaseException as error:  # noqa: BLE001 - whatever the code raises is its result
        give_way(error)
        with report.counted("the file itself"):
            report.fail(_line(error, path), "", error=tracebacks.plain(error, error.__traceback__))
        report.failed = max(count, 1)
        return None
    modules.append(module)
    return module


async def _docstring(module: types.ModuleType, name: str, node: ast.Constant, report: _Report) -> None:
    def fail(line: int, source: str, **told: str) -> None:
        report.fail(node.lineno + line, source, **told)

    names = {name: module.__dict__["run"], **module.__dict__}
    await run_examples(str(node.value), report.test, names, fail)


async def _function(module: types.ModuleType, node: Function, report: _Report) -> None:
    function: Any = module.__dict__.get(node.name)
    path = str(module.__file__)
    if told := _cannot_run(function, node):
        report.fail(node.lineno, f"def {node.name}(...)", error=told)
        return
    with captured() as output:
        try:
            with set_aside():  # as in a file of its own, so that asyncio.run() works
                result = function()
            if inspect.iscoroutine(result):
                await result
        except BaseException as error:  # noqa: BLE001 - whatever the code raises is its result
            give_way(error)
            line = _line(error, path, node)
            text = tracebacks.plain(error, error.__traceback__)
            report.fail(line, linecache.getline(path, line), got=output.take(), error=text)


def _cannot_run(function: Any, node: Function) -> str:
    needed = [parameter.arg for parameter in _required(node.args)]
    if needed:
        return f"{node.name} has parameters, and there is nothing to give for them: {', '.join(needed)}"
    if function is None:
        return f"{node.name} is not there any more: the file, or a test before it, has removed it"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return f"{node.name} yields, so that a call runs none of it: let it return"
    return ""


def _required(arguments: ast.arguments) -> list[ast.arg]:
    places = [*arguments.posonlyargs, *arguments.args]
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return [*places[: len(places) - len(arguments.defaults)], *(argument for argument, given in keywords if not given)]


def _line(error: BaseException, path: str, node: Function | None = None) -> int:
    """The line of the file that raised; inside ``node``, which called the rest, where that is given."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return error.lineno or 0
    lines = [lineno for frame, lineno in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == path]
    if node is None:
        return lines[-1] if lines else 0
    return next((line for line in lines if node.lineno <= line <= (node.end_lineno or line)), node.lineno)


class _Workflows:
    """``workflows`` for a source under test, which it gives under the name that the source is to have."""

    def __init__(self, real: Any, name: str, modules: list[types.ModuleType]) -> None:
        self._real = real
        self._name = name
        self._own = _Own(real, name, modules)

    def invoke(self, workflow_name: str, /, *args: Any, **kwargs: Any) -> Any:
        if workflow_name == self._name:
            return self._own(*args, **kwargs)
        return self._real.invoke(workflow_name, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return self._own if name == self._name else getattr(self._real, name)

    def __repr__(self) -> str:
        return repr(self._real)


class _Own:
    """The workflow under test, called as others are."""

    def __init__(self, real: Any, name: str, modules: list[types.ModuleType]) -> None:
        self._release = getattr(getattr(real, "_link", None), "release", lambda loop: None)
        self._name = name
        self._modules = modules

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return run_sync(self.call_async(*args, **kwargs), self._release)

    async def call_async(self, *args: Any, **kwargs: Any) -> Any:
        run = run_of(self._modules[0], self._name)
        Checker(run, self._name).check(args, kwargs)
        return await run(*args, **kwargs)
