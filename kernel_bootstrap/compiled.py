"""The source of a workflow, made into a module."""

from __future__ import annotations

import ast
import linecache
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .errors import WorkflowInvalidError
from .loops import PlainAwait


def execute(
    name: str, source: str, path: str, names: dict[str, Any], rewrite: ast.NodeTransformer | None = None
) -> types.ModuleType:
    """The module of the workflow ``name``, run with ``names`` as globals; raises what its code raises.

    ``path`` is the name of its file in tracebacks, ``rewrite`` changes its tree before it is compiled.
    """
    tree: ast.Module = PlainAwait().visit(ast.parse(source, filename=path))
    if rewrite is not None:
        tree = rewrite.visit(tree)
    code = compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)
    # So that a traceback can show the lines; None as the time keeps linecache from looking for a file.
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    module = types.ModuleType(f"workflows.{name}")
    module.__dict__.update(names)
    module.__file__ = path
    # Dataclasses and typing look there for what the annotations of a class mean, when it is made and later.
    known = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    try:
        exec(code, module.__dict__)
    except BaseException:
        _put_back(sys.modules, module.__name__, known)
        raise
    return module


@contextmanager
def on_trial(name: str, path: str) -> Iterator[None]:
    """What is executed inside does not stay: the workflow that is there, if any, is the one of tracebacks again."""
    module = f"workflows.{name}"
    known, lines = sys.modules.get(module), linecache.cache.get(path)
    try:
        yield
    finally:
        _put_back(sys.modules, module, known)
        _put_back(linecache.cache, path, lines)


def _put_back(where: dict[str, Any], key: str, known: Any) -> None:
    if known is None:
        where.pop(key, None)
    else:
        where[key] = known


def run_of(module: types.ModuleType, name: str) -> Callable[..., Any]:
    """The ``run`` of a workflow's module. Raises WorkflowInvalidError where there is none."""
    run: Callable[..., Any] | None = module.__dict__.get("run")
    if run is None:
        raise WorkflowInvalidError(f"{module.__file__} defines no `async def run(...)`", workflow=name)
    return run
