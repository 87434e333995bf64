"""Starting one kernel from its connection file: in a process of its own, or in one that was forked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from . import faults


def application() -> Any:
    """The application of this process, made but not started: nothing in it depends on which kernel it will be."""
    from traitlets.config import Config

    from .app import CodeModeApp

    config = Config()
    config.HistoryManager.enabled = False  # a sqlite file and a thread that nobody asked for
    config.InteractiveShell.cache_size = 16  # Out[n] of the last results; more would keep every value alive
    config.InteractiveShellApp.exec_PYTHONSTARTUP = False
    return CodeModeApp.instance(config=config)


def start(connection_file: str, *, spare: bool = False) -> Any:
    """A kernel that is ready to serve: ``start()`` does until it is shut down, ``leave()`` ends the process.

    A ``spare`` runs no code before it was given an identity (``kernel_bootstrap.identity``).
    """
    faults.enable(Path(connection_file).parent)
    names = frozenset(os.environ)
    app = application()
    app.connection_file = connection_file
    app.initialize()
    app.kernel.awaits_identity = spare
    app.kernel.initial_names = names
    return app
