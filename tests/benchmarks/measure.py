"""One figure of the table, and how the samples behind it are taken."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

T = TypeVar("T")

Unit = Literal["s", "B", "B/s", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a figure should not exceed: a multiple of the other side, or an amount in the unit of its row."""

    ratio: float | None = None
    amount: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: the median of ``n`` samples on each side, unless ``what`` says otherwise.

    ``stock`` is what ours is compared with, None where there is no such thing. ``unit``: seconds, bytes, bytes a
    second (where more is better), or none for what is counted. ``note`` is shown below the table.
    """

    what: str
    ours: float
    stock: float | None
    n: int
    unit: Unit = "s"
    aim: Aim | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours as a multiple of what it is compared with."""
        return self.ours / self.stock if self.stock else None

    @property
    def met(self) -> bool | None:
        """Whether this run reached the aim; None where there is none."""
        if self.aim is None:
            return None
        if self.aim.ratio is not None:
            return self.ratio is not None and self.ratio <= self.aim.ratio
        return self.aim.amount is None or self.ours <= self.aim.amount


async def alternate(rounds: int, *sides: Callable[[], Awaitable[T]]) -> list[list[T]]:
    """What ``rounds`` calls of each side gave. The order turns round each time: no side always goes first."""
    samples: list[list[T]] = [[] for _ in sides]
    for number in range(rounds):
        order = range(len(sides))
        for side in order if number % 2 == 0 else reversed(order):
            samples[side].append(await sides[side]())
    return samples


async def seconds(work: Awaitable[object]) -> float:
    """How long ``work`` takes."""
    started = time.perf_counter()
    await work
    return time.perf_counter() - started


def median_row(
    what: str,
    ours: Sequence[float],
    stock: Sequence[float],
    *,
    unit: Unit = "s",
    aim: Aim | None = None,
    note: str = "",
) -> Row:
    """The medians of two lists of samples, side by side."""
    return Row(
        what=what,
        ours=statistics.median(ours),
        stock=statistics.median(stock) if stock else None,
        n=len(ours),
        unit=unit,
        aim=aim,
        note=note,
    )


def percentile_rows(
    what: str,
    ours: Sequence[float],
    stock: Sequence[float],
    *,
    aims: Sequence[Aim | None] = (None, None),
    note: str = "",
) -> list[Row]:
    """The same for calls by the hundred: p50 and p99, each with its aim."""
    half, most = aims
    high = percentile(ours, 99), percentile(stock, 99)
    return [
        median_row(f"{what}, p50", ours, stock, aim=half, note=note),
        Row(what=f"{what}, p99", ours=high[0], stock=high[1], n=len(ours), aim=most, note=note),
    ]


def percentile(samples: Sequence[float], percent: float) -> float:
    """The sample that ``percent`` of all do not exceed."""
    return sorted(samples)[max(0, math.ceil(len(samples) * percent / 100) - 1)]
