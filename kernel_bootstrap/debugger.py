"""JupyterLab's debugger: left out of a kernel that was not asked to have it, and at home in one that was."""

from __future__ import annotations

import sys
import types
from pathlib import Path


def leave_out() -> None:
    """Spare the start the import of debugpy, which takes longer than all the rest.

    ipykernel imports its debugger when the kernel is made, and asks this name whether there is one. The user's
    own ``import debugpy`` is not touched.
    """
    stand_in = types.ModuleType("ipykernel.debugger")
    stand_in._is_debugpy_available = False  # type: ignore[attr-defined]
    stand_in.Debugger = object  # type: ignore[attr-defined]
    sys.modules["ipykernel.debugger"] = stand_in


def keep_files_in(directory: Path) -> None:
    """Have the files that it shows for cells below ``directory``, which is removed with the kernel."""
    import ipykernel.compiler

    ipykernel.compiler.get_tmp_directory = lambda: str(directory / "cells")


def is_there() -> bool:
    """Whether this kernel has it."""
    from ipykernel.debugger import _is_debugpy_available

    return bool(_is_debugpy_available)
