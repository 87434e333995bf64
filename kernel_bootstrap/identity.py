"""What a forked kernel becomes: the workspace's directory, environment, packages, limits and owner.

A fork server knows none of them, so that its kernels serve every workspace. After ``assume`` a process is, for
code that runs in it, as if the Python of the workspace's virtualenv had been started there.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import site
import sys
import tempfile
import time
from typing import Any

from .proctree import OWNER, owner_of

_left_finders: list[Any] = []


def assume(identity: dict[str, Any]) -> None:
    """Become what ``identity`` says; OSError when its ``cwd`` cannot be used.

    cwd       where the code starts
    env       all variables of the environment
    owner     whose process this is (``proctree.OWNER``)
    prefix    the virtualenv
    packages  its directory of packages
    limits    {number of a resource: [soft, hard]}, as resource.setrlimit takes them; those that cannot be set stay
    """
    os.chdir(identity["cwd"])
    for number, limit in identity["limits"].items():
        # A hard limit that the host has raised since is not for us to raise: a started kernel would not have it either.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(int(number), tuple(limit))
    os.environ.clear()
    os.environ.update(identity["env"])
    os.environ[OWNER] = identity["owner"]
    _rewrite_owner(identity["owner"])
    time.tzset()
    tempfile.tempdir = None
    _enter(identity["prefix"], identity["packages"])


def _enter(prefix: str, packages: str) -> None:
    """Make the virtualenv at ``prefix`` the one of this process, which runs in the one that it is laid over."""
    base = [f"{old}/" for old in {sys.prefix, sys.exec_prefix}]
    first = next((n for n, path in enumerate(sys.path) if path.startswith(tuple(base))), len(sys.path))
    below = sys.path[first:]
    del sys.path[first:]
    sys.prefix = sys.exec_prefix = prefix
    sys.executable = os.path.join(prefix, "bin", "python")  # noqa: PTH118 - as the interpreter itself spells it
    site.PREFIXES[:] = [prefix]
    site.addsitedir(packages)
    sys.path += [path for path in below if path not in sys.path]
    # Kept alive: to take apart what they know of the directories would copy half a megabyte that kernels share.
    _left_finders.extend(sys.path_importer_cache.values())
    sys.path_importer_cache.clear()
    # Both remember what the interpreter was when they were imported.
    sys.modules.pop("sysconfig", None)
    if spawn := sys.modules.get("multiprocessing.spawn"):
        spawn.set_executable(sys.executable)


def _rewrite_owner(owner: str) -> None:
    """Put ``owner`` into the environment that /proc shows for this process and for what it forks.

    That one is a piece of memory that the system filled at the start of the program; a forked process has a copy.
    """
    at = _initial_owner()
    mark = owner.encode()
    if at and len(ctypes.string_at(at)) == len(mark):
        ctypes.memmove(at, mark, len(mark))
    if owner_of(os.getpid()) != owner:
        raise OSError(f"the environment of process {os.getpid()} cannot be marked with its owner")


def _initial_owner() -> int:
    """The address of the owner in the initial environment, 0 if it is not there."""
    with open("/proc/self/stat", "rb") as stat:  # noqa: PTH123
        fields = stat.read().rpartition(b")")[2].split()
    begin, end = int(fields[47]), int(fields[48])  # env_start and env_end: fields 50 and 51 of proc(5)
    found = ctypes.string_at(begin, end - begin).find(f"{OWNER}=".encode()) if end > begin else -1
    return 0 if found < 0 else begin + found + len(OWNER) + 1
