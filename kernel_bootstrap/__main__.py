"""``python -P -m kernel_bootstrap <connection file> [--debug]``: one kernel, until it is shut down."""

from __future__ import annotations

import sys
from pathlib import Path

from . import debugger
from .start import start

if __name__ == "__main__":
    if "--debug" in sys.argv[2:]:
        debugger.keep_files_in(Path(sys.argv[1]).parent)
    else:
        debugger.leave_out()
    app = start(sys.argv[1])
    app.start()
    app.leave()
