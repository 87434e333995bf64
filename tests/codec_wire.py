"""A round trip through the codec, as the link does it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from kernel_bootstrap.codec import Encoded, decode, encode


def over_the_wire(encoded: Encoded):
    """What the receiver decodes: the tree as strict JSON, the buffers as bytes."""
    text = json.dumps(encoded.tree, allow_nan=False)
    return decode(json.loads(text), [bytes(buffer) for buffer in encoded.buffers])


def crossed(value, **options):
    """``value`` after a round trip in which nothing was lost."""
    encoded = encode(value, **options)
    assert not encoded.truncated
    assert not encoded.is_repr
    return over_the_wire(encoded)


def size(encoded: Encoded) -> int:
    return len(json.dumps(encoded.tree)) + sum(memoryview(buffer).nbytes for buffer in encoded.buffers)


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "int": [1, 2, 3],
            "float": [0.1, np.nan, 3],
            "text": ["a", None, "c"],
            "mixed": [1, "x", (1, 2)],
            "category": pd.Categorical(["a", "b", "a"], categories=["b", "a", "z"], ordered=True),
            "zoned": pd.date_range("2020", periods=3, tz="Europe/Berlin"),
            "naive": pd.date_range("2020", periods=3),
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "boolean": pd.array([True, None, False], dtype="boolean"),
            "string": pd.array(["a", None, "c"], dtype="string"),
            "arrow": pd.array([1, 2, None], dtype="int64[pyarrow]"),
            "period": pd.period_range("2020", periods=3, freq="M"),
            "interval": pd.interval_range(0, 3),
            "delta": pd.to_timedelta([1, 2, 3], unit="s"),
            "sparse": pd.arrays.SparseArray([0, 0, 1]),
            5: [1.0, 2.0, 3.0],
        }
    )
