"""Trees of processes: who is below whom, and how to end all of it (stdlib only)."""

from __future__ import annotations

import os
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # for the supervisor, typing alone would be a tenth of the start-up time
    from collections.abc import Callable, Container, Iterable

OWNER = "PY_CODE_MODE_OWNER"
"""Environment variable that says to whom a process belongs; its daemons inherit it."""

KILL_WAIT = 1.5
"""Seconds that SIGKILL is given: a process in uninterruptible sleep is reported, not waited for."""

KILL_ROUNDS = 20
"""Looks at all processes for those that were forked since the last look; two are nearly always enough."""

LINUX = sys.platform == "linux"


class Seen:
    """One process as the system lists it. ``start`` tells a pid from its later reuse."""

    __slots__ = ("parent", "session", "start", "zombie")

    def __init__(self, parent: int, session: int, zombie: bool, start: int) -> None:
        self.parent = parent
        self.session = session
        self.zombie = zombie
        self.start = start


class Child:
    """A process that was spawned here and is not reaped."""

    __slots__ = ("owner", "subreaper")

    def __init__(self, owner: str, subreaper: bool) -> None:
        self.owner = owner
        self.subreaper = subreaper


def linux_processes() -> dict[int, Seen]:
    """Every process there is, from /proc."""
    found: dict[int, Seen] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib would double the start-up time
        if name.isdigit() and (stat := read_start(f"/proc/{name}/stat", 1024)):
            # The command's name stands in parentheses and may hold anything, parentheses too.
            state, parent, _, session, *rest = stat.rpartition(b")")[2].split()
            found[int(name)] = Seen(int(parent), int(session), state in b"ZX", int(rest[15]))
    return found


def posix_processes() -> dict[int, Seen]:
    """Every process there is, from ps; a process group stands in for the session."""
    with os.popen("ps -axo pid=,ppid=,pgid=,stat=") as listing:
        rows = [line.split()[:4] for line in listing]
    return {int(pid): Seen(int(parent), int(group), state[0] == "Z", 0) for pid, parent, group, state in rows}


list_processes = linux_processes if LINUX else posix_processes


def read_start(path: str, size: int) -> bytes:
    """The first bytes of a file; empty when it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, size)
    except OSError:
        return b""
    finally:
        os.close(fd)


def owner_of(pid: int) -> str | None:
    """The owner in the environment that ``pid`` was started with; None without one."""
    mark = f"{OWNER}=".encode()
    for entry in read_start(f"/proc/{pid}/environ", 8 << 20).split(b"\0"):
        if entry.startswith(mark):
            return entry[len(mark) :].decode("utf-8", "surrogateescape")
    return None


def kill(pid: int, signum: int, *, group: bool = False) -> bool:
    """Sends a signal; False if there is no such process (or group), or it is another user's."""
    try:
        (os.killpg if group else os.kill)(pid, signum)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill_marked(mark: str) -> None:
    """Kills every process whose owner begins with ``mark``, until none is left, or none can be killed."""
    for _ in range(KILL_ROUNDS):
        marked = [pid for pid in list_processes() if (owner_of(pid) or "").startswith(mark)]
        if not [pid for pid in marked if kill(pid, signal.SIGKILL)]:
            return


class Ending:
    """The end of some children and everything below them.

    Descendants are known by their parents, and once a parent is gone by what was seen before: their
    identity, or a session that one of them leads. ``orphans``, asked with the owner of a daemon that fell to
    this process, says whether that one is to end too. ``done`` gets the pids that survived SIGKILL, which is
    sent from ``kill_at`` on; ``asked`` says that SIGTERM was sent.
    """

    def __init__(
        self,
        roots: Iterable[int],
        done: Callable[[list[int]], None],
        *,
        orphans: Callable[[str | None], bool] | None = None,
        grace: float = 0.0,
    ) -> None:
        self.done = done
        self.kill_at = time.monotonic() + grace
        self.give_up_at = self.kill_at + KILL_WAIT
        self.asked = False
        self._roots = set(roots)
        self._orphans = orphans
        self._known: set[tuple[int, int]] = set()
        self._sessions = set(self._roots)

    def members(self, listing: dict[int, Seen], below: dict[int, list[int]], children: Container[int]) -> list[int]:
        """What still has to go, parents before their children. ``below`` has the children of each pid."""
        found = dict.fromkeys(pid for pid in self._roots if pid in children)
        for pid, seen in listing.items():
            if (pid, seen.start) in self._known or seen.session in self._sessions:
                found[pid] = None
        if self._orphans and LINUX:  # elsewhere daemons fall to init
            mine = below.get(os.getpid(), ())
            found.update(dict.fromkeys(p for p in mine if p not in children and self._orphans(owner_of(p))))
        queue = list(found)
        for pid in queue:
            fresh = [child for child in below.get(pid, ()) if child not in found]
            found.update(dict.fromkeys(fresh))
            queue += fresh
        for pid in queue:
            if pid in listing:
                self._known.add((pid, listing[pid].start))
                if listing[pid].session == pid:
                    self._sessions.add(pid)
        return [pid for pid in queue if pid in children or (pid in listing and not listing[pid].zombie)]


def belongs_to(owner: str) -> Callable[[str | None], bool]:
    """Whether a daemon is ``owner``'s: also one that cleared its environment, as daemons like to do."""
    return lambda found: found is None or found == owner
