"""The figures as a Markdown table or JSON, and the facts about the machine that belong to them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from .measure import Aim, Row, Unit

_HOST_PACKAGES = ("jupyter_client", "pyzmq")
_KERNEL_PACKAGES = ("ipykernel", "ipython", "pyzmq")

_STEPS: dict[Unit, tuple[tuple[float, str], ...]] = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "B": ((1e6, "MB"), (1e3, "kB")),
    "B/s": ((1e6, "MB/s"), (1e3, "kB/s")),
    "": ((1.0, ""),),
}


def machine(kernel_packages: Path | None) -> dict[str, Any]:
    """Cores, system, Python and versions; ``kernel_packages`` is the site-packages of the kernels."""
    facts: dict[str, Any] = {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "host": {name: version(name) for name in _HOST_PACKAGES},
    }
    if kernel_packages is not None:
        found = {item.name.lower(): item.version for item in distributions(path=[str(kernel_packages)])}
        facts["kernel"] = {name: found.get(name, "?") for name in _KERNEL_PACKAGES}
    return facts


def as_markdown(rows: Sequence[Row], facts: Mapping[str, Any]) -> str:
    """The table, the notes on its lines, and the facts."""
    notes = list(dict.fromkeys(row.note for row in rows if row.note))
    lines = ["| what | ours | stock | ratio | aim | n |", "|---|--:|--:|--:|---|--:|"]
    for row in rows:
        mark = f" [{notes.index(row.note) + 1}]" if row.note else ""
        stock = "" if row.stock is None else _show(row.stock, row.unit)
        ratio = "" if row.ratio is None else f"{row.ratio:.2g}" if row.ratio < 0.1 else f"{row.ratio:.2f}"
        cells = (f"{row.what}{mark}", _show(row.ours, row.unit), stock, ratio, _aim(row), str(row.n))
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    lines.extend(f"[{number}] {note}  " for number, note in enumerate(notes, 1))
    return "\n".join([*lines, *_fact_lines(facts)])


def as_json(rows: Iterable[Row], facts: Mapping[str, Any]) -> str:
    """The same for programs; times in seconds, sizes in bytes."""
    figures = [
        {
            "what": row.what,
            "ours": row.ours,
            "stock": row.stock,
            "ratio": row.ratio,
            "unit": row.unit,
            "aim": None if row.aim is None else asdict(row.aim),
            "met": row.met,
            "n": row.n,
            "note": row.note,
        }
        for row in rows
    ]
    return json.dumps({"machine": facts, "rows": figures}, indent=1)


def _fact_lines(facts: Mapping[str, Any]) -> list[str]:
    shown = []
    for name, value in facts.items():
        text = ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)
        shown.append(f"{name}: {text}")
    return ["; ".join(shown)]


def _aim(row: Row) -> str:
    if row.aim is None:
        return ""
    return f"{_limit(row.aim, row.unit)}: {'met' if row.met else 'missed'}"


def _limit(aim: Aim, unit: Unit) -> str:
    if aim.ratio is None:
        return f"≤ {_show(aim.amount, unit)}" if aim.amount else "none"
    return f"≤ 1/{1 / aim.ratio:.0f}" if aim.ratio < 1 else f"≤ {aim.ratio:g}"


def _show(value: float, unit: Unit) -> str:
    steps = _STEPS[unit]
    factor, name = next((step for step in steps if abs(value) >= step[0]), steps[-1])
    amount = value / factor
    return (f"{amount:.0f} {name}" if abs(amount) >= 100 else f"{amount:.3g} {name}").rstrip()
