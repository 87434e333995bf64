"""``global`` in code that moves into a function, where its names are that function's. Standard library only."""

from __future__ import annotations

import ast

from .cellsource import CellSource

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def make_nonlocal(source: CellSource) -> None:
    """Make every ``global`` in a function or class ``nonlocal``, and take out those at the top.

    Raises ValueError where a function in between has a variable of that name, which ``nonlocal`` would find first.
    """
    for node in source.tree.body:
        _visit(source, node, [])


def _visit(source: CellSource, node: ast.AST, around: list[ast.AST]) -> None:
    if isinstance(node, ast.Global):
        if not around:
            source.replace(node, "pass")
            return
        for function in around[:-1]:
            if isinstance(function, _FUNCTIONS) and (clash := sorted(set(node.names) & _own(function, around[-1]))):
                raise ValueError(
                    f"{source.where(node)}: 'global {clash[0]}' is meant to pass over the {clash[0]!r} of "
                    f"{function.name}, which it cannot do inside a workflow: rename one of the two"
                )
        source.replace(node, f"nonlocal {', '.join(node.names)}")
        return
    inner = [*around, node] if isinstance(node, (*_FUNCTIONS, ast.ClassDef)) else around
    for child in ast.iter_child_nodes(node):
        _visit(source, child, inner)


def _own(function: ast.AST, without: ast.AST) -> set[str]:
    """The names that a function binds, but for those in the function ``without`` inside it."""
    found: set[str] = set()
    passed: set[str] = set()
    waiting = [function]
    while waiting:
        node = waiting.pop()
        if node is without:
            continue
        if isinstance(node, ast.Global):
            passed |= set(node.names)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        waiting += ast.iter_child_nodes(node)
    return found - passed
