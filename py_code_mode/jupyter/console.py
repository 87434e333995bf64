"""``jupyter console`` on somebody else's kernel: leaving never ends it, Ctrl-C interrupts only one's own code.

By itself ``jupyter console --existing`` ends the kernel at ``exit``, and cannot interrupt anything.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_console.app import ZMQTerminalIPythonApp

_PATIENCE = 1e9
"""Seconds that the kernel may take to answer at first: it does so when the session's code is over."""


class GuestClient(BlockingKernelClient):
    """Interrupts its own cells only, and never ends the kernel."""

    _cell: str | None = None
    _interrupts = 0

    def execute(self, *args: Any, **options: Any) -> str:
        """As the base class does."""
        self._interrupts = 0
        self._cell = super().execute(*args, **options)
        return self._cell

    def interrupt(self) -> None:
        """Interrupt the last cell, now or when it begins. The second time the console stops waiting for it."""
        self._interrupts += 1
        self.control_channel.send(self.session.msg("interrupt_request", {"msg_id": self._cell}))

    def is_alive(self) -> bool:
        """What the console asks while it waits for a cell."""
        return self._interrupts < 2 and bool(super().is_alive())

    def shutdown(self, *args: Any, **options: Any) -> str:
        """Nothing: the kernel is not ours to end."""
        return ""


class GuestConsole(ZMQTerminalIPythonApp):  # type: ignore[misc]
    """The console, with such a client."""

    kernel_client_class = GuestClient
    shell: Any = None

    def init_shell(self) -> None:
        """As the base class does."""
        super().init_shell()
        leave = self.shell.ask_exit

        def ask_exit() -> None:
            self.shell.keepkernel = True  # so that the console does not say that the kernel ends
            leave()

        self.shell.ask_exit = ask_exit

    def handle_sigint(self, *args: Any) -> None:
        """Ctrl-C."""
        if self.shell is None or not self.shell._executing:
            raise KeyboardInterrupt
        self.kernel_client.interrupt()


def attach(connection_file: Path) -> None:
    """Run the console on the kernel of ``connection_file`` until the person leaves it."""
    options = [f"--existing={connection_file}", f"--ZMQTerminalInteractiveShell.kernel_timeout={_PATIENCE}"]
    try:
        GuestConsole.launch_instance(options)
    except KeyboardInterrupt:
        sys.exit(130)
