"""``python -P -m kernel_bootstrap <connection file>``: one kernel, until it is shut down."""

from __future__ import annotations

import sys
import types
from pathlib import Path

from . import faults


def without_debugger() -> None:
    """Spare the start the import of debugpy, which takes longer than all the rest.

    ipykernel imports its debugger when the kernel is made, and asks this name whether there is one. The user's
    own ``import debugpy`` is not touched.
    """
    stand_in = types.ModuleType("ipykernel.debugger")
    stand_in._is_debugpy_available = False  # type: ignore[attr-defined]
    stand_in.Debugger = object  # type: ignore[attr-defined]
    sys.modules["ipykernel.debugger"] = stand_in


def main(connection_file: str) -> None:
    """Run the kernel that the connection file describes."""
    directory = Path(connection_file).parent
    faults.enable(directory)
    without_debugger()

    from traitlets.config import Config

    from .kernel import CodeModeApp

    config = Config()
    config.HistoryManager.enabled = False  # a sqlite file and a thread that nobody asked for
    config.InteractiveShell.cache_size = 16  # Out[n] of the last results; more would keep every value alive
    config.InteractiveShellApp.exec_PYTHONSTARTUP = False
    app = CodeModeApp.instance(config=config)
    app.initialize(["-f", connection_file])
    app.start()


if __name__ == "__main__":
    main(sys.argv[1])
