"""The benchmark itself; its figures are nobody's business here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_one_group_of_the_benchmark_gives_a_table_and_the_same_as_json(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--only", "run", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, timeout=50)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "| what | ours | stock | ratio | aim | n |"
    figures = json.loads(file.read_text())
    assert [row["what"] for row in figures["rows"]] == ['`run("1+1")`, p50', '`run("1+1")`, p99']
    for row, line in zip(figures["rows"], lines[2:4], strict=True):
        assert row["what"] in line
        assert 0 < row["ours"] < 5
        assert 0 < row["stock"] < 5
    assert {"cores", "python", "kernel"} <= figures["machine"].keys()
