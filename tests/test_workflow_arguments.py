"""The arguments of a workflow are checked before it runs, with messages to act on."""

from __future__ import annotations

import collections
import functools
import inspect
import pickle
import timeit
import typing
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_bootstrap.arguments import Checker
from kernel_bootstrap.errors import WorkflowArgumentError, WorkflowError


def checker(parameters: str, returns: str = "", before: str = "") -> Checker:
    namespace: dict[str, Any] = {"np": np, **vars(typing)}
    code = f"{before}\nasync def run({parameters}){returns}: ..."
    exec(compile(code, "workflow", "exec", dont_inherit=True), namespace)
    return Checker(namespace["run"], "fetch")


def message(found: Checker, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(WorkflowArgumentError) as caught:
        found.check(args, kwargs)
    assert caught.value.workflow == "fetch"
    return str(caught.value)


FETCH = "url: str, limit: int = 10, *, tags: list[str] | None = None"
TAKES = ". It takes: fetch(url: str, limit: int = 10, *, tags: list[str] | None = None) -> dict"


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ((), {}, "missing 'url' (str)"),
        (("x",), {"url": "y"}, "'url' is given twice, by its place and by its name"),
        (("x",), {"limt": 1}, "no argument 'limt' (did you mean 'limit'?)"),
        (("x",), {"zzz": 1}, "no argument 'zzz'"),
        (("x", 1, ["t"]), {}, "it takes 2 arguments without a name, 3 are given (give 'tags' by name)"),
        (("x", "10"), {}, "'limit' has to be int, not str ('10')"),
        ((None,), {}, "'url' has to be str, not None"),
        (("x",), {"tags": "a"}, "'tags' has to be list[str] | None, not str ('a')"),
        ((), {"Url": 1, "limit": 2.5}, "no argument 'Url' (did you mean 'url'?); missing 'url' (str); 'limit' has to be int, not float (2.5)"),
    ],
)  # fmt: skip
def test_all_that_does_not_fit_is_told_with_the_whole_signature(args, kwargs, problem):
    assert message(checker(FETCH, " -> dict"), *args, **kwargs) == f"workflows.fetch: {problem}{TAKES}"


def test_every_missing_argument_is_named_with_its_type():
    assert "missing 'a' (int), 'b', 'c' (Literal['x'])." in message(checker("a: int, b, *, c: Literal['x']"))


def test_the_names_of_a_call_without_parameters_and_of_positional_only_ones():
    assert "it takes no argument without a name, 1 are given. It takes: fetch()" in message(checker(""), 1)
    only = checker("a, /, b=1")
    assert "'a' is given by its place only, without its name; missing 'a'" in message(only, a=1)
    checker("a, /, **more").check((1,), {"a": 2})
    assert "missing 'a'" in message(checker("a, /, **more"), a=2)


def test_a_long_value_is_shown_by_its_beginning():
    text = message(checker("n: int"), "y" * 100_000)
    assert len(text) < 400


ACCEPTED = {
    str: {str},
    int: {int, bool},
    float: {float, int, bool},
    complex: {complex, float, int, bool},
    bool: {bool},
    bytes: {bytes},
    list: {list},
    dict: {dict},
    tuple: {tuple},
    set: {set},
    frozenset: {frozenset},
    type(None): {type(None)},
}
VALUES = ["s", 1, 1.5, 1j, True, b"b", [1], {"a": 1}, (1,), {1}, frozenset({1}), None]


@pytest.mark.parametrize("future", ["", "from __future__ import annotations"])
@pytest.mark.parametrize("kind", ACCEPTED)
def test_a_value_whose_type_contradicts_a_plain_annotation_is_refused(kind, future):
    name = "None" if kind is type(None) else kind.__name__
    found = checker(f"x: {name}", before=future)
    for value in VALUES:
        if type(value) in ACCEPTED[kind]:
            found.check((value,), {})
            found.check((), {"x": value})
        else:
            assert f"'x' has to be {name}, not " in message(found, value)
            assert f"'x' has to be {name}, not " in message(found, x=value)


@pytest.mark.parametrize(
    ("annotation", "right", "wrong"),
    [
        ("list[int]", ["a"], {"a": 1}),
        ("dict[str, int]", {}, []),
        ("tuple[int, ...]", (), []),
        ("List[int]", [], ()),
        ("Optional[int]", None, "1"),
        ("Union[int, str]", "1", 1.5),
        ("int | None", 1, "1"),
        ("Literal['a', 'b']", "a", "c"),
        ("Literal['a', 1] | list", 1, 2),
        ("Literal['a', None]", None, "b"),
        ("Annotated[int, 'of something']", 1, "1"),
        ("'int | None'", None, "1"),
    ],
)
def test_unions_literals_and_generics_are_understood(annotation, right, wrong):
    found = checker(f"x: {annotation}")
    found.check((right,), {})
    assert "'x' has to be " in message(found, wrong)


@pytest.mark.parametrize(
    "annotation",
    ["Any", "object", "Sequence", "Iterable[int]", "np.ndarray", "int | np.ndarray", "'Unknown'", "Optional['Unknown']",
     "Callable[[int], int]", "TypeVar('T')", "NewType('N', int)", "'not python'", "'1 +'", "3", "[int]"],
)  # fmt: skip
def test_what_is_not_understood_is_not_checked(annotation):
    found = checker(f"x: {annotation}", before="from collections.abc import Callable, Iterable, Sequence")
    for value in VALUES:
        found.check((value,), {})


def test_values_of_other_types_pass_whatever_the_annotation():
    class Odd(type):
        def __eq__(cls, other):
            raise AssertionError

        __hash__ = None

    class Text(str, metaclass=Odd):
        pass

    found = checker("x: int | None = 3")
    for value in (np.int64(1), np.float32(1.5), np.zeros(2), object(), Text("1"), collections.OrderedDict(), range(2)):
        found.check((value,), {})


def test_a_default_may_be_given_although_its_annotation_does_not_say_so():
    found = checker("x: int = None, *, y: str = 5")
    found.check((None,), {"y": 5})
    assert "'x' has to be int, not str" in message(found, "")


def test_all_arguments_of_a_star_are_checked():
    found = checker("a: int, *rest: int, **more: str")
    found.check((1, 2, 3), {"b": "x"})
    assert "'*rest' has to be int, not str ('3')" in message(found, 1, 2, "3")
    assert "'b' has to be str, not int (1)" in message(found, 1, b=1)


def test_a_decorated_run_is_judged_by_what_the_decorator_takes():
    async def run(client, url: str): ...

    @functools.wraps(run)
    async def wrapped(*args, **kwargs): ...

    Checker(wrapped, "fetch").check(("x",), {})
    Checker(type, "fetch").check((1, 2), {"a": 1})


def test_the_error_is_a_type_error_and_keeps_what_it_says():
    with pytest.raises(TypeError) as caught:
        checker("x").check((), {})
    assert isinstance(caught.value, WorkflowError)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.message, again.workflow) == (caught.value.message, "fetch")


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(
        [
            "",
            "a",
            "a, b=1",
            "a, /",
            "a, /, b",
            "a=1, /, b=2, *, c=3",
            "*a",
            "a, *b",
            "a, *, b",
            "*, a, b=1",
            "**a",
            "a, /, **b",
            "a=1, *b, c, **d",
            "a, b, c",
        ]
    ),
    st.lists(st.integers(), max_size=4),
    st.dictionaries(st.sampled_from("abcdx"), st.integers(), max_size=4),
)
def test_exactly_those_calls_pass_that_python_would_accept(parameters, args, kwargs):
    namespace: dict[str, Any] = {}
    exec(f"async def run({parameters}): ...", namespace)
    try:
        inspect.signature(namespace["run"]).bind(*args, **kwargs)
    except TypeError:
        assert message(checker(parameters), *args, **kwargs).endswith(f" It takes: fetch({parameters})")
    else:
        checker(parameters).check(tuple(args), kwargs)


def test_a_call_that_fits_costs_microseconds():
    found = checker(FETCH)
    seconds = min(timeit.repeat(lambda: found.check(("x",), {"limit": 3, "tags": ["a"]}), number=200, repeat=20)) / 200
    assert seconds < 50e-6
