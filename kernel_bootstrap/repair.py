"""Puts back, before each cell, what an earlier cell may have broken in its own kernel.

Names that a cell adds stay; what the kernel needs to go on working, and the four namespaces, are restored.
"""

from __future__ import annotations

import asyncio
import builtins
import sys
from typing import Any

from . import debugger

_SYS_NAMES = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__", "displayhook", "excepthook")


class Repair:
    """What the kernel looked like when it was ready, and how to get back to it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, shell: Any, names: dict[str, Any]) -> None:
        self._loop = loop
        self._shell = shell
        self._names = dict(names)
        self._sys = {name: getattr(sys, name) for name in _SYS_NAMES}
        self._builtins = dict(vars(builtins))
        # IPython sets these for the time of a cell only.
        for name in ("get_ipython", "display", "exit", "quit", "_", "input"):
            self._builtins.pop(name, None)
        self._builtins["input"] = builtins.input
        self._modules = {name: sys.modules[name] for name in ("builtins", "sys", "asyncio", "kernel_bootstrap")}
        self._recursion_limit = sys.getrecursionlimit()
        self._shell_parts = {name: getattr(shell, name) for name in ("display_pub", "displayhook", "kernel", "events")}
        self._user_ns = shell.user_ns
        self._transformers = list(shell.ast_transformers)
        self._policy = asyncio.get_event_loop_policy()

    @property
    def streams(self) -> tuple[Any, Any]:
        """stdout and stderr, whatever the code has put in their place."""
        return self._sys["stdout"], self._sys["stderr"]

    def before_cell(self) -> None:
        """Restore what is not as it was; cheap when everything is."""
        for name, value in self._sys.items():
            if getattr(sys, name, None) is not value:
                setattr(sys, name, value)
        current = vars(builtins)
        for name, value in self._builtins.items():
            if current.get(name) is not value:
                current[name] = value
        for name, module in self._modules.items():
            if sys.modules.get(name) is not module:
                sys.modules[name] = module
        if sys.getrecursionlimit() != self._recursion_limit:
            sys.setrecursionlimit(self._recursion_limit)
        if not debugger.is_there():
            sys.settrace(None)
            sys.setprofile(None)
        if asyncio.get_event_loop_policy() is not self._policy:
            asyncio.set_event_loop_policy(self._policy)
        self._policy.set_event_loop(self._loop)
        if asyncio._get_running_loop() is not self._loop:
            asyncio._set_running_loop(self._loop)  # an interrupt in the middle of run_sync
        self._restore_shell()

    def _restore_shell(self) -> None:
        shell = self._shell
        if shell.user_ns is not self._user_ns:
            shell.user_ns = self._user_ns
        if "_oh" not in self._user_ns or "get_ipython" not in self._user_ns:
            shell.init_user_ns()
        for name, value in self._shell_parts.items():
            if getattr(shell, name, None) is not value:
                setattr(shell, name, value)
        for name, value in self._names.items():
            if self._user_ns.get(name) is not value:
                self._user_ns[name] = value
        for transformer in self._transformers:
            if transformer not in shell.ast_transformers:
                shell.ast_transformers.append(transformer)
