"""Forks kernels from a process that has imported what they need.

    python -P -m kernel_bootstrap.forkserver [MODULE...]

stdin is a socket whose other end the host holds; both sides write one JSON object a line. First comes
``{"ready": pid, "failed": {module: why}, "unsafe": why or ""}``. A request ``{"id", "connection_file", "env",
"identity"}`` is answered by ``{"id", "pid"}`` or ``{"id", "error"}``. The kernel is no child of this process but of
its parent, the supervisor: it outlives the server, and its exit code is reported truly. ``env`` is added to the
environment; ``identity`` (``kernel_bootstrap.identity``) is null for a spare kernel, which gets its own later.

Before a fork there is no thread, no zmq context, no event loop and no open file but the socket, so a kernel
inherits nothing that a fork would break, and nothing of a session can reach the next.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from . import debugger, identity
from .launcher import become_subreaper, die_with
from .start import application, start

_NEEDED = (
    "kernel_bootstrap.app",
    "IPython.core.completer",
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.logger",
    "IPython.core.magics",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "asyncio.selector_events",
    "concurrent.futures.thread",
    "encodings.idna",
    "fractions",
    "kernel_bootstrap.codec_decode",
    "kernel_bootstrap.codec_encode",
    "pwd",
    "tornado.platform.asyncio",
    "zmq.eventloop.zmqstream",
)
"""What a kernel imports until its first cell is done, with all that this brings along."""


def main(modules: list[str]) -> None:
    """Serve until the host closes the socket."""
    become_subreaper(False)  # its kernels are to fall to the supervisor
    gc.disable()  # what is imported stays
    import_all()
    rehearse()
    failed = _preload(modules)
    gc.enable()
    gc.freeze()  # without a collection, which takes a tenth of the start and finds next to nothing
    requests, replies = open(0, "rb", closefd=False), os.dup(0)  # noqa: SIM115
    os.write(replies, _line({"ready": os.getpid(), "failed": failed, "unsafe": why_unsafe()}))
    for line in requests:
        request = json.loads(line)
        try:
            pid = _fork(os.getppid())
        except OSError as error:
            os.write(replies, _line({"id": request["id"], "error": str(error)}))
            continue
        if not pid:
            os.close(replies)
            _serve(request)
            return
        os.write(replies, _line({"id": request["id"], "pid": pid}))


def import_all() -> None:
    """Import what a kernel needs."""
    debugger.leave_out()
    for name in _NEEDED:
        importlib.import_module(name)


def rehearse() -> None:
    """Do once what each kernel would do first, and what leaves nothing but what it makes faster."""
    from IPython.core.inputtransformer2 import TransformerManager

    application()
    manager = TransformerManager()  # type: ignore[no-untyped-call]
    manager.transform_cell("1\n")  # compiles the expressions of the tokenizer


def _line(reply: dict[str, Any]) -> bytes:
    return json.dumps(reply).encode() + b"\n"


def _preload(modules: list[str]) -> dict[str, str]:
    failed = {}
    for name in modules:
        try:
            importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001 - an import runs foreign code; the kernels work without it
            failed[name] = f"{type(error).__name__}: {error}"
    return failed


def why_unsafe() -> str:
    """Why this process must not be forked; "" if it may be.

    A fork copies the calling thread only: what the others held stays locked for ever. OpenBLAS, numpy's, stops its
    threads for a fork and starts them again.
    """
    python = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
    if python:
        return f"a preloaded package has started threads ({', '.join(python)})"
    threads = len(os.listdir("/proc/self/task")) - 1  # noqa: PTH208
    if threads:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
        libraries = {line.split()[-1] for line in maps if "openblas" in line}
        if threads > len(libraries) * (os.cpu_count() or 1):
            return f"a preloaded package has started {threads} threads outside Python"
    return ""


def _fork(supervisor: int) -> int:
    """Fork a process whose parent is ``supervisor``; returns its pid, and 0 in that process."""
    told, tells = os.pipe()
    waits, goes = os.pipe()
    middle = os.fork()
    if middle:
        os.close(tells)
        os.close(waits)
        try:
            os.waitpid(middle, 0)  # from then on the new process has its new parent
            if not (pid := os.read(told, 32)):
                raise OSError("no process could be forked")
            return int(pid)
        finally:
            os.close(told)
            os.close(goes)
    try:
        os.close(told)
        os.close(goes)
        if kernel := os.fork():
            os.write(tells, str(kernel).encode())
            os._exit(0)
    except OSError:
        os._exit(1)
    os.close(tells)
    os.read(waits, 1)
    os.close(waits)
    os.setsid()
    die_with(supervisor)
    become_subreaper()
    return 0


def _serve(request: dict[str, Any]) -> None:
    """Be the kernel of ``request``, in the forked process."""
    null = os.open(os.devnull, os.O_RDONLY)
    log_file = Path(request["connection_file"]).with_name("stderr.log")
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target, fd in enumerate((null, log, log)):
        os.dup2(fd, target)
    os.close(null)
    os.close(log)
    os.environ.update(request["env"])
    if numbers := sys.modules.get("numpy.random"):
        numbers.seed()  # Python's own generators are seeded anew in a forked process
    if request["identity"] is not None:
        identity.assume(request["identity"])
    app = start(request["connection_file"], spare=request["identity"] is None)
    app.start()
    app.leave()


if __name__ == "__main__":
    main(sys.argv[1:])
