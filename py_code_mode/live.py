"""The live sessions of this user: how another process finds one, and joins its kernel.

Each session keeps one file in ``directory()``: a Jupyter connection file, which ``jupyter console --existing`` and
jupyter_server's ``external_connection_dir`` read as it is, with what we know of the session under ``py_code_mode``.
A kernel that takes the place of another gets a file of another name, since readers know a kernel by its path.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)

KEY = "py_code_mode"


def directory() -> Path:
    """The directory of the files, mode 0700, made if it is missing; what is left of dead hosts is removed.

    Below XDG_RUNTIME_DIR, /run/user or the temporary directory. Raises OSError when it is not this user's alone.
    """
    found = _directory()
    for path in found.iterdir():
        _read(path)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSession:
    """A session that is open somewhere on this machine."""

    id: str
    workspace: str
    """The directory, or the identity of a storage that is none."""
    pid: int
    """Of the host; ``kernel_pid`` is its kernel's."""
    kernel_pid: int
    since: datetime
    connection_file: Path

    def connection_info(self) -> dict[str, Any]:
        """What a client connects by. Raises OSError when it has just ended."""
        info: dict[str, Any] = json.loads(self.connection_file.read_text(encoding="utf-8"))
        info["key"] = info["key"].encode()
        return info


def sessions() -> list[LiveSession]:
    """The live sessions of this user, oldest first. Raises OSError for a directory that is not this user's alone."""
    found: dict[str, LiveSession] = {}
    # Of a session that is being reset the last kernel is still there: the newer file is that of the next.
    for path in sorted(_directory().iterdir(), key=_written):
        if (session := _read(path)) is not None:
            found[session.id] = session
    return sorted(found.values(), key=lambda session: (session.since, session.id))


def publish(
    info: Mapping[str, Any],
    session: str,
    identity: str,
    since: datetime,
    kernel_pid: int | None,
    own: Callable[[Path], None],
) -> Path | None:
    """Let a session's kernel be found by its connection ``info``; returns the file, which is the caller's to remove.

    ``own`` hears of the path before it is there. None, and a warning, when that cannot be: a session works without it.
    """
    workspace = identity.removeprefix("file:")
    about = {
        "session": session,
        "workspace": workspace,
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "namespace": _namespace(),
        "kernel_pid": kernel_pid,
        "since": since.isoformat(),
    }
    name = f"{Path(workspace).name or workspace}, live session {session[:6]}"
    text = json.dumps({**info, "kernel_name": name, KEY: about}, default=bytes.decode)
    try:
        target = _directory() / f"kernel-{session}-{kernel_pid}.json"
        own(target)
        # Aside and renamed: a reader never sees a part of it.
        with tempfile.NamedTemporaryFile("w", dir=target.parent.parent, delete=False, encoding="utf-8") as aside:
            aside.write(text)
        Path(aside.name).replace(target)
    except OSError as error:
        _log.warning("the session cannot be joined: %s", error)
        return None
    return target


def _runtime() -> Path:
    # Not platformdirs': that warns on stderr wherever there is no login session, as in containers.
    for parent in (os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{os.geteuid()}"):
        if parent and os.access(parent, os.W_OK):
            return Path(parent, "py-code-mode")
    return Path(tempfile.gettempdir(), f"py-code-mode-{os.geteuid()}")


def _directory() -> Path:
    made = _runtime() / "sessions"
    for path in (made.parent, made):
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise PermissionError(
                f"{path}, where live sessions are found, is not a directory of this user: "
                "remove it, or set XDG_RUNTIME_DIR to a directory of your own"
            )
        if stat.S_IMODE(status.st_mode) != 0o700:
            path.chmod(0o700)
    return made


def _read(path: Path) -> LiveSession | None:
    """The session of a file; None, and the file removed, where its host is gone."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))[KEY]
        session = LiveSession(
            id=about["session"],
            workspace=about["workspace"],
            pid=about["pid"],
            kernel_pid=about["kernel_pid"],
            since=datetime.fromisoformat(about["since"]),
            connection_file=path,
        )
        started, namespace = about["started"], about["namespace"]
    except (OSError, ValueError, LookupError, TypeError):
        return None  # it has just gone, or is none of ours
    if namespace != _namespace():
        return None  # of a container that shares the directory: its processes have other numbers here
    if _started(session.pid) != started:
        path.unlink(missing_ok=True)
        return None
    return session


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _started(pid: int) -> str | None:
    """When a process began, in the kernel's own words: with its pid it names the process. None: there is none."""
    try:
        # The name of the program may hold anything, so the fields are counted from its end (proc(5): 22, starttime).
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]  # what has ended may not have been waited for
    except (OSError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except OSError:
        return None
    return ""  # no /proc here: that it lives is all that is known


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - it is no path
    except OSError:
        return ""
