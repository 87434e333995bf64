"""Assertions that say what they compared. Standard library only."""

from __future__ import annotations

import ast
from typing import Any

from .plaintext import short_repr

EXPLAIN = "__code_mode_explain__"
"""The name under which rewritten code finds ``explain``."""

_SIGNS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}
_LEFT, _RIGHT = "__code_mode_left__", "__code_mode_right__"


def explain(left: Any, sign: str, right: Any) -> str:
    """The message of an assertion that failed."""
    return f"assert {short_repr(left)} {sign} {short_repr(right)}"


class ExplainAsserts(ast.NodeTransformer):
    """Makes ``assert left == right`` in a test say what the two were."""

    def visit_Module(self, node: ast.Module) -> ast.Module:
        for child in node.body:
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and child.name.startswith("test_"):
                self.generic_visit(child)
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.Assert:
        match node:
            case ast.Assert(ast.Compare(left, [sign], [right]) as compare, None):
                compare.left = _kept(_LEFT, left)
                compare.comparators = [_kept(_RIGHT, right)]
                values = [_load(_LEFT), ast.Constant(_SIGNS[type(sign)]), _load(_RIGHT)]
                node.msg = ast.Call(_load(EXPLAIN), values, [])
        return node


def _load(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())


def _kept(name: str, value: ast.expr) -> ast.expr:
    return ast.copy_location(ast.NamedExpr(ast.Name(name, ast.Store()), value), value)
