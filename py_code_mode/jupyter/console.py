"""``jupyter console`` on somebody else's kernel: leaving never ends it, Ctrl-C interrupts only one's own code.

By itself ``jupyter console --existing`` ends the kernel at ``exit``, and cannot interrupt anything.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.consoleapp import JupyterConsoleApp
from jupyter_console.app import ZMQTerminalIPythonApp
from jupyter_console.ptshell import ZMQTerminalInteractiveShell

_PATIENCE = 1e9
"""Seconds that the kernel may take to answer at first: it does so when the session's code is over."""

_ANSWER_WAIT = 500
"""Milliseconds after which a C call holds the kernel, one of the session or one's own."""


class GuestClient(BlockingKernelClient):
    """Interrupts its own cells only, and never ends the kernel."""

    cell: str | None = None
    """The msg_id of the cell that the console waits for; "" before it is sent, None at the prompt."""
    _interrupts = 0

    def begin(self) -> None:
        """The console is about to send a cell."""
        self._interrupts, self.cell = 0, ""

    def execute(self, *args: Any, **options: Any) -> str:
        """As the base class does; an error aborts nothing that waits behind it, which may be the session's."""
        cell = self.cell = str(super().execute(*args, **{**options, "stop_on_error": False}))
        if self._interrupts:  # it came too early to name the cell
            self._interrupt(cell)
        return cell

    def interrupt(self) -> None:
        """Interrupt the cell, now or when it begins. The second time the console stops waiting for it."""
        self._interrupts += 1
        if self.cell:
            self._interrupt(self.cell)

    def _interrupt(self, cell: str) -> None:
        request = self.session.msg("interrupt_request", {"msg_id": cell})
        socket = self.control_channel.socket
        self.session.send(socket, request)
        while socket.poll(_ANSWER_WAIT):
            _, reply = self.session.recv(socket)
            if reply is not None and reply["parent_header"].get("msg_id") == request["header"]["msg_id"]:
                if reply["content"].get("begun"):
                    return
                break
        print("\nIt has not begun, and will not run: other code does. Ctrl-C again gives the prompt back.")

    def is_alive(self) -> bool:
        """What the console asks while it waits for a cell."""
        return self._interrupts < 2 and bool(super().is_alive())

    def shutdown(self, *args: Any, **options: Any) -> str:
        """Nothing: the kernel is not ours to end."""
        return ""


class GuestShell(ZMQTerminalInteractiveShell):  # type: ignore[misc]
    """The prompt, for a client that shares its kernel."""

    def run_cell(self, cell: str, store_history: bool = True) -> None:
        """As the base class does."""
        self.client.begin()
        try:
            super().run_cell(cell, store_history)
        finally:
            self.client.cell = None

    def include_output(self, msg: dict[str, Any]) -> bool:
        """Whether a message is taken. The idle of another request would end the waiting for the cell."""
        if msg["msg_type"] == "status" and msg["parent_header"].get("msg_id") != self.client.cell:
            return False
        return bool(super().include_output(msg))

    def ask_exit(self) -> None:
        """The person leaves; the kernel stays, whatever they have typed."""
        self.keepkernel = True
        super().ask_exit()


class GuestConsole(ZMQTerminalIPythonApp):  # type: ignore[misc]
    """The console, with both."""

    kernel_client_class = GuestClient
    shell: Any = None

    def init_shell(self) -> None:
        """As the base class does, which names its own shell."""
        JupyterConsoleApp.initialize(self)
        signal.signal(signal.SIGINT, self.handle_sigint)
        self.shell = GuestShell.instance(
            parent=self, manager=None, client=self.kernel_client, confirm_exit=self.confirm_exit
        )

    def handle_sigint(self, *args: Any) -> None:
        """Ctrl-C."""
        if self.kernel_client.cell is None:
            raise KeyboardInterrupt
        self.kernel_client.interrupt()


def attach(connection_file: Path) -> None:
    """Run the console on the kernel of ``connection_file`` until the person leaves it."""
    options = [f"--existing={connection_file}", f"--ZMQTerminalInteractiveShell.kernel_timeout={_PATIENCE}"]
    try:
        GuestConsole.launch_instance(options)
    except KeyboardInterrupt:
        sys.exit(130)
