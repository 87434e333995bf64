"""JupyterLab for tests: ``py-code-mode lab`` in a process of its own, and its REST interface."""

from __future__ import annotations

import json
import os
import queue
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

_ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)/lab\?token=(\w+)")


@dataclass
class Lab:
    """A running server. ``folder`` is the Jupyter of the user, ``scratch`` what the run has as temporary directory."""

    process: subprocess.Popen[str]
    port: int
    token: str
    folder: Path
    scratch: Path
    said: list[str]

    def url(self, path: str) -> str:
        """An address for a browser."""
        return f"http://127.0.0.1:{self.port}/{path}?token={self.token}"

    def ask(self, method: str, path: str, content: Any = None) -> tuple[int, Any]:
        """Status and JSON of the answer."""
        headers = {"Authorization": f"token {self.token}"}
        data = None if content is None else json.dumps(content).encode()
        request = Request(f"http://127.0.0.1:{self.port}/{path}", data=data, headers=headers, method=method)
        try:
            with urlopen(request, timeout=50) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")


@contextmanager
def lab(base: Path, folder: Path, *arguments: str) -> Iterator[Lab]:
    """JupyterLab on ``base`` for a user whose Jupyter folders are in ``folder``, without a browser."""
    scratch = Path(tempfile.mkdtemp(prefix="lab"))
    env = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    env |= {f"JUPYTER_{name.upper()}_DIR": str(folder / name) for name in ("data", "config", "runtime")}
    command = [sys.executable, "-m", "py_code_mode", "lab", "--base", str(base), "--no-browser"]
    process = subprocess.Popen(
        [*command, "--port", str(free_port()), *arguments, "--", "--allow-root"],
        env={**env, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    addresses: queue.Queue[tuple[str, str] | None] = queue.Queue()
    said: list[str] = []

    def read(lines: Any) -> None:
        for line in lines:
            said.append(line)
            if found := _ADDRESS.search(line):
                addresses.put((found[1], found[2]))
        addresses.put(None)

    reader = threading.Thread(target=read, args=[process.stdout])
    reader.start()
    try:
        address = addresses.get(timeout=50)
        assert address is not None, "".join(said)
        wait_until_open(int(address[0]))
        yield Lab(process, int(address[0]), address[1], folder, scratch, said)
    finally:
        process.terminate()
        process.wait(30)
        reader.join(30)
        process.stdout.close()


def wait_until_open(port: int) -> None:
    """The server says its address a moment before it listens there."""
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            os.sched_yield()
        else:
            return


def free_port() -> int:
    """A port that nobody used a moment ago; the server takes the next if that has changed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
