"""Which files of a folder have changed, told by Linux (inotify) and not by a look at each of them."""

from __future__ import annotations

import errno
import os
import weakref
from pathlib import Path

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
