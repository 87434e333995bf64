"""An agent in a process of its own: ``python -m tests.live_agent BASE...`` opens a session on each and runs what it gets.

Each line on stdin is JSON, [number of the session, code]; the answer is a line with the repr of the value, or the error.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from py_code_mode.live import LiveSession, sessions
from py_code_mode.watch.remote import State, states

from .sessions import open_session


class Agent:
    """The test's end of such a process. ``ids`` are those of its sessions."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.ids: list[str] = self.read()

    def begin(self, code: str, number: int = 0) -> None:
        """Let a session run ``code``; ``read`` gives what came of it."""
        assert self.process.stdin is not None
        print(json.dumps([number, code]), file=self.process.stdin, flush=True)

    def read(self) -> Any:
        """The next line."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def run(self, code: str, number: int = 0) -> Any:
        """The repr of the value, or the error."""
        self.begin(code, number)
        return self.read()

    def live(self, number: int = 0) -> LiveSession:
        """Its session, as other processes find it."""
        (found,) = [session for session in sessions() if session.id == self.ids[number]]
        return found

    def state(self, number: int = 0, *, timeout: float = 5.0) -> State:
        """What it does, as other processes see it."""
        (state,) = states([self.live(number)], stack=True, timeout=timeout)
        return state

    def until(self, state: str, number: int = 0) -> State:
        """Wait until it is seen to be busy, or idle."""
        return waited(lambda: found if (found := self.state(number)).state == state else None)


def waited(look: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What ``look`` gives as soon as that is something."""
    last = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < last, "it did not happen"
        time.sleep(0.01)
    return found


@contextmanager
def agent(*bases: Path, **env: str) -> Iterator[Agent]:
    """An agent with a session on each of ``bases``; killed at the end."""
    command = [sys.executable, "-m", "tests.live_agent", *map(str, bases)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env={**os.environ, **env}) as process:
        try:
            yield Agent(process)
        finally:
            supervisor = psutil.Process(process.pid).children()
            process.kill()
            psutil.wait_procs(supervisor, timeout=10)  # it ends when nothing of the sessions is left


async def _serve(bases: list[str]) -> None:
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(open_session(Path(base), timeout=None, spares=0)) for base in bases]
        print(json.dumps([session.id for session in opened]), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            number, code = json.loads(line)
            result = await opened[number].run(code)
            print(json.dumps(result.error or repr(result.value)), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1:]))
