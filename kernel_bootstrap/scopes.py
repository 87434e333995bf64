"""Which names a piece of top-level code needs from before, and which it binds. Standard library only.

What is executed in order is followed through the tree; what a function, class or comprehension inside takes from
its surroundings the compiler knows best, and is read from the instructions that it makes.
"""

from __future__ import annotations
import __future__

import ast
import dis
import sys
from collections.abc import Iterable, Iterator
from types import CodeType

_POSTPONED = __future__.annotations.compiler_flag
_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "DELETE_GLOBAL"})


class _State:
    """What is bound at one point: for sure, or on some way to it."""

    def __init__(self, sure: set[str], maybe: set[str]) -> None:
        self.sure = sure
        self.maybe = maybe

    def copy(self) -> _State:
        return _State(set(self.sure), set(self.maybe))


class Scope:
    """The names of top-level code, gathered with ``run`` and ``finish``.

    ``needed`` are those that are read before anything binds them, ``doubtful`` those that perhaps are, both in the
    order of their use; ``own`` are those that it binds itself, ``declared`` those that a function inside declares
    global, ``bound`` both, and ``in_classes`` those that a class reads before it binds its own of that name.
    """

    def __init__(self, *, postponed: bool = False) -> None:
        self.needed: dict[str, None] = {}
        self.doubtful: dict[str, None] = {}
        self.own: set[str] = set()
        self.declared: set[str] = set()
        self.in_classes: dict[str, ast.ClassDef] = {}
        self._postponed = postponed
        self._now = _State(set(), set())
        self._later: dict[str, None] = {}

    @property
    def bound(self) -> set[str]:
        """All names that it binds, or has functions bind."""
        return self.own | self.declared

    def run(self, statements: Iterable[ast.stmt]) -> None:
        """Follow ``statements``, which come after all that were followed before."""
        for statement in statements:
            self._statement(statement)

    def finish(self) -> Scope:
        """Count in what functions read when they are called, at whatever time."""
        for name in self._later:
            if name not in self.bound:
                self.needed[name] = None
            elif name not in self.needed:
                self.doubtful[name] = None
        return self

    def _load(self, name: str) -> None:
        if name in self._now.sure:
            return
        if name in self._now.maybe:
            self.doubtful[name] = None
        else:
            self.needed[name] = None

    def _bind(self, name: str) -> None:
        self.own.add(name)
        self._now.sure.add(name)
        self._now.maybe.add(name)

    # -- statements -------------------------------------------------------------------------------------

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets, value):
                self._expressions([value, *targets])
            case ast.AugAssign(place, _, value):
                if isinstance(place, ast.Name):
                    self._load(place.id)
                self._expressions([value, place])
            case ast.AnnAssign():
                self._annotated(node)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._inner(node, lazy=True)
                self._bind(node.name)
            case ast.ClassDef():
                self._class(node)
            case ast.Import() | ast.ImportFrom():
                for name in imported(node):
                    self._bind(name)
            case ast.Delete(targets):
                for target in targets:
                    self._delete(target)
            case ast.If(test, body, orelse):
                self._expressions([test])
                self._branches([body, orelse])
            case ast.For() | ast.AsyncFor() | ast.While():
                self._loop(node)
            case ast.With(items, body) | ast.AsyncWith(items, body):
                for item in items:
                    self._expressions([item.context_expr, *([item.optional_vars] if item.optional_vars else [])])
                self._branches([body, []] if any(map(_swallows, items)) else [body])
            case ast.Try() | ast.TryStar():
                self._try(node)
            case ast.Match(subject, cases):
                self._expressions([subject])
                self._branches([*([case] for case in cases), *([] if _is_exhaustive(cases) else [[]])])
            case _ if type(node).__name__ == "TypeAlias":  # Python 3.12
                self._inner(node, lazy=True)
                self._bind(node.name.id)  # type: ignore[attr-defined]
            case _:
                self._expressions(ast.iter_child_nodes(node))

    def _annotated(self, node: ast.AnnAssign) -> None:
        if not self._postponed:
            self._expressions([node.annotation])
        if node.value is not None:
            self._expressions([node.value, node.target])
        elif isinstance(node.target, ast.Name):
            self.own.add(node.target.id)  # inside a function this alone makes it a local

    def _class(self, node: ast.ClassDef) -> None:
        self._expressions([*node.decorator_list, *node.bases, *node.keywords])
        body = Scope(postponed=self._postponed)
        body.run(node.body)
        for name in [*body.needed, *body.doubtful]:
            if name in body.bound:
                self.in_classes.setdefault(name, node)
            self._load(name)
        self.in_classes |= body.in_classes
        self._defer(_globals(node, self._postponed)[1], node)
        self._bind(node.name)

    def _delete(self, target: ast.expr) -> None:
        self._expressions([ast.Name(target.id, ast.Load()) if isinstance(target, ast.Name) else target])
        if isinstance(target, ast.Name):
            self.own.add(target.id)
            self._now.sure.discard(target.id)

    def _branches(self, branches: list[list[ast.stmt] | list[ast.match_case]]) -> None:
        before = self._now
        ends: list[_State] = []
        maybe: set[str] = set()
        for branch in branches:
            self._now = before.copy()
            for node in branch:
                if isinstance(node, ast.match_case):
                    self._expressions([node.pattern, *([node.guard] if node.guard else [])])
                    self.run(node.body)
                else:
                    self._statement(node)
            maybe |= self._now.maybe
            if not _leaves(branch):
                ends.append(self._now)
        self._now = _State(set.intersection(*(end.sure for end in ends)) if ends else before.sure, maybe)

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While) -> None:
        rounds = Scope(postponed=self._postponed)
        if not isinstance(node, ast.While):
            self._expressions([node.iter])
            rounds._expressions([node.target])
        rounds.run(node.body)
        self._now.maybe |= rounds.bound  # by an earlier round
        if isinstance(node, ast.While):
            self._expressions([node.test])
        before = set(self._now.sure)
        if not isinstance(node, ast.While):
            self._expressions([node.target])
        self.run(node.body)
        self._now.sure &= before  # there may be no round
        self.run(node.orelse)

    def _try(self, node: ast.Try | ast.TryStar) -> None:
        before = set(self._now.sure)
        self.run(node.body)
        broken = _State(before, set(self._now.maybe))
        self.run(node.orelse)
        ends = [] if _leaves([*node.body, *node.orelse]) else [self._now.sure]
        maybe = set(self._now.maybe)
        for handler in node.handlers:
            self._now = broken.copy()
            if handler.type is not None:
                self._expressions([handler.type])
            if handler.name is not None:
                self._bind(handler.name)
            self.run(handler.body)
            self._now.sure.discard(handler.name or "")  # as Python does it
            maybe |= self._now.maybe
            if not _leaves(handler.body):
                ends.append(self._now.sure)
        sure = set.intersection(*ends) if ends else before
        self._now = _State(set(before), maybe)  # it is reached in the middle of an error, too
        self.run(node.finalbody)
        self._now.sure |= sure

    # -- expressions ------------------------------------------------------------------------------------

    def _expressions(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self._expression(node)

    def _expression(self, node: ast.AST) -> None:
        match node:
            case ast.Name(name, ast.Load()):
                self._load(name)
            case ast.Name(name):
                self._bind(name)
            case ast.NamedExpr(target, value):
                self._expressions([value, target])
            case ast.Lambda():
                self._inner(node, lazy=True)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                self._inner(node, lazy=False)
                self._walruses(node)
            case ast.IfExp(test, body, orelse):
                self._expressions([test])
                self._perhaps([body], [orelse])
            case ast.BoolOp(_, [first, *others]) | ast.Compare(first, _, others):
                self._expressions([first])
                surely = 1 if isinstance(node, ast.Compare) else 0
                self._expressions(others[:surely])
                self._perhaps(others[surely:])
            case ast.MatchAs() | ast.MatchStar() | ast.MatchMapping():
                self._expressions(ast.iter_child_nodes(node))
                captured = node.rest if isinstance(node, ast.MatchMapping) else node.name
                if captured is not None:
                    self._bind(captured)
            case _:
                self._expressions(ast.iter_child_nodes(node))

    def _walruses(self, node: ast.AST) -> None:
        """What ``:=`` in a comprehension binds out here, perhaps, and reads before that, as a running total does."""
        targets = {inner.target.id for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr)}
        bound: set[str] = set()
        for name in _in_order(node) if targets else ():
            if isinstance(name.ctx, ast.Store):
                bound.add(name.id)
            elif name.id in targets - bound:
                self._load(name.id)
        self._perhaps([ast.Name(name, ast.Store()) for name in targets])

    def _perhaps(self, *ways: Iterable[ast.AST]) -> None:
        """Follow expressions of which one way or none is taken."""
        before = self._now
        maybe = set(before.maybe)
        for way in ways:
            self._now = before.copy()
            self._expressions(way)
            maybe |= self._now.maybe
        self._now = _State(before.sure, maybe)

    def _inner(self, node: ast.AST, *, lazy: bool) -> None:
        """What code inside takes from here: now, or when it is called (``lazy``)."""
        now, later = _globals(node, self._postponed)
        for name in now if lazy else [*now, *later]:
            self._load(name)
        if lazy:
            self._defer(later, node)

    def _defer(self, names: Iterable[str], node: ast.AST) -> None:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Global):
                self.declared |= set(inner.names)
                self._now.maybe |= set(inner.names)
        self._later |= dict.fromkeys(name for name in names if name not in self._now.sure)


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """The names that an import binds; those of a star as the module that was imported has them."""
    if isinstance(node, ast.Import):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    found: list[str] = []
    for alias in node.names:
        found += starred(node) if alias.name == "*" else [alias.asname or alias.name]
    return found


def starred(node: ast.ImportFrom) -> list[str]:
    """The names that ``from module import *`` binds."""
    module = sys.modules.get(node.module or "") if not node.level else None
    names = getattr(module, "__all__", None) or [name for name in vars(module or {}) if not name.startswith("_")]
    return [str(name) for name in names]


def _in_order(node: ast.AST) -> Iterator[ast.Name]:
    """The names that an expression reads, and binds with ``:=``, in the order of its evaluation."""
    if isinstance(node, ast.Name):
        yield node
    elif isinstance(node, ast.NamedExpr):
        yield from _in_order(node.value)
        yield node.target
    elif isinstance(node, ast.comprehension):
        for part in (node.iter, *node.ifs):
            yield from _in_order(part)
    elif not isinstance(node, ast.Lambda):
        # The element of a comprehension stands before its loops.
        for child in sorted(ast.iter_child_nodes(node), key=lambda child: not isinstance(child, ast.comprehension)):
            yield from _in_order(child)


def _globals(node: ast.AST, postponed: bool) -> tuple[list[str], list[str]]:
    """The names of its surroundings that ``node`` reads: when it is evaluated, and in the functions that it makes.

    The body of a class counts as neither: what it reads, and when, is followed by ``Scope``.
    """
    statement = ast.Expr(node) if isinstance(node, ast.expr) else node
    around = ast.parse("async def around(): pass")
    around.body[0].body = [statement]  # type: ignore[attr-defined]
    flags = _POSTPONED if postponed else 0
    code = compile(ast.fix_missing_locations(around), "<cell>", "exec", flags, dont_inherit=True)
    (outer,) = _inside(code)
    inner = list(_inside(outer))
    if isinstance(node, ast.ClassDef):
        inner = [deeper for found in inner for deeper in _inside(found)]
    return _read(outer), [name for found in inner for name in _read_within(found)]


def _inside(code: CodeType) -> Iterator[CodeType]:
    return (constant for constant in code.co_consts if isinstance(constant, CodeType))


def _read(code: CodeType) -> list[str]:
    instructions = list(dis.get_instructions(code))
    own = {found.argval for found in instructions if found.opname == "STORE_NAME"}  # of a class
    if "__module__" in own:
        own.add("__name__")  # which every class reads for its module
    return [found.argval for found in instructions if found.opname in _LOADS and found.argval not in own]


def _read_within(code: CodeType) -> Iterator[str]:
    yield from _read(code)
    for inner in _inside(code):
        yield from _read_within(inner)


def _swallows(item: ast.withitem) -> bool:
    """Whether code goes on behind a ``with`` whose body has failed."""
    function = item.context_expr.func if isinstance(item.context_expr, ast.Call) else None
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("suppress", "raises", "assertRaises")


def _is_exhaustive(cases: list[ast.match_case]) -> bool:
    return any(
        case.guard is None and isinstance(case.pattern, ast.MatchAs) and not case.pattern.pattern for case in cases
    )


def _leaves(branch: list[ast.stmt] | list[ast.match_case]) -> bool:
    """Whether what comes after the branch is not reached through it."""
    last = branch[-1] if branch else None
    if isinstance(last, ast.match_case):
        return _leaves(last.body)
    return isinstance(last, ast.Return | ast.Raise | ast.Continue | ast.Break)
