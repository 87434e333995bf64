"""The codec's limit: what is cut, where, and how fast."""

from __future__ import annotations

import decimal
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pandas.testing import assert_frame_equal

from kernel_bootstrap.codec import encode
from tests.codec_wire import over_the_wire, size


@pytest.mark.parametrize(
    "value",
    [
        "x" * 50_000,
        "é" * 20_000,
        b"x" * 50_000,
        bytearray(50_000),
        list(range(50_000)),
        [(n,) for n in range(10_000)],
        tuple("text" * 5 for _ in range(10_000)),
        {n: str(n) for n in range(10_000)},
        {str(n): [n] for n in range(10_000)},
        set(range(50_000)),
        {(n,) for n in range(10_000)},
        {"deep": [{"list": [{"of": "x" * 1000}] * 50}]},
        np.arange(100_000.0),
        np.asfortranarray(np.ones((1000, 50))),
        np.array([{"n": n} for n in range(10_000)], dtype=object),
        pd.DataFrame(
            {"n": range(10_000), "s": [f"row {n}" for n in range(10_000)], "o": [(n,) for n in range(10_000)]}
        ),
        pd.Series([f"row {n}" for n in range(10_000)], name="s"),
        pd.Index([f"row {n}" for n in range(10_000)]),
        pa.table({"n": list(range(10_000))}),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("limit", [20_000, 2_000])
def test_a_value_over_the_limit_keeps_its_first_part_and_says_so(value, limit):
    encoded = encode(value, limit=limit)
    assert encoded.truncated
    assert not encoded.is_repr
    assert size(encoded) < limit * 1.25
    cut = over_the_wire(encoded)
    if isinstance(value, pd.DataFrame):
        assert len(cut) > 0
        assert_frame_equal(cut, value.iloc[: len(cut)])
    elif isinstance(value, pd.Series | pd.Index):
        assert list(cut) == list(value[: len(cut)])
    elif isinstance(value, pa.Table):
        assert cut.equals(value.slice(0, len(cut)))
    elif isinstance(value, np.ndarray):
        assert np.array_equal(cut, value[: len(cut)])
    elif isinstance(value, set):
        assert cut < value
    elif isinstance(value, dict) and "deep" not in value:
        assert list(cut.items()) == list(value.items())[: len(cut)]
    elif isinstance(value, dict):
        assert cut["deep"][0]["list"][0] == {"of": "x" * 1000}
    else:
        assert cut == value[: len(cut)]
    assert len(cut) > 0


@pytest.mark.parametrize(
    "value",
    [
        10**5000,
        [10**5000],
        "x" * 5000,
        [object()] * 100,
        np.ones((2, 3000)),
        {b"k" * 5000: 1},
        (decimal.Decimal("1" * 5000),),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("limit", [0, 1, 40, 1_000])
def test_no_limit_is_too_small(value, limit):
    encoded = encode(value, limit=limit)
    assert encoded.truncated
    assert size(encoded) <= limit + 200
    over_the_wire(encoded)


def test_a_value_within_the_limit_is_whole():
    value = {"a": list(range(1000)), "b": b"x" * 100_000, "c": np.arange(10_000)}
    encoded = encode(value, limit=300_000)
    assert not encoded.truncated
    assert over_the_wire(encoded)["b"] == value["b"]


def test_large_values_are_encoded_without_going_over_every_byte():
    for value in (bytes(10**8), np.zeros(10**7), list(range(100_000))):
        begin = time.perf_counter()
        encoded = encode(value, limit=2 * 10**8)
        assert time.perf_counter() - begin < 0.5
        assert not encoded.truncated
