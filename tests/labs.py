"""JupyterLab for tests: ``py-code-mode lab`` in a process of its own, and its REST interface."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen


@dataclass
class Lab:
    """A running server. ``folder`` is the Jupyter of the user, ``scratch`` what the run has as temporary directory."""

    process: subprocess.Popen[str]
    port: int
    token: str
    base: Path | str
    folder: Path
    scratch: Path

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
def lab(base: Path | str, folder: Path, *arguments: str) -> Iterator[Lab]:
    """JupyterLab on ``base`` for a user whose Jupyter folders are in ``folder``, without a browser."""
    scratch = Path(tempfile.mkdtemp(prefix="lab"))
    env = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    env |= {f"JUPYTER_{name.upper()}_DIR": str(folder / name) for name in ("data", "config", "runtime")}
    # Where the sessions of agents are found: of these tests only.
    env |= {"TMPDIR": str(scratch), "XDG_RUNTIME_DIR": os.environ.get("XDG_RUNTIME_DIR", tempfile.gettempdir())}
    command = [sys.executable, "-m", "py_code_mode", "lab", "--base", str(base), "--no-browser", "--json"]
    with (scratch.with_suffix(".log")).open("w+") as log:
        process = subprocess.Popen(
            [*command, "--port", str(free_port()), *arguments, "--", "--allow-root"],
            env=env,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert process.stdout is not None
        try:
            lines = iter(process.stdout.readline, "")  # it ends before if the server does
            url = next(found for line in lines if (found := re.search(r'"url": ".*:(\d+)/lab\?token=(\w+)"', line)))
            port, token = url.groups()
            yield Lab(process, int(port), token, base, folder, scratch)
        except BaseException:
            log.seek(0)
            print(log.read())
            raise
        finally:
            process.terminate()
            process.wait(30)
            process.stdout.close()


def free_port() -> int:
    """A port that nobody used a moment ago; the server takes the next if that has changed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
