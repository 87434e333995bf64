"""Where the code stood: the stacks that faulthandler writes into ``faults.log`` of a kernel's directory.

faulthandler works in C, without the GIL: it shows the stack of a cell that is stuck in a C call, and of one
that ends its process by a segmentation fault. Shared with the host, which reads the file.
"""

from __future__ import annotations

import faulthandler
import signal
from pathlib import Path
from typing import IO

FILE_NAME = "faults.log"

STACK_SIGNAL: int = getattr(signal, "SIGRTMIN", signal.SIGUSR1) + (3 if hasattr(signal, "SIGRTMIN") else 0)
"""The signal on which a kernel writes the stack of its main thread; one that programs hardly use."""

_OWN = ("/IPython/", "/ipykernel/", "/kernel_bootstrap/", "/tornado/", "/asyncio/", "/selectors.py", "<frozen runpy>")


def enable(directory: Path) -> IO[bytes]:
    """Let faulthandler write into the kernel's directory; the file stays open as long as the process."""
    file = (directory / FILE_NAME).open("ab", buffering=0)
    faulthandler.enable(file, all_threads=False)
    faulthandler.register(STACK_SIGNAL, file, all_threads=False, chain=False)
    return file


def last_stack(directory: Path) -> str:
    """The last stack in the file, as text from the outermost frame to the innermost; "" where there is none."""
    try:
        text = (directory / FILE_NAME).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    _, found, stack = text.rpartition("(most recent call first):\n")
    if not found:
        return ""
    frames = [line for line in stack.splitlines() if line.startswith("  File ")]
    frames = [line for line in frames if not any(part in line for part in _OWN)]
    return "\n".join(reversed(frames))
