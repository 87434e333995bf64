"""``py-code-mode run``: code in a workspace, its output live."""

from __future__ import annotations

import asyncio
import sys
import tokenize
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .app import FAILED, INTERRUPTED
from .options import Base, base_option, json_option, timeout_option, tools_option
from .output import print_json
from .sessions import interruptible, on_base, opened

if TYPE_CHECKING:
    from py_code_mode.results import ExecutionResult, OutputEvent
    from py_code_mode.session import Session

JSON_OUTPUT_BYTES = 10 * 1024 * 1024
"""Of stdout and stderr each, in the object of --json. Live output has no limit."""


@click.command("run")
@click.argument("code", required=False)
@click.option("-f", "--file", metavar="FILE", type=click.Path(path_type=Path), help="Run the code in FILE.")
@base_option(new=True)
@tools_option
@timeout_option
@json_option
def command(
    code: str | None, file: Path | None, base: Base, tools: Path | None, timeout: float | None, as_json: bool
) -> None:
    """Run Python code in a workspace: CODE, that of FILE, or with - that of the standard input.

    The output appears as it comes, and at last the value of the last expression. A traceback goes to
    stderr, and the exit status is 1 then. Ctrl-C interrupts the code.

    `tools`, `workflows`, `artifacts` and `deps` are there, and top-level `await` works. Each run has a
    fresh kernel: keep data in artifacts.

    \b
    Examples:
      py-code-mode run 'tools.list()'
      py-code-mode run --base ~/work -f report.py --timeout 60
      py-code-mode run --base redis://localhost?prefix=team 'workflows.list()'
      echo 'print(6 * 7)' | py-code-mode run -
    """
    source = _source(code, file)
    raise click.exceptions.Exit(asyncio.run(run_code(source, base, timeout, as_json, tools)))


def _source(code: str | None, file: Path | None) -> str:
    if (code is None) == (file is None):
        raise click.UsageError("give either CODE, or -f FILE, or - for the standard input")
    try:
        if file is not None and str(file) != "-":
            # As Python reads a source file: UTF-8, or what its first lines declare.
            with tokenize.open(file) as opened_file:
                return opened_file.read()
        if code == "-" or file is not None:
            return sys.stdin.buffer.read().decode("utf-8-sig")
    except OSError as error:
        raise click.UsageError(f"{str(file)!r} cannot be read: {error.strerror or error}") from None
    except (SyntaxError, UnicodeDecodeError) as error:
        raise click.UsageError(f"the code is not text in its encoding: {error}") from None
    assert code is not None
    return code


async def run_code(source: str, base: Base, timeout: float | None, as_json: bool, tools: Path | None = None) -> int:
    """Run ``source`` and print what it gives; returns the exit status."""
    limit = JSON_OUTPUT_BYTES if as_json else None
    async with opened(on_base(base, tools=tools, max_output_bytes=limit)) as session:
        with interruptible(session) as signals:
            if as_json:
                result = await session.run(source, timeout)
                print_json(as_document(result))
            else:
                result = await _stream(session, source, timeout)
    if not as_json and result.error is not None:
        sys.stdout.flush()
        print(result.traceback or result.error, file=sys.stderr)
    if result.is_ok:
        return 0
    return INTERRUPTED if signals else FAILED


async def _stream(session: Session, source: str, timeout: float | None) -> ExecutionResult:
    from py_code_mode.results import EndEvent

    printer = _Printer()
    async with aclosing(session.stream(source, timeout)) as events:  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, EndEvent):
                printer.finish(event.result)
                return event.result
            printer.show(event)
    raise AssertionError("a stream ends with an EndEvent")


class _Printer:
    """Writes the events of a run to stdout and stderr."""

    def __init__(self) -> None:
        self._value_shown = False
        self._at_line_start = True

    def show(self, event: OutputEvent) -> None:
        from py_code_mode.results import DisplayEvent, StreamEvent

        if isinstance(event, StreamEvent):
            stream = sys.stdout if event.name == "stdout" else sys.stderr
            stream.write(event.text)
            stream.flush()
            if event.name == "stdout":
                self._at_line_start = event.text.endswith("\n")
        elif isinstance(event, DisplayEvent):
            self._value_shown = self._value_shown or event.kind == "execute_result"
            self._line(str(event.data.get("text/plain", f"[{', '.join(event.data)}]")))

    def finish(self, result: ExecutionResult) -> None:
        if result.value is not None and not self._value_shown:
            self._line(repr(result.value))

    def _line(self, text: str) -> None:
        if not self._at_line_start:
            sys.stdout.write("\n")
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
        self._at_line_start = True


def as_document(result: ExecutionResult) -> dict[str, Any]:
    """``result`` as a JSON object; a value that JSON does not have is its repr, with ``value_is_repr``."""
    value, is_repr = json_value(result.value)
    return {
        "is_ok": result.is_ok,
        "value": value,
        "value_is_repr": is_repr or result.value_is_repr,
        "stdout": result.stdout,
        "stderr": result.stderr,
        "error": result.error,
        "error_name": result.error_name,
        "traceback": result.traceback,
        "outputs": [
            {"kind": output.kind, "data": dict(output.data), "metadata": dict(output.metadata)}
            for output in result.outputs
        ],
        "execution_time_ms": result.execution_time_ms,
        "execution_count": result.execution_count,
        "timed_out": result.timed_out,
        "kernel_restarted": result.kernel_restarted,
        "kernel_died": result.kernel_died,
        "truncated": result.truncated,
    }


def json_value(value: Any) -> tuple[Any, bool]:
    """``value`` and False if JSON gives it back the same, tuples as lists; else its repr and True."""
    import json

    try:
        copy = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return repr(value), True
    return (value, False) if _same(value, copy) else (repr(value), True)


def _same(value: Any, copy: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_same(one, other) for one, other in zip(value, copy, strict=True))
    if isinstance(value, dict):
        # Keys that are no strings would become strings, and two of them perhaps one.
        return all(isinstance(key, str) for key in value) and all(_same(value[key], copy[key]) for key in value)
    return bool(value == copy)
