"""The command line; see the package."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from .bench import Bench
from .groups import GROUPS
from .measure import Row
from .report import as_json, as_markdown, machine
from .signals import run


async def measure(names: list[str], *, quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """The rows of these groups, and the facts about the machine."""
    rows: list[Row] = []
    before = os.getloadavg()[0]
    begun = time.perf_counter()
    async with Bench(quick=quick) as bench:
        for name in names:
            print(f"{time.perf_counter() - begun:6.1f} s  {name}", file=sys.stderr, flush=True)
            rows += await GROUPS[name](bench)
        facts = machine(bench.kernel_packages)
    facts["load average before"] = round(before, 2)
    facts["seconds taken"] = round(time.perf_counter() - begun)
    return rows, facts


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Figures beside stock Jupyter.")
    parser.add_argument("--only", action="append", choices=GROUPS, help="a group to measure; may be given again")
    parser.add_argument("--quick", action="store_true", help="fewer samples")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    asked = parser.parse_args()
    rows, facts = run(measure(asked.only or list(GROUPS), quick=asked.quick))
    print(as_markdown(rows, facts))
    if asked.json:
        asked.json.write_text(as_json(rows, facts) + "\n")


if __name__ == "__main__":
    main()
