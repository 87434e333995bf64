"""Starting one kernel from its connection file: in a process of its own, or in one that was forked."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path
from typing import Any

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


def start(connection_file: str, *, spare: bool = False) -> Any:
    """A kernel that is ready to serve: ``start()`` does until it is shut down, ``leave()`` ends the process.

    A ``spare`` runs no code before it was given an identity (``kernel_bootstrap.identity``).
    """
    faults.enable(Path(connection_file).parent)
    from traitlets.config import Config

    from .app import CodeModeApp

    config = Config()
    config.HistoryManager.enabled = False  # a sqlite file and a thread that nobody asked for
    config.InteractiveShell.cache_size = 16  # Out[n] of the last results; more would keep every value alive
    config.InteractiveShellApp.exec_PYTHONSTARTUP = False
    names = frozenset(os.environ)
    app = CodeModeApp.instance(config=config)
    app.initialize(["-f", connection_file])
    app.kernel.awaits_identity = spare
    app.kernel.initial_names = names
    return app
