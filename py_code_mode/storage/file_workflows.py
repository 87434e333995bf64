"""Workflows as ``workflows/<name>.py``."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Hashable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from kernel_bootstrap.wire import Buffer
from py_code_mode.errors import StorageError
from py_code_mode.workflows.history import Entry

from .disk import Sweeper, inside, is_local, replace_file, storage_errors
from .file_history import FileUseCounts, FileWorkflowHistory, HistoryFolder
from .folder_watch import FolderWatch
from .workflow_files import SUFFIX, WorkflowFiles, is_name

_SETTLED_NS = 50_000_000
"""A file changed less than this before it is looked at can change again without its times showing it: the
clock of a file system ticks every 1 to 10 ms."""

_MANY = 0.003
"""A look at all files that takes longer than this, in seconds, is worth a watch: some 500 files."""
_AGAIN = 30.0
"""Seconds after which all files are looked at all the same: another name of a file (a hard link) is not watched."""

_unique = itertools.count()


class FileWorkflowStore:
    """The WorkflowStore on files. Names with "_" or "." in front are not workflows."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._root = base / "workflows"
        self._files = WorkflowFiles(base)
        folder = HistoryFolder(base)
        self.history = FileWorkflowHistory(folder, self._files)
        self.uses = FileUseCounts(folder)
        self._sweeper = Sweeper()
        self._looking = threading.Lock()
        self._watch: FolderWatch | None = None
        self._stamps: dict[str, Hashable] = {}
        self._again = 0.0

    @cached_property
    def is_near(self) -> bool:
        """See ``WorkflowStore.is_near``: on a disk of this machine."""
        return is_local(self._base)

    def stamps(self) -> Mapping[str, Hashable]:
        """See ``WorkflowStore.stamps``. Where there are many, only what changed is looked at again."""
        with self._looking:
            changed = self._watch.changes(self._root) if self._watch is not None else None
            if changed is None:
                self._stop_watching()
                return self._look_at_all()
            if time.monotonic() >= self._again:
                return self._look_at_all()
            names = {file.removesuffix(SUFFIX) for file in changed if file.endswith(SUFFIX)}
            if names:
                try:
                    stamps = self._stamps | {name: self.stamp(name) for name in names}
                except StorageError:
                    self._stop_watching()  # it has told of these, and does so once
                    raise
                self._stamps = {name: stamp for name, stamp in stamps.items() if stamp is not None}
            return self._stamps

    def _look_at_all(self) -> Mapping[str, Hashable]:
        began = time.monotonic()
        self._stamps = self._scan()
        took = time.monotonic() - began
        self._again = began + took + _AGAIN
        if took > _MANY and self._watch is None and is_local(self._root):
            try:
                self._watch = FolderWatch(self._root)
            except OSError:  # there are as many watches as the system allows
                return self._stamps
            self._stamps = self._scan()  # what changed before the watch began
        return self._stamps

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _scan(self) -> dict[str, Hashable]:
        found: dict[str, Hashable] = {}
        now = time.time_ns()
        with storage_errors("list the workflows", self._root):
            inside(self._base, self._root)
            try:
                with os.scandir(self._root) as entries:
                    for entry in entries:
                        name = entry.name.removesuffix(SUFFIX)
                        if name == entry.name or not is_name(name):
                            continue
                        try:
                            found[name] = _stamp(entry.stat(follow_symlinks=False), now)
                        except FileNotFoundError:
                            continue
            except FileNotFoundError:
                return {}
        return found

    def stamp(self, name: str) -> Hashable | None:
        """See ``WorkflowStore.stamp``."""
        if not is_name(name):
            return None
        path = self._files.path(name)
        with storage_errors("read the workflow", path):
            try:
                return _stamp(path.stat(follow_symlinks=False), time.time_ns())
            except FileNotFoundError:
                return None

    def read(self, name: str) -> bytes | None:
        """See ``WorkflowStore.read``. Links, folders and what is too large are not read."""
        return self._files.read(name)

    def write(self, name: str, source: Buffer, entry: Entry) -> None:
        """See ``WorkflowStore.write``."""
        path = self._files.path(name)
        with storage_errors("write the workflow", path):
            self._root.mkdir(parents=True, exist_ok=True)
            self._sweeper.sweep(self._root)
            with self.history.changing(name) as current:
                if current != bytes(source):
                    self.history.keep(name, entry.digest, source)
                    replace_file(path, source)
                    self.history.add(name, entry)

    def delete(self, name: str, entry: Entry) -> bool:
        """See ``WorkflowStore.delete``. On a full disk it is deleted, and its history may not say so."""
        if not is_name(name):
            return False
        path = self._files.path(name)
        with storage_errors("delete the workflow", path):
            try:
                path.stat(follow_symlinks=False)
                with self.history.changing(name):
                    path.unlink()
                    with suppress(StorageError):
                        self.history.add(name, entry)
            except FileNotFoundError:
                return False
        return True


def _stamp(stat: os.stat_result, now: int) -> Hashable:
    changed = max(stat.st_mtime_ns, stat.st_ctime_ns)
    fresh = next(_unique) if now - changed < _SETTLED_NS else None
    return (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino, stat.st_mode, fresh)
