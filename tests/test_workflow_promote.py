"""A workflow made of cells does what the cells did."""

from __future__ import annotations

import ast
import asyncio
import collections
import contextlib
import datetime
import decimal
import fractions
import inspect
import io
import sys
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_bootstrap.compiled import execute
from kernel_bootstrap.loops import AWAIT_NAME, awaitable
from kernel_bootstrap.promote import UNKNOWN, Draft, draft
from py_code_mode.session import Session
from py_code_mode.workflows.workflow import parse


@dataclass
class Outcome:
    """What code gave: its value or the error, and what it printed."""

    value: Any
    printed: str


class Shell:
    """Runs cells on one namespace, as a kernel does."""

    def __init__(self) -> None:
        self.names = types.ModuleType("__main__").__dict__
        self.names["display"] = print

    def run(self, *cells: str) -> Outcome:
        """The outcome of several cells: the value is that of the last."""
        with printed() as told:
            value: Any = None
            try:
                for cell in cells:
                    value = self._cell(cell)
            except Exception as error:  # noqa: BLE001 - what the cells raise is compared
                value = error
        return Outcome(value, told.getvalue())

    def _cell(self, text: str) -> Any:
        tree = ast.parse(text)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        if tree.body:
            self._execute(tree, "exec")
        return None if last is None else self._execute(ast.Expression(last.value), "eval")

    def _execute(self, tree: Any, mode: str) -> Any:
        code = compile(tree, "<cell>", mode, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        value = eval(code, self.names)
        return asyncio.run(value) if code.co_flags & inspect.CO_COROUTINE else value


@contextlib.contextmanager
def printed() -> Iterator[io.StringIO]:
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        yield told


def outcome(made: Draft, arguments: dict[str, Any]) -> Outcome:
    """What the draft does with these arguments."""
    module = execute("made", made.source, "workflows/made.py", {AWAIT_NAME: awaitable, "display": print})
    with printed() as told:
        try:
            value = asyncio.run(module.run(**arguments))
        except Exception as error:  # noqa: BLE001 - what the workflow raises is compared
            value = error
    return Outcome(value, told.getvalue())


def promoted(earlier: list[str], cells: list[str]) -> tuple[Draft, Outcome, Outcome]:
    """The draft of cells, what they did, and what the draft does with what there was before them."""
    shell = Shell()
    assert not isinstance(shell.run(*earlier).value, Exception)
    before = dict(shell.names)
    did = shell.run(*cells)
    value = UNKNOWN if isinstance(did.value, Exception) else did.value
    made = draft("made", "Made of cells.", cells, earlier, shell.names, result=value)
    parse("made", made.source)
    assert made.arguments == {name: shell.names[name] for name in made.arguments}
    return made, did, outcome(made, {name: before.get(name, now) for name, now in made.arguments.items()})


def body(text: str) -> str:
    return textwrap.dedent(text).strip("\n")


GIVES = {
    "comprehensions": (["xs = [1, 2]\nn = 3"], ["[x * n for x in xs if x], {k: v for k, v in zip(xs, xs)}, sum(x for x in xs)"]),
    "a walrus": (["xs = [1, 2]"], ["[y for x in xs if (y := x + 1)], y"]),
    "a running total": (["total = 10"], ["[total := total + x for x in [1, 2]], total"]),
    "a walrus that is not reached": (["x = y = 1"], ["0 and (x := 5), [y := 2 for _ in []], 1 < 0 < (x := 6), x if (x or (y := 3)) else 0\nx, y"]),
    "closures": (["n = 2"], ["def f():\n    m = n\n    def g():\n        return m + k\n    return g\nk = 5\nf()()"]),
    "recursion": ([], ["def fact(n): return n * fact(n - 1) if n else 1\nfact(5)"]),
    "a helper": (["def twice(x):\n    return 2 * x"], ["twice(4)"]),
    "helpers of helpers": (["import math\nBASE = 2", "def a(x): return b(x) + BASE\ndef b(x): return math.floor(x)"], ["a(1.5)"]),
    "mutual recursion": (["def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 0 and even(n - 1)"], ["even(10)"]),
    "a lambda": (["add = lambda x: x + k\nk = 3"], ["add(4)"]),
    "a decorator": (["def deco(f):\n    return lambda *a: f(*a) + 1", "@deco\ndef g(x):\n    return x"], ["@deco\ndef h(x): return g(x)\nh(1)"]),
    "classes": (["class Base:\n    kind = 'b'\n    def say(self): return self.kind"], ["class Sub(Base):\n    def say(self): return super().say() * 2\nSub().say()"]),
    "a dataclass": (["from dataclasses import dataclass", "@dataclass\nclass P:\n    x: int = 1"], ["P(3).x, P() == P(1)"]),
    "a class that reads": (["limit = 3"], ["class A:\n    most = limit\n    both = [limit for _ in 'ab']\n    def get(self): return self.most + limit\nA().get(), A.both"]),
    "async helpers": (["import asyncio\nasync def later(x):\n    await asyncio.sleep(0)\n    return x"], ["await asyncio.gather(later(1), later(2))"]),
    "async loops": (["async def gen():\n    yield 1\n    yield 2"], ["found = []\nasync for x in gen():\n    found.append(x)\n[x async for x in gen()], found"]),
    "a generator": (["n = 3"], ["def gen():\n    for i in range(n):\n        yield i\nlist(gen())"]),
    "augmented": (["total = 5"], ["total += 1", "total *= 2\ntotal"]),
    "augmented in a loop": (["xs = [1, 2]\ntotal = 0"], ["for x in xs:\n    total += x\ntotal"]),
    "bound on one way": (["x = 1"], ["if x > 5:\n    y = 1\nelse:\n    y = 2\ny"]),
    "bound by another round": ([], ["seen = []\nfor i in range(3):\n    if i:\n        seen.append(last)\n    last = i\nseen"]),
    "perhaps bound, else from before": (["y = 7\nflag = False"], ["if flag:\n    y = 1\ny"]),
    "a function that reads what comes later": (["y = 1"], ["def f(): return y\nfirst = f()\ny = 2\nfirst, f()"]),
    "a loop that never runs": ([], ["for i in []: pass\nelse:\n    i = 'none'\ni"]),
    "while": (["n = 3"], ["while n:\n    n -= 1\nelse:\n    m = 'end'\nn, m"]),
    "with": ([], ["import contextlib\nwith contextlib.nullcontext(5) as five, contextlib.nullcontext((1, 2)) as (a, b):\n    pass\nfive, a, b"]),
    "try": ([], ["try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    said = str(e)\nfinally:\n    z = 1\nsaid, z"]),
    "an error that is gone": ([], ["e = 1\ntry:\n    1 / 0\nexcept ZeroDivisionError as e:\n    pass\ne"]),
    "try with what is left from before": (["data = 3"], ["try:\n    data = int('x')\nexcept ValueError:\n    pass\ndata"]),
    "match": (["v = {'k': 1, 'z': 2}"], ["match v:\n    case {'k': k, **rest}:\n        pass\n    case _:\n        k = rest = None\nk, rest"]),
    "match a sequence": (["v = [1, 2, 3]"], ["match v:\n    case [first, *others] as whole if first:\n        found = first, others, whole\nfound"]),
    "del": (["x = 1\ny = 2"], ["del x\nz = y", "x = 3\nx + z"]),
    "a name that is gone": (["x = 1"], ["del x\nx"]),
    "unpacking": (["t = (1, (2, [3, 4]))"], ["a, (b, [c, *d]) = t\n(a, b, c, d)"]),
    "subscripts and attributes": (["d = {}\nimport types\no = types.SimpleNamespace()"], ["d['k'] = o.x = 3\no.x += 1\nd, o.x"]),
    "an annotation": (["from typing import List"], ["x: List[int] = [1]\ny: int\nx"]),
    "global": (["n = 1"], ["def bump():\n    global n\n    n += 1\nbump()\nbump()\nn"]),
    "global that is deleted": (["b = 1"], ["def f():\n    global b\n    del b\nf()\nb"]),
    "a value that a module replaces": (["a = 1\nf = lambda: 2"], ["b = (a, f())\nimport math as a\nf = 3\nb"]),
    "global that makes it": ([], ["def make():\n    global made, other\n    made = 1\nmake()\nmade"]),
    "global at the top": (["x = 1"], ["global x\nx = 2\nx"]),
    "global in a helper": (["count = 0\ndef bump():\n    global count\n    count += 1\n    return count"], ["bump(), bump(), count"]),
    "global that a helper makes": (["def init(v):\n    global cfg\n    cfg = v"], ["init(4)\ncfg"]),
    "global in a class": ([], ["class A:\n    global made\n    made = 2\n    own = 1\nmade, A.own"]),
    "global two deep": (["n = 1"], ["def f():\n    def g():\n        global n\n        n += 1\n    g()\nf()\nn"]),
    "nonlocal": ([], ["def f():\n    x = 1\n    def g():\n        nonlocal x\n        x += 1\n    g()\n    return x\nf()"]),
    "imports": ([], ["import json, os.path as p\nfrom math import floor as fl, ceil\njson.dumps(fl(1.5)), p.join('a', 'b'), ceil(1.2)"]),
    "earlier imports": (["import os.path, xml.dom\nimport xml.dom.minidom\nfrom math import (floor,\n  ceil as up)"], ["up(floor(1.5)), os.path.sep, xml.dom.minidom.Document().nodeName"]),
    "an import in the middle": ([], ["x = 1\nimport json; y = 2\nfrom math import pi  # of the circle\njson.dumps([x, y, int(pi)])"]),
    "an import of several cells": ([], ["import math\na = math.pi", "import math\na + math.e"]),
    "an import that may fail": ([], ["try:\n    import no_such_module as fast\nexcept ImportError:\n    import json as fast\nfast.dumps(1)"]),
    "an earlier import that may fail": (["try:\n    import no_such_module as fast\nexcept ImportError:\n    import json as fast"], ["fast.dumps(1)"]),
    "an import in a function": ([], ["def f():\n    import math\n    return math.floor(2.5)\nf()"]),
    "an import under a condition": (["x = 1"], ["if x:\n    from math import sqrt\nsqrt(4)"]),
    "an import that another value replaces": ([], ["from math import pi\npi = pi + 1\npi"]),
    "an earlier import that another value replaces": (["from math import pi"], ["pi = pi + 1\npi"]),
    "one name for two imports": ([], ["from math import floor as f\na = f(1.5)\nfrom math import ceil as f\na, f(1.5)"]),
    "a star": ([], ["from math import *\nfloor(pi)"]),
    "an earlier star": (["from math import *"], ["floor(pi)"]),
    "an import after a change of the path": ([], ["import sys\nsys.path = list(sys.path)\nimport json\njson.dumps(1)"]),
    "a future": (["from __future__ import annotations\ndef f(x: Unknown): return x"], ["from __future__ import annotations\ndef g(x: Unknown2): return f(x)\ng(1)"]),
    "an object of a module": (["import math\nroot = math.sqrt\nlong = len\nKind = int"], ["root(4), long('ab'), Kind('3')"]),
    "a module under another name": (["import json\nj = json"], ["j.dumps([1])"]),
    "redefinition": (["def helper(): return 1\ndef f(): return helper()"], ["def helper(): return 2\nf()"]),
    "redefinition after use": (["def helper(): return 1\ndef f(): return helper()"], ["a = f()\ndef helper(): return 2\na, f()"]),
    "the last of several definitions": (["def f(): return 1", "def f(): return 2"], ["f()"]),
    "a definition under a condition": (["if True:\n    def f():\n        return 'x'"], ["f()"]),
    "a definition where another fails": (["try:\n    raise OSError\nexcept OSError:\n    def f():\n        return 'y'"], ["f()"]),
    "what is made of functions": (["import functools\ndef add(a, b): return a + b\ninc = functools.partial(add, 1)\nfast = functools.cache(add)"], ["inc(2), fast(1, 1)"]),
    "what is made of itself": (["import functools\ndef f(x): return x + 1", "f = functools.cache(f)\nfrom math import floor\nfloor = functools.partial(floor)\nclass C:\n    n = 1", "class C(C):\n    m = C.n + 1"], ["f(1), floor(1.5), C.m"]),
    "what is made of types": (["import collections, typing\nP = collections.namedtuple('P', 'x y')\nT = typing.TypeVar('T')\nRow = dict[str, int]\nOr = int | str"], ["def f(p: P, r: Row, o: Or) -> T: return p.x\nf(P(1, 2), {}, 1)"]),
    "a definition among others": (["a = 1; f = lambda: a; b = 2"], ["f() + b"]),
    "a changed built-in": (["list = [3]\ndef sorted(x): return 'mine'"], ["list + [1], sorted([2, 1])"]),
    "a variable called run": (["run = 5"], ["run + 1"]),
    "a function called run": (["def run(x): return x + 1"], ["run(1)"]),
    "a function called run in the cells": ([], ["def run(x): return x + 1\nrun(2)"]),
    "an import called run": (["from math import floor as run"], ["run(1.5)"]),
    "an import called run in the cells": ([], ["from math import floor as run\nrun(1.5)"]),
    "a helper that calls run": (["def run(): return 1\ndef f(): return run() + 1"], ["f()"]),
    "the main module": ([], ["if __name__ == '__main__':\n    x = 1\nx, __name__"]),
    "what it prints": (["n = 2"], ["print('a', n)\nn  # shown by a notebook only", "display(n)\nprint('b')"]),
    "long strings": (["n = 1"], ["a = '''x\n  y\n'''\nif n:\n    b = f'''\n{n}\n    {n + 1}'''\n    c = ('p'\n  'q')\na, b, c, 'r\\\ns'"]),
    "tabs": ([], ["for x in [1]:\n\tif x:\n\t\ty = '''\n\tz'''\ny"]),
    "comments": ([], ["# first\nx = 1  # one\n\n    # odd\ny = 2\n# last\nx + y  # sum"]),
    "other letters": (["größe = 2"], ["π = 'ö'; import math; größe\nx = 'äöü'; größe + math.floor(1.5)"]),
    "semicolons": ([], ["x = 1; y = 2; x + y"]),
    "brackets": ([], ["x = 1\n(x +\n 1)", "(\n  # why\n  x\n)"]),
    "a backslash": ([], ["x = 1 + \\\n  2\nx * \\\n 2"]),
    "a starred tuple": (["xs = [1]"], ["*xs, 2"]),
    "an await": ([], ["import asyncio\nx = await asyncio.sleep(0, 3)\nawait asyncio.sleep(0, x)"]),
    "an error": (["x = 0"], ["1 / x"]),
    "a string at the top": ([], ["'''What it does.'''\nx = 1", "x"]),
    "an unused class attribute": (["name = 'n'"], ["class A:\n    def list(self) -> list[str]: return [name]\nA().list()"]),
}  # fmt: skip
if sys.version_info >= (3, 12):
    GIVES |= {
        "type parameters": (["n = 1"], ["def f[T](x: T) -> T: return x\nclass A[T]:\n    v = n\ntype L[T] = list[T]\nf(A.v), L.__name__"]),
    }  # fmt: skip


@pytest.mark.parametrize("case", GIVES)
def test_a_draft_does_what_the_cells_did(case):
    made, did, does = promoted(*GIVES[case])
    if isinstance(did.value, Exception):
        assert isinstance(does.value, type(did.value)), made.source
    else:
        assert does.value == did.value, made.source
        assert type(does.value) is type(did.value)
    assert does.printed == did.printed


@pytest.mark.parametrize(
    ("earlier", "cell", "parameters"),
    [
        (["x = 1\ny = 2"], "x + 1", ["x"]),
        (["x = 1"], "x = 2\nx", []),
        (["x = 1"], "def f(): return x\nx = 2\nf()", ["x"]),
        (["x = 1"], "x = 2\ndef f(): return x\nf()", []),
        (["x = 1"], "if len('a'):\n    x = 2\nelse:\n    x = 3\nx", []),
        (["x = 1"], "try:\n    x = 2\nexcept OSError:\n    x = 3\nx", []),
        (["x = 1"], "try:\n    x = 2\nexcept OSError:\n    raise\nx", []),
        (["x = 1"], "match 1:\n    case 1:\n        x = 2\n    case _:\n        x = 3\nx", []),
        ([], "for i in [1]: last = i\nlast, i", []),
        (["b = 1\na = 2"], "a, b", ["a", "b"]),
        (["import math\nx = 1\ndef f(): return x"], "f() + math.pi", ["x"]),
        (["x = 1"], "(lambda x: x)(2), [x for x in 'ab'], {x: 1 for x in 'a'}", []),
        (["x = y = z = 1"], "def f(a=x, *b: y, **c) -> z: ...\nf()", ["x", "y", "z"]),
    ],
)  # fmt: skip
def test_what_is_read_before_it_is_set_becomes_a_parameter(earlier, cell, parameters):
    made, did, does = promoted(earlier, [cell])
    assert list(made.arguments) == parameters
    assert does.value == did.value


@pytest.mark.parametrize(
    ("cell", "returned", "annotation"),
    [
        ("x + 1", "x + 1", " -> int"),
        ("(x +\n  1)", "(x +", " -> int"),
        ("y = x", "y", " -> int"),
        ("y: int = x", "y", " -> int"),
        ("a, b = x, 's'", "a, b", " -> tuple[int, str]"),
        ("[a, b] = x, 's'", "a, b", " -> tuple[int, str]"),
        ("z = y = x", "y", " -> int"),
        ("x += 1", "x", " -> int"),
        ("import numpy as np\na = np.arange(3) + x", "a", " -> np.ndarray"),
        ("import numpy as np\na, b = np.arange(3), np.arange(x)", "a, b", " -> tuple[np.ndarray, np.ndarray]"),
        ("None", "None", ""),
        ("x + 1;", None, " -> None"),
        ("print(x)", None, " -> None"),
        ("display(x)", None, " -> None"),
        ("d = {}; d['k'] = x", None, " -> None"),
        ("for i in 'ab': x", None, " -> None"),
        ("def f(): return 1", None, " -> None"),
        ("x\n# the end", "x", " -> int"),
    ],
)
def test_the_value_of_the_last_statement_is_returned(cell, returned, annotation):
    made, _, _ = promoted(["x = 1"], [cell])
    (run,) = [node for node in ast.parse(made.source).body if isinstance(node, ast.AsyncFunctionDef)]
    assert (f" -> {ast.unparse(run.returns)}" if run.returns else "") == annotation
    if returned is None:
        assert not [node for node in run.body if isinstance(node, ast.Return)]
    else:
        assert f"return {returned}" in made.source


def test_a_draft_reads_as_a_person_would_have_written_it():
    earlier = [
        "import numpy as np\nimport pandas as pd",
        "def share(part, whole):\n    # per cent\n    return 100 * part / whole",
        "rows = [1, 2]\nframe = pd.DataFrame()",
    ]
    cells = [
        "# how many\ncount = len(rows)  # of both",
        "import math\nfor row in rows:\n    text = f'''\n{row}'''\nmath.floor(share(count, len(frame) + 4))",
    ]
    shell = Shell()
    shell.run(*earlier, *cells)
    assert draft("made", 'Says "how many"', cells, earlier, shell.names, result=50).source == body(
        '''
        """Says "how many\\""""

        # /// script
        # dependencies = ["pandas"]
        # ///

        import math
        import pandas as pd


        def share(part, whole):
            # per cent
            return 100 * part / whole


        async def run(rows: list[int], frame: pd.DataFrame) -> int:
            # how many
            count = len(rows)  # of both

            for row in rows:
                text = f\'\'\'
        {row}\'\'\'
            return math.floor(share(count, len(frame) + 4))
        '''
    ) + "\n"  # fmt: skip


VALUES = [
    (True, "bool"),
    (1, "int"),
    (1.5, "float"),
    (1j, "complex"),
    ("s", "str"),
    (b"b", "bytes"),
    (None, "Any"),
    ([], "list"),
    ([1, 2], "list[int]"),
    ([1, "a"], "list"),
    ([[1], [2]], "list[list[int]]"),
    ([[1], ["a"]], "list[list]"),
    ([[[1]]], "list[list[list]]"),
    ([None], "list"),
    ({1, 2}, "set[int]"),
    (frozenset("a"), "frozenset[str]"),
    ((), "tuple"),
    ((1, "a"), "tuple[int, str]"),
    ((1,) * 9, "tuple[int, ...]"),
    ((1, "a") * 9, "tuple"),
    ({}, "dict"),
    ({"a": 1}, "dict[str, int]"),
    ({"a": 1, "b": "c"}, "dict[str, Any]"),
    ({"a": 1, 2: 3}, "dict"),
    (list(range(2000)), "list"),
    (datetime.date(2024, 1, 1), "datetime.date"),
    (decimal.Decimal(1), "decimal.Decimal"),
    (collections.OrderedDict(), "collections.OrderedDict"),
    (np.float64(1), "np.float64"),
    (np.zeros(1), "np.ndarray"),
    (pd.DataFrame(), "pd.DataFrame"),
    (pd.Timestamp(0), "pd.Timestamp"),
    ([fractions.Fraction(1)], "list[fractions.Fraction]"),
    (lambda: 1, "Any"),
    (type("Hidden", (), {})(), "Any"),
]


@pytest.mark.parametrize(("value", "annotation"), VALUES, ids=[annotation for _, annotation in VALUES])
def test_a_parameter_is_annotated_by_its_value(value, annotation):
    made = draft("made", "D", ["x"], [], {"x": value}, result=value)
    run = ast.parse(made.source).body[-1]
    assert isinstance(run, ast.AsyncFunctionDef)
    assert ast.unparse(run.args.args[0].annotation) == annotation
    assert made.arguments == {"x": value} or value is not made.arguments["x"]
    assert outcome(made, made.arguments).value is value


def test_annotations_use_the_imports_that_are_there_and_take_no_name_from_the_cells():
    now = datetime.datetime(2024, 1, 1)
    names = {"datetime": datetime.datetime, "when": now, "pandas": pd, "frame": pd.DataFrame(), "today": now.date()}
    earlier = ["from datetime import datetime\nimport pandas"]
    made = draft("made", "D", ["datetime.min, pandas.NA, when, frame, today"], earlier, names)
    assert "async def run(when: datetime, frame: pandas.DataFrame, today: _datetime.date):" in made.source
    made = draft("made", "D", ["datetime = when, Any\ndatetime"], [], {"when": now, "Any": None})
    assert "async def run(when: _datetime.datetime, Any: _Any) -> " not in made.source
    assert outcome(made, {"when": now, "Any": None}).value == (now, None)


def test_a_class_of_the_session_is_named_where_it_is_carried_over():
    earlier = ["class P:\n    x = 1", "p = P()"]
    made, did, does = promoted(earlier, ["p.x, P.x"])
    assert "async def run(p: P) -> tuple[int, int]:" in made.source
    made, did, does = promoted(earlier, ["p.x"])
    assert "async def run(p: Any) -> int:" in made.source
    assert made.notes == ["'p' is a P, which cannot be imported: a call from elsewhere has none to give"]
    assert does == did


def test_a_long_signature_has_a_line_for_each_parameter():
    names = {f"a_rather_long_name_{n}": n for n in range(8)}
    made = draft("made", "D", [" + ".join(names)], [], names, result=28)
    assert "async def run(\n    a_rather_long_name_0: int,\n" in made.source
    assert ",\n) -> int:\n    return " in made.source
    assert outcome(made, made.arguments).value == 28


def install(folder: Path, package: str, **files: str) -> None:
    """A package with a distribution of the same name."""
    (folder / f"{package}.py").write_text("x = 1\n")
    about = folder / f"{package}-1.0.dist-info"
    about.mkdir()
    files = {"METADATA": f"Name: {package}\nVersion: 1.0\n", "top_level.txt": package, **files}
    for name, text in files.items():
        (about / name).write_text(text)


def test_packages_that_are_installed_are_declared_and_others_are_told(tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("x = 1\n")
    install(tmp_path, "from_a_path", **{"direct_url.json": "{}"})
    monkeypatch.syspath_prepend(tmp_path)
    cells = ["import yaml, numpy, only_here, json\nfrom IPython import display as d", "import from_a_path\nonly_here.x"]
    shell = Shell()
    shell.run(*cells)
    made = draft("made", "D", cells, [], shell.names, result=1)
    assert '# dependencies = ["numpy", "PyYAML"]\n' in made.source
    assert made.notes == [
        "'from_a_path' is of from_a_path, which is not declared: add what it needs by hand",
        "'only_here' is of no installed package: the workflow runs only where it can be imported",
    ]
    assert "script" not in draft("made", "D", ["import json\njson"], [], {}).source


def test_a_class_inside_needs_nothing_by_itself():
    cell = "def f():\n    class A:\n        class B:\n            x = 1\n    return A.B.x\nf()"
    made, did, does = promoted(["def g():\n    class A: pass"], [cell])
    assert "__name__" not in made.source
    assert does == did


def test_what_a_person_should_know_is_noted():
    made, _, _ = promoted(["x = 1"], ["x = x + 1\nif x > 9: print(never)\nglobals().get('x')"])
    assert made.notes == [
        "the cells give 'x' another value: what it has now is the one after them",
        "'never' has no value in the session now: what uses it fails, unless it never runs",
        "globals() sees the names of the workflow, not those of the session",
    ]


def test_one_of_several_definitions_is_known_by_its_value_only():
    made, _, does = promoted(["if True:\n    def f(): return 1\nelse:\n    def f(): return 2"], ["f()"])
    assert list(made.arguments) == ["f"]
    assert made.notes == ["'f' is a function, which cannot be imported: a call from elsewhere has none to give"]
    assert does.value == 1


def test_the_names_of_a_session_are_not_parameters():
    names = {"tools": 1, "workflows": 2, "artifacts": 3, "deps": 4, "ToolError": ValueError, "display": print}
    names["open"] = lambda path: None  # as IPython has one of its own
    cell = "display(tools, workflows, artifacts, deps, ToolError, get_ipython, open, __builtins__)"
    assert draft("made", "D", [cell], [], names).arguments == {}
    assert draft("made", "D", ["tools + 1"], ["tools = 1"], names).arguments == {"tools": 1}


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["x = 1", "y = 2\n%time x"], "cell 2 of those chosen, line 2: '%time x' is IPython syntax, which no workflow can have: leave"),
        (["!ls"], "line 1: '!ls' is IPython syntax"),
        (["%%bash\nls"], "line 1: '%%bash' is IPython syntax"),
        (["x = !ls -l"], "'x = !ls -l' is IPython syntax"),
        (["print?"], r"'print\?' is IPython syntax"),
        (["?print"], r"'\?print' is IPython syntax"),
        (["x = (1"], "cell 1 of those chosen, line 1: it does not parse: '\\(' was never closed"),
        (["return 1"], "'return' outside function"),
        (["yield 1"], "'yield' outside function"),
        (["", "  # nothing"], "the cells hold no code"),
        (["_ + 1"], "the cells use '_', an earlier input or result of the session: give it a name first"),
        (["Out[1]"], "the cells use 'Out'"),
        (["_12"], "the cells use '_12'"),
        (["class A:\n    n = n"], "class A reads 'n' of the session and then sets a 'n' of its own"),
        (["from math import *\npi = 3"], "line 1: 'import \\*' can stand at the top of a file only"),
        (["def f():\n    n = 1\n    def g():\n        global n\n        n = 2\n    g()\nf()"], "line 4: 'global n' is meant to pass over the 'n' of f"),
        (["from .here import x"], None),
    ],
)  # fmt: skip
def test_what_a_workflow_cannot_have_is_refused_with_where_and_what_to_do(cells, message):
    if message is None:
        assert "from .here import x" in draft("made", "D", cells, [], {}).source
        return
    with pytest.raises(ValueError, match=message):
        draft("made", "D", cells, [], {"n": 1, "_": 2, "Out": {}})


def test_magics_in_earlier_cells_are_passed_over():
    earlier = ["%matplotlib inline\ndef f(): return n", "%%time\nn = 1", "!ls", "not ) python", "n = 2"]
    made = draft("made", "D", ["f()"], earlier, {"n": 2, "f": None}, result=2)
    assert made.arguments == {"n": 2}
    assert outcome(made, made.arguments).value == 2


async def test_cells_of_a_real_kernel_are_promoted_in_it(shared: Session):
    await shared.run("import json\ndef helper(x):\n    return x + n\nn = 4")
    await shared.run("with open('data.json', 'w') as f:\n    json.dump([helper(1)], f)")
    await shared.run("display(n)\njson.load(open('data.json'))")
    result = await shared.run(
        "from kernel_bootstrap.promote import draft\n"
        "shell = get_ipython()\n"
        "made = draft('made', 'D', In[2:4], In[1:2], shell.user_ns)\n"
        "workflows.create('made', made.source)\n"
        "(made.arguments, made.notes, workflows.made(**made.arguments), len(artifacts.list()))"
    )
    assert result.raise_for_error().value == ({"n": 4}, [], [5], 0)


@pytest.mark.parametrize("text", ['Ends with "', 'Has """ and \\', "Lines\nof it", "Bell \a", "x" * 9])
def test_any_description_becomes_the_docstring(text):
    assert ast.get_docstring(ast.parse(draft("made", text, ["1"], [], {}).source), clean=False) == text


NAMES = st.sampled_from("abcd")
EXPRESSIONS = st.recursive(
    NAMES | st.integers(0, 3).map(str),
    lambda inner: st.one_of(
        st.builds("({} + {})".format, inner, inner),
        st.builds("sum([{} for {} in [{}, 1]])".format, inner, NAMES, inner),
        st.builds("(lambda {}=2: {})()".format, NAMES, inner),
        st.builds("({} := {})".format, NAMES, inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
    ),
    max_leaves=5,
)


def _indent(lines: list[str]) -> str:
    return textwrap.indent("\n".join(lines), "    ")


def _blocks(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    some = st.lists(inner, min_size=1, max_size=3).map(_indent)
    return st.one_of(
        st.builds("if {}:\n{}\nelse:\n{}".format, EXPRESSIONS, some, some),
        st.builds("for {} in [{}, 2]:\n{}".format, NAMES, EXPRESSIONS, some),
        st.builds("try:\n{}\nexcept NameError as {}:\n{}".format, some, NAMES, some),
        st.builds("def {}():\n    global {}\n{}\n    return 1".format, st.sampled_from("fg"), NAMES, some),
        st.builds("class C:\n    value = {}".format, EXPRESSIONS),
        st.builds("match {}:\n    case 1 as {}:\n{}".format, EXPRESSIONS, NAMES, some),
    )


STATEMENTS = st.recursive(
    st.one_of(
        st.builds("{} = {}".format, NAMES, EXPRESSIONS),
        st.builds("{} += {}".format, NAMES, EXPRESSIONS),
        st.builds("print({})".format, EXPRESSIONS),
        st.builds("{} = '''x\n  {}'''.count('x')".format, NAMES, NAMES),
        st.builds("del {}".format, NAMES),
        st.sampled_from(["f()", "g()", "print(f())"]),
        st.builds("def {}():\n    return {}".format, st.sampled_from("fg"), EXPRESSIONS),
    ),
    _blocks,
    max_leaves=6,
)
CELLS = st.lists(st.lists(STATEMENTS, min_size=1, max_size=4).map("\n".join), min_size=1, max_size=3)


def allowed(cells: list[str], earlier: list[str], names: dict[str, Any], value: Any) -> Draft | None:
    """The draft; None where two variables of one name would have to be told apart."""
    try:
        return draft("made", "D", cells, earlier, names, result=value)
    except ValueError as error:
        if "rename one of the two" in str(error):
            return None
        raise


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=4, max_size=4), CELLS, NAMES)
def test_drafts_of_any_cells_do_what_these_did(values, cells, last):
    earlier = [
        f"a, b, c, d = {values}",
        "def f():\n    return a + 1",
        "def g():\n    global b\n    b += 1\n    return f()",
    ]
    try:
        for cell in cells:
            compile(cell, "cell", "exec")
    except SyntaxError:
        return  # such as a walrus that binds the variable of its comprehension
    shell = Shell()
    shell.run(*earlier)
    before = dict(shell.names)
    cells = [*cells, last]
    did = shell.run(*cells)
    made = allowed(cells, earlier, {**before, **shell.names}, did.value)
    if made is None:
        return
    does = outcome(made, {name: before[name] for name in made.arguments})
    if isinstance(did.value, Exception):
        assert isinstance(does.value, NameError if isinstance(did.value, NameError) else type(did.value)), made.source
    else:
        assert callable(did.value) or does.value == did.value, made.source
    assert does.printed == did.printed, made.source
