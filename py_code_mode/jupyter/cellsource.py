"""The source of a workflow from the text of a notebook's cell."""

from __future__ import annotations

import ast
import builtins
import symtable
from collections.abc import Iterator

from kernel_bootstrap.errors import BY_NAME
from py_code_mode.errors import WorkflowInvalidError

_THERE = {
    *dir(builtins),
    *BY_NAME,
    *("tools", "workflows", "artifacts", "deps"),
    *("__file__", "__name__", "__doc__", "__builtins__"),
    *("display", "get_ipython"),  # IPython's, in every kernel
}
"""The names that a workflow finds without defining them."""


def workflow_source(name: str, cell: str) -> str:
    """``cell`` where it defines ``run``, or does not parse; else a ``run`` without parameters around it.

    The value of its last expression is what ``run`` returns then. Raises WorkflowInvalidError for code that uses
    names which it does not define: a variable of the notebook does not exist in a workflow, and may have been meant
    as a parameter, which only the user knows.
    """
    try:
        tree = ast.parse(cell)
    except (SyntaxError, ValueError, RecursionError):
        return cell  # the library says what is wrong, with the line
    if not tree.body or any(_defines_run(node) for node in tree.body):
        return cell
    source = f"async def run():\n{_indented(cell, tree)}"
    if free := _free_names(source):
        names = ", ".join(free)
        verb = "is" if len(free) == 1 else "are"
        raise WorkflowInvalidError(
            f"{names} {verb} not defined in the cell, and a workflow does not see the notebook's variables. To take "
            f"{'it as a parameter' if len(free) == 1 else 'them as parameters'}, write the cell as a function:\n\n"
            f"    async def run({names}):\n        ...",
            workflow=name,
        )
    return source


def _defines_run(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == "run"


def _indented(cell: str, tree: ast.Module) -> str:
    lines = cell.replace("\r\n", "\n").replace("\r", "\n").split("\n")  # as Python counts them
    last = tree.body[-1]
    if isinstance(last, ast.Expr):
        line = lines[last.lineno - 1].encode()
        begin = last.col_offset
        lines[last.lineno - 1] = (line[:begin] + b"return " + line[begin:]).decode()
    inside = set(_inside_strings(tree))
    return "\n".join(
        line if number in inside or not line.strip() else f"    {line}" for number, line in enumerate(lines, 1)
    )


def _inside_strings(tree: ast.Module) -> Iterator[int]:
    """The lines that begin inside a literal, which an indentation would change."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr) and node.end_lineno is not None:
            yield from range(node.lineno + 1, node.end_lineno + 1)


def _free_names(source: str) -> list[str]:
    """The names that ``source`` reads and nothing defines, sorted."""
    try:
        top = symtable.symtable(source, "<cell>", "exec")
    except SyntaxError:
        return []  # what only a compiler refuses; the library says so
    defined, used = set(top.get_identifiers()), set()
    waiting = [top]
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_global() and symbol.is_assigned():
                defined.add(symbol.get_name())
            elif symbol.is_global() and symbol.is_referenced():
                used.add(symbol.get_name())
    return sorted(used - defined - _THERE)
