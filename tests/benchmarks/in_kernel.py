"""Timing from inside a kernel; the source of this file is run there as a cell."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq


def interleaved(count: int, block: int, *calls: Callable[[], object]) -> list[list[float]]:
    """Seconds of ``count`` calls of each, in blocks whose order alternates, after a block to warm up."""
    samples: list[list[float]] = [[] for _ in calls]
    for number in range(-1, count // block):
        order = range(len(calls))
        for index in order if number % 2 == 0 else reversed(order):
            call = calls[index]
            for _ in range(block):
                started = time.perf_counter()
                call()
                if number >= 0:
                    samples[index].append(time.perf_counter() - started)
    return samples


def echo(endpoint: str, sizes: tuple[int, ...]) -> Callable[[], object]:
    """One round trip of frames of these sizes to the ROUTER at ``endpoint``, without anything else."""
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    socket.linger = 0
    socket.connect(endpoint)
    frames = [b"x" * size for size in sizes]

    def ask() -> object:
        socket.send_multipart(frames)
        return socket.recv_multipart()

    return ask


def bare_run() -> object:
    """What a tool that runs ``true`` comes down to."""
    return subprocess.run(["true"], capture_output=True, check=True)


def bulk(artifacts: Any, data: bytes | bytearray, rounds: int, file: str) -> dict[str, list[float]]:
    """Seconds to save and load ``data`` as an artifact, and to write and read it as a plain file."""
    path = Path(file)

    def load() -> None:
        if len(artifacts.load("bulk")) != len(data):
            raise ValueError("the artifact came back cut")

    steps: dict[str, Callable[[], object]] = {
        "save": lambda: artifacts.save("bulk", data),
        "write": lambda: path.write_bytes(data),
        "load": load,
        "read": path.read_bytes,
    }
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(-1, rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if number >= 0:
                taken[name].append(time.perf_counter() - started)
    path.unlink()
    artifacts.delete("bulk")
    return taken
