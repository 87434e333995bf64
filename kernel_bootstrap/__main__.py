"""``python -P -m kernel_bootstrap <connection file>``: one kernel, until it is shut down."""

from __future__ import annotations

import sys

from .start import start, without_debugger

if __name__ == "__main__":
    without_debugger()
    app = start(sys.argv[1])
    app.start()
    app.leave()
