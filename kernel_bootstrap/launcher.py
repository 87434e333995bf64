"""How the supervisor starts a command: fork, a session of its own, exec (stdlib only)."""

from __future__ import annotations

import ctypes
import errno
import os
import signal

from .proctree import LINUX, OWNER

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing alone would be a tenth of the supervisor's start-up time
    from typing import Any, NoReturn

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)

if LINUX:
    _prctl = ctypes.CDLL(None).prctl
    _prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


def become_subreaper() -> None:
    """Makes this process the parent of its orphaned descendants. Kept over exec; Linux only."""
    if LINUX:
        _prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with(parent: int) -> None:
    """Has this process killed when ``parent`` ends, a process of one thread. Linux only."""
    if LINUX:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before that took effect
            os._exit(127)


def launch(request: dict[str, Any], stdio: list[int]) -> tuple[int, int]:
    """Forks the command of a spawn request: its pid, and a pipe that tells how its exec went."""
    supervisor = os.getpid()
    failed, fails = os.pipe()
    try:
        pid = os.fork()
        if not pid:
            execute(request, stdio, fails, supervisor)
    except OSError:
        os.close(failed)
        raise
    finally:
        os.close(fails)
    return pid, failed


def execute(request: dict[str, Any], stdio: list[int], fails: int, supervisor: int) -> NoReturn:
    """Becomes the command, in the forked child; what goes wrong is written to ``fails``."""
    stage = "setup"
    code: int | None = errno.EINVAL
    try:
        os.setsid()
        die_with(supervisor)
        if request["subreaper"]:
            become_subreaper()
        for target, fd in enumerate(stdio):
            os.dup2(fd, target)
        stage = "cwd"
        os.chdir(request["cwd"])
        stage, code = "command", errno.ENOENT
        argv, env = request["argv"], {**request["env"], OWNER: request["owner"]}
        folders = [""] if "/" in argv[0] else [f"{f or '.'}/" for f in env.get("PATH", os.defpath).split(":")]
        for folder in folders:
            if not os.access(folder + argv[0], os.F_OK):  # far cheaper than an execve that fails
                continue
            try:
                os.execve(folder + argv[0], argv, env)
            except FileNotFoundError:
                stage = "interpreter"  # of a script: the file itself is there
                raise
            except PermissionError as error:
                code = error.errno
    except OSError as error:
        code = error.errno
    finally:
        os.write(fails, f"{stage} {code}".encode())
        os._exit(127)
