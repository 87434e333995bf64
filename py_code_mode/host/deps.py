"""What ``deps`` asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from py_code_mode.deps.manager import DependencyManager

if TYPE_CHECKING:
    from .server import Handlers


def handlers(manager: DependencyManager) -> Handlers:
    """The methods of ``deps`` over one manager."""
    return {
        "deps.list": manager.list,
        "deps.add": manager.add,
        "deps.remove": manager.remove,
        "deps.sync": manager.sync,
        "deps.provide": manager.provide,
    }
