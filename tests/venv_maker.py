"""A process that makes a virtualenv, run by tests: ``python -m tests.venv_maker CACHE IDENTITY [MODE]``.

Prints the progress lines, then ``ready PATH``, or ``refused MESSAGE``. MODE ``quietly``: starting a process
or opening a connection fails. MODE ``hold``: the environment stays in use until standard input ends.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from py_code_mode.errors import VenvError
from py_code_mode.kernel.venv import VenvSpec, ensure_venv


def _forbid(event: str, _: object) -> None:
    if event in {"subprocess.Popen", "os.posix_spawn", "os.fork", "os.exec", "socket.connect"}:
        raise AssertionError(f"{event} on the way to an environment that is there")


def main() -> None:
    cache, identity, mode = [*sys.argv[1:], ""][:3]
    if mode == "quietly":
        sys.addaudithook(_forbid)
    spec = VenvSpec(identity=identity, cache_dir=Path(cache))
    try:
        venv = asyncio.run(ensure_venv(spec, progress=lambda line: print(line, flush=True)))
    except VenvError as error:
        print("refused", error)
        return
    print("ready", venv.path, flush=True)
    if mode == "hold":
        sys.stdin.read()


if __name__ == "__main__":
    main()
