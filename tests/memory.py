"""How much memory a process takes, of Linux."""

from __future__ import annotations

from pathlib import Path

import pytest

MB = 1 << 20

linux_only = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a process's peak")


class Peaks:
    """The growth of processes from now on, at its highest."""

    def __init__(self, *pids: int) -> None:
        self._before = {}
        for pid in pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew; see proc(5)
            self._before[pid] = _status(pid, "VmRSS")

    def of(self, pid: int) -> int:
        """By how much this process grew, bytes."""
        return _status(pid, "VmHWM") - self._before[pid]


def _status(pid: int, key: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))
