"""The source of a workflow, made into a module."""

from __future__ import annotations

import ast
import linecache
import types
from collections.abc import Callable
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
    exec(code, module.__dict__)
    return module


def run_of(module: types.ModuleType, name: str) -> Callable[..., Any]:
    """The ``run`` of a workflow's module. Raises WorkflowInvalidError where there is none."""
    run: Callable[..., Any] | None = module.__dict__.get("run")
    if run is None:
        raise WorkflowInvalidError(f"{module.__file__} defines no `async def run(...)`", workflow=name)
    return run
