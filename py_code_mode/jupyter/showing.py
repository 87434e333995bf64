"""What a session's cell gives, shown in the notebook as the notebook's own."""

from __future__ import annotations

import sys
from typing import Any, TypeVar

from py_code_mode.errors import ExecutionError
from py_code_mode.results import ClearEvent, DisplayEvent, ExecutionResult, OutputEvent, StreamEvent

E = TypeVar("E", bound=BaseException)


class CellOutput:
    """Takes the events of one run, and at last its result."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._value: DisplayEvent | None = None

    def show(self, event: OutputEvent) -> None:
        """Show one event; the value of the cell is kept for ``finish``."""
        if isinstance(event, StreamEvent):
            _write(sys.stdout if event.name == "stdout" else sys.stderr, event.text)
        elif isinstance(event, DisplayEvent):
            if event.kind == "execute_result":
                self._show_kept()
                self._value = event
            else:
                self._publish(event)
        elif isinstance(event, ClearEvent):
            self._shell.display_pub.clear_output(event.wait)

    def flush(self) -> None:
        """Let what was written be seen."""
        sys.stdout.flush()
        sys.stderr.flush()

    def finish(self, result: ExecutionResult) -> None:
        """Show the value, as the last expression of a cell; raises what the code raised."""
        # Without a count it is the run that lost its kernel, and the error says so.
        if result.kernel_restarted and result.execution_count is not None:
            note("this cell ran on a new kernel of the session: the variables from before are gone")
        if result.is_ok and self._value is not None:
            self._show_value(self._value, result.value)
        else:
            self._show_kept()
        if not result.is_ok:
            raise cell_error(result)

    def _show_kept(self) -> None:
        if self._value is not None:
            self._publish(self._value)
            self._value = None

    def _publish(self, event: DisplayEvent) -> None:
        self._shell.display_pub.publish(
            dict(event.data),
            dict(event.metadata),
            transient={} if event.display_id is None else {"display_id": event.display_id},
            update=event.kind == "update_display_data",
        )

    def _show_value(self, event: DisplayEvent, value: Any) -> None:
        """As ``Out[n]``, with the forms that it has in the session; ``_`` and ``Out`` hold the value itself."""
        if sys.displayhook is not self._shell.displayhook:  # captured, or not in a cell
            self._publish(event)
            return
        hook: Any = self._shell.displayhook
        hook.check_for_underscore()
        hook.start_displayhook()
        hook.write_output_prompt()
        hook.update_user_ns(value)
        hook.fill_exec_result(value)
        hook.write_format_data(dict(event.data), dict(event.metadata))
        hook.log_output(dict(event.data))
        hook.finish_displayhook()


def note(text: str) -> None:
    """Tell the user something beside the output."""
    print(f"py-code-mode: {text}", file=sys.stderr)


def cell_error(result: ExecutionResult) -> ExecutionError:
    """The error of a failed run: of the name that it has in the session, showing the traceback from there only."""
    try:
        result.raise_for_error()
    except ExecutionError as error:
        name = result.error_name or type(error).__name__
        message = (result.error or "").removeprefix(name).removeprefix(": ")
        kind: Any = type(name, (type(error),), {"__module__": type(error).__module__})
        made: ExecutionError = kind(message, result)
        return without_frames(made, result.traceback or result.error or name)
    raise ValueError("the run did not fail")


def without_frames(error: E, text: str | None = None) -> E:
    """``error``, which IPython shows as ``text`` and without any frames; by default its class and message."""
    shown = text if text is not None else f"{type(error).__name__}: {error}".removesuffix(": ")
    # IPython asks the exception itself; see InteractiveShell.showtraceback.
    error._render_traceback_ = shown.splitlines  # type: ignore[attr-defined]
    return error


def _write(stream: Any, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:  # a terminal that has not all characters
        stream.write(text.encode(stream.encoding, "backslashreplace").decode(stream.encoding))
