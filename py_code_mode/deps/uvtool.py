"""Running uv: where its binary is, with which environment it runs, how it is ended, what its errors say."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from py_code_mode.errors import VenvError

UV_TIMEOUT = 1800.0
"""Seconds for one run of uv: gigabytes over a slow line fit, a hung mirror does not last for ever."""

REAP_TIMEOUT = 5.0
"""Seconds to wait for a process that was killed; only one stuck in the kernel takes longer."""

REASON_LIMIT = 800
"""Characters of uv's error output that go into a message."""

NEUTRAL_DIRECTORY = Path("/")
"""Where uv runs. It reads ``[tool.uv]`` and ``uv.toml`` of its working directory and those above it, and a
workspace must not depend on where its host was started. The user's and the system's uv.toml still count."""

# Each says where packages go, or which Python is used, and that is ours to say. Variables that say where
# packages come from (UV_INDEX_URL, UV_FIND_LINKS, UV_OFFLINE, UV_CACHE_DIR, proxies) stay.
_NOT_INHERITED = frozenset(
    {
        "CONDA_DEFAULT_ENV",
        "CONDA_PREFIX",
        "PYTHONHOME",
        "PYTHONPATH",
        "UV_BREAK_SYSTEM_PACKAGES",
        "UV_MANAGED_PYTHON",
        "UV_NO_MANAGED_PYTHON",
        "UV_PREFIX",
        "UV_PROJECT",
        "UV_PROJECT_ENVIRONMENT",
        "UV_PYTHON",
        "UV_PYTHON_PREFERENCE",
        "UV_SYSTEM_PYTHON",
        "UV_TARGET",
        "UV_VENV_CLEAR",
        "UV_VENV_SEED",
        "UV_WORKING_DIR",
        "UV_WORKING_DIRECTORY",
        "VIRTUAL_ENV",
        "__PYVENV_LAUNCHER__",
    }
)

_NETWORK_TROUBLE = re.compile(r"error sending request|Failed to fetch|Request failed after|dns error", re.IGNORECASE)
_DECORATION = re.compile(r"^(?:[\s│×╰├─▶]*)(?:(?:error|cause):\s*)?")


@dataclass(frozen=True, slots=True)
class Completed:
    """A process that ended: its exit code (negative: the signal) and its output as text."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether the exit code is 0."""
        return self.returncode == 0

    @property
    def network_failed(self) -> bool:
        """Whether uv failed because a server was not reached."""
        return not self.ok and _NETWORK_TROUBLE.search(self.stderr) is not None

    def reason(self) -> str:
        """Why uv failed, on one line."""
        lines: list[str] = []
        for line in self.stderr.splitlines():
            if line.startswith("hint:"):
                break
            text = _DECORATION.sub("", line).strip()
            if text and not text.startswith(("warning:", "No solution found")):
                lines.append(text)
        text = " ".join(lines) or f"uv ended with exit code {self.returncode}"
        return text if len(text) <= REASON_LIMIT else text[:REASON_LIMIT] + "..."


def find_uv() -> str:
    """The path of the uv binary: of the ``uv`` package, else on PATH. Raises VenvError."""
    try:
        import uv

        return str(uv.find_uv_bin())
    except (ImportError, FileNotFoundError):
        pass
    if found := shutil.which("uv"):
        return str(Path(found).absolute())
    raise VenvError("uv, which makes virtualenvs and installs packages, was not found: run `pip install uv`")


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of uv and of interpreters that are probed: ours, without what would redirect them."""
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    return {**kept, "UV_PYTHON_DOWNLOADS": "never", **(extra or {})}


async def run_uv(
    args: Sequence[str | Path],
    operands: Sequence[str | Path] = (),
    *,
    env: Mapping[str, str] | None = None,
    timeout: float = UV_TIMEOUT,
) -> Completed:
    """Run ``uv ARGS -- OPERANDS``; ``env`` is added to its environment, ``timeout`` is in seconds.

    Raises VenvError when uv is not there, cannot be run or does not end in time. Cancelling ends uv.
    """
    argv = [find_uv(), *args, "--quiet", "--no-progress", "--color=never", "--", *operands]
    try:
        return await run_process(argv, env=env, timeout=timeout)
    except TimeoutError:
        raise VenvError(f"`uv {args[0]}` did not finish within {timeout:g} s and was ended") from None
    except OSError as error:
        raise VenvError(f"uv cannot be run: {error}; try `pip install --force-reinstall uv`") from error


async def run_process(argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, timeout: float) -> Completed:
    """Run ``argv`` in a session of its own, without input, in a neutral directory.

    Raises OSError when it cannot be started and TimeoutError after ``timeout`` seconds. However this ends, a
    cancellation included, the process and its children are gone.
    """
    process = await asyncio.create_subprocess_exec(
        *map(str, argv),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean_environment(env),
        cwd=NEUTRAL_DIRECTORY,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(timeout):
            stdout, stderr = await process.communicate()
    except BaseException:
        await _end(process)
        raise
    return Completed(process.returncode or 0, stdout.decode(errors="replace"), stderr.decode(errors="replace"))


async def _end(process: asyncio.subprocess.Process) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    try:
        # communicate, not wait: it also reads the pipes to their end, so that nothing is left open.
        await asyncio.wait_for(process.communicate(), REAP_TIMEOUT)
    except TimeoutError:
        pass
