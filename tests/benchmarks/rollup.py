"""How much memory processes take, of Linux: what is theirs alone, and their share of what others have as well."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

import psutil

AVAILABLE = Path("/proc/self/smaps_rollup").exists()


def of(pid: int) -> Counter[str]:
    """``pss`` and ``private`` of one process, bytes."""
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, amount, *_ = line.split()
        fields[name.rstrip(":")] = int(amount) * 1024
    return Counter(pss=fields["Pss"], private=fields["Private_Clean"] + fields["Private_Dirty"])


def of_tree(pid: int) -> Counter[str]:
    """The same of a process and all below it, together; those that end meanwhile are left out."""
    total: Counter[str] = Counter()
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in (root := psutil.Process(pid), *root.children(recursive=True)):
            # A zombie has no memory to tell of.
            with contextlib.suppress(OSError, KeyError):
                total += of(process.pid)
    return total
