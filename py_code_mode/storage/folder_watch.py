"""Which files of a folder have changed, told by Linux (inotify) and not by a look at each of them."""

from __future__ import annotations

import errno
import os
import sys
import weakref
from pathlib import Path

_LOCAL = frozenset({"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"})
"""File systems whose every change is made by this very kernel, which so can tell of it; NFS and FUSE are not."""

_MOST = 16
"""So many watches a process has: Linux allows a user 128, which editors and build tools need as well."""

_watching: weakref.WeakSet[FolderWatch] = weakref.WeakSet()


class FolderWatch:
    """Watches the files in ``folder``, not those in folders below it. Not thread-safe.

    Raises OSError where the folder cannot be watched, or enough are.
    """

    def __init__(self, folder: Path) -> None:
        if len(_watching) >= _MOST:
            raise OSError(errno.EMFILE, "this process watches as many folders as it may")
        from inotify_simple import INotify, flags  # rarely needed, and looks for the C library when it is used

        self._folder = folder.stat()
        self._process = os.getpid()
        self._notify = INotify(nonblocking=True)
        self._close = weakref.finalize(self, self._notify.close)
        self._files = (
            flags.CREATE | flags.DELETE | flags.MODIFY | flags.ATTRIB | flags.MOVED_FROM | flags.MOVED_TO
        ) | flags.CLOSE_WRITE  # what is written through mmap is told by the close only
        self._notify.add_watch(folder, self._files | flags.ONLYDIR)
        _watching.add(self)

    def changes(self, folder: Path) -> set[str] | None:
        """The names of files that have changed since the last call; None: they cannot be told, look at all.

        ``folder`` is where it should still be. After None the watch is of no use.
        """
        try:
            same = os.path.samestat(folder.stat(), self._folder)
            events = list(self._notify.read(timeout=0)) if same and os.getpid() == self._process else None
        except OSError:
            return None
        if events is None or any(not event.mask & self._files for event in events):
            return None  # the folder is another one, or gone, or too much has happened
        return {event.name for event in events if event.name}

    def close(self) -> None:
        """Watch no more."""
        _watching.discard(self)
        if os.getpid() == self._process:
            self._close()


def can_watch(folder: Path) -> bool:
    """Whether every change of a file in ``folder`` can be told here."""
    if sys.platform != "linux":
        return False
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return False
    real, longest, kind = os.fsencode(os.path.realpath(folder)), -1, b""
    for line in mounts:
        fields, _, rest = line.partition(b" - ")
        place = fields.split()[4].replace(rb"\040", b" ").replace(rb"\011", b"\t").replace(rb"\134", b"\\")
        if len(place) >= longest and (real == place or real.startswith(place.rstrip(b"/") + b"/")):
            longest, kind = len(place), rest.split()[0]
    return kind.decode() in _LOCAL
