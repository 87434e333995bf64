"""How the supervisor starts a command, in a session of its own (stdlib only)."""

from __future__ import annotations

import ctypes
import errno
import os
import signal

from .proctree import LINUX, OWNER

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing alone would be a tenth of the supervisor's start-up time
    from collections.abc import Callable
    from typing import Any, NoReturn

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)

if LINUX:
    _prctl = ctypes.CDLL(None).prctl
    _prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


class LaunchError(Exception):
    """A command that did not start: at which ``stage`` (cwd, command, interpreter), and its errno."""

    def __init__(self, stage: str, code: int | None) -> None:
        super().__init__(stage, code)
        self.stage = stage
        self.code = code or errno.EINVAL


def become_subreaper(reaps: bool = True) -> None:
    """Makes this process the parent of its orphaned descendants, or no longer. Kept over exec; Linux only."""
    if LINUX:
        _prctl(PR_SET_CHILD_SUBREAPER, int(reaps), 0, 0, 0)


def die_with(parent: int) -> None:
    """Has this process killed when ``parent`` ends, a process of one thread. Linux only."""
    if LINUX:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before that took effect
            os._exit(127)


def launch(request: dict[str, Any], stdio: list[int]) -> int:
    """The pid of the command of a spawn request, once it is executed. Raises LaunchError."""
    argv, env = request["argv"], {**request["env"], OWNER: request["owner"]}
    try:
        os.chdir(request["cwd"])
    except OSError as error:
        raise LaunchError("cwd", error.errno) from None
    try:
        if request["subreaper"]:
            return _fork(argv, env, stdio)
        # Twice as fast as a fork and exec together: it copies no page tables. It cannot set what
        # prctl sets; if this process is killed, the host has to end such a child.
        dup = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(stdio)]
        return _first_of_path(argv[0], env, lambda file: os.posix_spawn(file, argv, env, file_actions=dup, setsid=True))
    finally:
        os.chdir("/")


def _first_of_path(command: str, env: dict[str, str], execute: Callable[[str], int]) -> int:
    """``execute(file)`` with the file that PATH has for ``command``. Raises LaunchError."""
    code: int | None = errno.ENOENT
    folders = [""] if "/" in command else [f"{f or '.'}/" for f in env.get("PATH", os.defpath).split(":")]
    for folder in folders:
        if not os.access(folder + command, os.F_OK):  # far cheaper than an exec that fails
            continue
        try:
            return execute(folder + command)
        except FileNotFoundError:  # the file is there, so it is a script and lacks what its first line names
            raise LaunchError("interpreter", errno.ENOENT) from None
        except PermissionError as error:
            code = error.errno
        except OSError as error:
            raise LaunchError("command", error.errno) from None
    raise LaunchError("command", code)


def _fork(argv: list[str], env: dict[str, str], stdio: list[int]) -> int:
    supervisor = os.getpid()
    try:
        failed, fails = os.pipe()
    except OSError as error:
        raise LaunchError("command", error.errno) from None
    try:
        pid = os.fork()
        if not pid:
            _execute(argv, env, stdio, fails, supervisor)
        os.close(fails)
        fails = -1
        complaint = os.read(failed, 64).decode("ascii")  # empty: exec has closed the pipe
    except OSError as error:
        raise LaunchError("command", error.errno) from None
    finally:
        os.close(failed)
        if fails >= 0:
            os.close(fails)
    if complaint:
        stage, code = complaint.split()
        raise LaunchError(stage, int(code))
    return pid


def _execute(argv: list[str], env: dict[str, str], stdio: list[int], fails: int, parent: int) -> NoReturn:
    """Becomes the command, in the forked child; what goes wrong is written to ``fails``."""
    failure = LaunchError("command", errno.EINVAL)
    try:
        os.setsid()
        die_with(parent)
        become_subreaper()
        for target, fd in enumerate(stdio):
            os.dup2(fd, target)
        _first_of_path(argv[0], env, lambda file: os.execve(file, argv, env))
    except LaunchError as error:
        failure = error
    finally:
        os.write(fails, f"{failure.stage} {failure.code}".encode())
        os._exit(127)
