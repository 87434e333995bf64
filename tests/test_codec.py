"""The value codec: what crosses, and what stands for what does not."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import sys
import threading
import types
import zoneinfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_bootstrap.codec import Encoded, Repr, decode, encode
from tests.codec_wire import crossed, over_the_wire

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def same(left, right) -> bool:
    """Equal in type and value all the way down; nan equals nan, and 0.0 is not -0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return (math.isnan(left) and math.isnan(right)) or (left, math.copysign(1, left)) == (
            right,
            math.copysign(1, right),
        )
    if isinstance(left, complex):
        return same(left.real, right.real) and same(left.imag, right.imag)
    if isinstance(left, decimal.Decimal):
        return left.compare_total(right) == 0
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same(list(left), list(right)) and same(list(left.values()), list(right.values()))
    if isinstance(left, datetime.datetime | datetime.time):
        return (left.isoformat(), left.fold) == (right.isoformat(), right.fold)
    return left == right


offsets = st.timedeltas(datetime.timedelta(hours=-23), datetime.timedelta(hours=23)).map(datetime.timezone)
hashables = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**40), 10**40),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(st.characters()),
    st.text(st.characters(categories=["Cs", "Lu"])),
    st.binary(),
    st.datetimes(timezones=st.none() | st.timezones() | offsets),
    st.dates(),
    st.times(timezones=st.none() | offsets),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.uuids(),
    st.sampled_from(
        [pathlib.Path("a/b"), pathlib.PurePosixPath("/x"), pathlib.PureWindowsPath("c:/x"), range(1, 9, 2)]
    ),
)
values = st.recursive(
    hashables | st.floats() | st.complex_numbers() | st.decimals(allow_nan=True) | st.binary().map(bytearray),
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(st.text() | st.just("$t"), inner),
        st.dictionaries(hashables | st.tuples(hashables, hashables), inner),
        st.sets(hashables | st.frozensets(hashables)),
        st.frozensets(hashables),
    ),
    max_leaves=12,
)


@given(values)
@settings(max_examples=150, deadline=None)
def test_every_supported_value_comes_back_with_its_type(value):
    assert same(crossed(value), value)


def test_plain_json_values_are_their_own_tree():
    value = {"a": [1, "x", None, 1.5, True], "b": {"c": []}}
    assert encode(value) == Encoded(value, [], False, False)


@pytest.mark.parametrize("value", [{"$t": "tuple", "v": []}, {"$t": {"$t": 1}}, {1: "a", "1": "b"}])
def test_a_dict_that_looks_like_a_tag_or_has_other_keys_is_not_taken_for_one(value):
    assert same(crossed(value), value)


def test_integers_of_any_size_cross():
    for value in (2**63, -(2**64), 10**10_000, -(7**9_000)):
        assert crossed([value]) == [value]


@pytest.mark.parametrize("text", ["\ud800 lone", "a\0b", "😀" * 3, "é" * 50_000, "\udfff" * 50_000])
def test_text_of_every_kind_crosses(text):
    assert crossed({"text": text}) == {"text": text}


def test_large_bytes_are_buffers_and_are_not_copied():
    value = b"x" * 100_000
    encoded = encode([value])
    assert encoded.buffers[0] is value
    assert over_the_wire(encoded) == [value]


def test_a_memoryview_crosses_as_bytes_even_if_it_has_gaps():
    assert crossed([memoryview(b"abcd")[::2], memoryview(array.array("i", [1])), memoryview(b"")]) == [
        b"ac",
        b"\1\0\0\0",
        b"",
    ]


def test_time_zones_cross_by_key_or_as_exact_offsets():
    class Odd(datetime.tzinfo):
        def utcoffset(self, moment):
            return datetime.timedelta(minutes=7)

        def tzname(self, moment):
            return "odd"

    second = datetime.datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=BERLIN)
    back = crossed(second)
    assert (back.tzinfo, back.fold, back.utcoffset()) == (BERLIN, 1, datetime.timedelta(hours=1))
    named = datetime.timezone(datetime.timedelta(seconds=61), "here")
    assert crossed(second.replace(tzinfo=named)).tzname() == "here"
    assert crossed(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)).tzinfo is datetime.UTC
    assert crossed(datetime.datetime(2020, 1, 1, tzinfo=Odd())).isoformat() == "2020-01-01T00:00:00+00:07"


def test_a_zone_that_is_unknown_here_becomes_its_offset():
    tree = encode(datetime.datetime(2020, 1, 1, tzinfo=BERLIN)).tree
    tree["tz"]["key"] = "Nowhere/Atlantis"
    assert decode(tree, []).utcoffset() == datetime.timedelta(hours=1)


def test_enum_members_dataclasses_and_namedtuples_cross_as_plain_values():
    class Color(enum.IntEnum):
        RED = 1

    @dataclasses.dataclass
    class Point:
        x: int
        y: object = None

    pair = collections.namedtuple("pair", "left right")
    assert same(crossed([Color.RED, Point(1, Point(2)), pair(1, (2,))]), [
        1,
        {"x": 1, "y": {"x": 2, "y": None}},
        {"left": 1, "right": (2,)},
    ])  # fmt: skip
    assert crossed({pair(1, 2): Color.RED}) == {(1, 2): 1}


def test_subclasses_and_collections_cross_as_their_base_type():
    class Text(str):
        def __str__(self):
            return "never asked"

    class Items(list):
        def __iter__(self):
            return iter(())

    ordered = collections.OrderedDict(a=1, b=2)
    ordered.move_to_end("a")
    found = crossed(
        [
            Text("x"),
            Items([1]),
            ordered,
            collections.defaultdict(int, a=1),
            collections.Counter("aa"),
            collections.deque([1]),
            {1: 2}.items(),
            types.MappingProxyType({"k": 1}),
            array.array("d", [1.5]),
            slice(1, None),
        ]
    )
    expected = [
        "x",
        [1],
        {"b": 2, "a": 1},
        {"a": 1},
        {"a": 2},
        [1],
        [(1, 2)],
        {"k": 1},
        [1.5],
        slice(1, None),
    ]
    assert same(found, expected)


class Broken:
    def __init__(self, what):
        self.what = what

    def __repr__(self):
        return self.what()


def test_what_cannot_cross_is_its_repr_with_the_name_of_its_class():
    encoded = encode({"f": [print, 1]})
    value = over_the_wire(encoded)
    assert encoded.is_repr
    assert value == {"f": ["<built-in function print>", 1]}
    assert isinstance(value["f"][0], Repr)
    assert value["f"][0].type_name == "builtin_function_or_method"
    assert over_the_wire(encode(Broken(lambda: "hi"))).type_name == "tests.test_codec.Broken"
    again = over_the_wire(encode(value["f"][0]))
    assert (again, again.type_name) == (value["f"][0], value["f"][0].type_name)


@pytest.mark.parametrize(
    "value",
    [
        ValueError("x"),
        types,
        (n for n in ()),
        sys.stdout,
        Broken,
        object(),
        ...,
        np.ma.array([1], mask=[1]),
        np.dtype("f8"),
        pa.int64(),
    ],
)
def test_objects_of_other_classes_are_reprs(value):
    assert encode(value).is_repr
    assert over_the_wire(encode(value)) == repr(value)


def test_a_repr_that_fails_is_replaced_by_the_reason():
    def recurse():
        return recurse()

    def leave():
        sys.exit(3)

    for broken, reason in (
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda: 5, "TypeError: __repr__ returned non-string (type int)"),
        (recurse, "RecursionError"),
        (leave, "SystemExit: 3"),
    ):
        text = over_the_wire(encode(Broken(broken)))
        assert text.startswith(f"<tests.test_codec.Broken object: repr failed: {reason}")


def test_a_long_repr_is_bounded_and_says_so():
    text = over_the_wire(encode(Broken(lambda: "x" * 50_000)))
    assert len(text) < 10_100
    assert text.endswith("(40000 characters more)")


def test_a_member_that_cannot_be_hashed_on_arrival_is_a_repr():
    @dataclasses.dataclass(frozen=True)
    class Key:
        x: int

    class Hashed(list):
        __hash__ = object.__hash__

    encoded = encode({Key(1): 1, (Hashed(), 2): 2})
    assert encoded.is_repr
    assert list(over_the_wire(encoded).values()) == [1, 2]


def test_a_cycle_ends_in_a_line_that_says_so():
    cycle: dict = {"a": 1}
    cycle["self"] = [cycle]
    encoded = encode(cycle)
    assert encoded.is_repr
    assert over_the_wire(encoded) == {"a": 1, "self": ["<dict object: contains itself>"]}


def test_a_list_100000_deep_does_not_raise():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    encoded = encode(deep)
    assert encoded.is_repr
    value = over_the_wire(encoded)
    for _ in range(200):
        value = value[0]
    assert value == ["<list object: nested more than 200 deep>"]
    while deep:  # or freeing it would recurse
        deep = deep.pop()


@pytest.mark.parametrize(
    "wrap", [lambda v: [v], lambda v: (v,), lambda v: {1: v}, lambda v: frozenset([v]), lambda v: {"k": v}]
)
def test_nesting_of_200_crosses_whatever_the_container(wrap):
    value = wrap(1)
    for _ in range(199):
        value = wrap(value)
    encoded = encode(value)
    assert not encoded.is_repr
    text = json.dumps(encoded.tree)
    assert json.dumps(encode(over_the_wire(encoded)).tree) == text  # comparing the values would recurse


@pytest.mark.parametrize("limit", [1_000_000, None])
def test_a_list_that_holds_itself_2_to_the_60_times_over_is_cut(limit):
    tangled: list = []
    for _ in range(60):
        tangled = [tangled, tangled]
    encoded = encode(tangled, limit=limit)
    assert encoded.truncated


def test_values_that_other_threads_change_never_raise():
    shared: dict = {str(n): [n, (n,)] for n in range(300)}
    numbers = collections.deque(range(300))
    stop = threading.Event()

    def change():
        n = 0
        while not stop.is_set():
            n += 1
            shared[str(n % 700)] = {n: {n}}
            shared.pop(str((n * 7) % 700), None)
            numbers.append(n)
            numbers.popleft()

    thread = threading.Thread(target=change)
    thread.start()
    try:
        found = [over_the_wire(encode([shared, numbers, shared.values()])) for _ in range(5)]
    finally:
        stop.set()
        thread.join()
    assert all(isinstance(value[0], dict) for value in found)
