"""The versions of workflows as files, below ``workflows/.history``, and how often each was used.

``<name>/<digest>.py`` is a source, ``<name>/versions.jsonl`` has a line for each version. Both can go into git;
the lock and the counts are ignored there. A source is kept first, so that a full disk changes nothing; then the file
of the workflow is written, and then its line: a writer that dies in between leaves a file that looks edited by hand,
and such a file becomes a version at the next save. What a save costs does not grow with the number of versions.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from kernel_bootstrap.wire import Buffer
from py_code_mode.artifacts.artifact import utc_from_ns
from py_code_mode.errors import StorageError
from py_code_mode.workflows.history import EDITED, Entry, Use, Version, load_entries, numbered

from .disk import Sweeper, exclusive, inside, read_plain, replace_file, storage_errors
from .workflow_files import WorkflowFiles, is_name

_IGNORED = "# Not for others: what belongs to this machine.\n.lock\n.tmp-*\nuses.json\n"

_ATTRIBUTES = """# Kept sources stay as they are, and a merge has the versions of both sides.
*.py -text
versions.jsonl -text merge=union
"""

_TAIL = 1 << 12
"""Bytes in which the last line of a history is looked for first; one has some 200."""

_PATIENCE = 2.0
"""Seconds for which one who only looks waits for a writer that may be stopped."""
_COUNTING = 10.0
"""Seconds for which counts wait to be written down, also where a session is closed; writers take turns in no order."""


class HistoryFolder:
    """``workflows/.history`` of the workspace ``base``, made when it is first written to.

    It does not make ``workflows``: a workspace that somebody has removed is not made again to count what was used.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self._path = base / "workflows" / ".history"

    def path(self, name: str = "") -> Path:
        """The folder of the workflow ``name``, or the whole one; it need not be there."""
        return inside(self._base, self._path / name)

    @contextmanager
    def locked(self, timeout: float | None = None) -> Iterator[None]:
        """Alone among all processes that write workflows here. Raises StorageError after ``timeout`` seconds."""
        path = self.path()
        with storage_errors("keep the history of workflows", path):
            if not path.is_dir():
                path.mkdir(exist_ok=True)
                replace_file(path / ".gitignore", _IGNORED.encode())
                replace_file(path / ".gitattributes", _ATTRIBUTES.encode())
        with exclusive(path / ".lock", timeout):
            yield

    def can_lock(self) -> bool:
        """Whether somebody may be writing here whom one could wait for."""
        return os.access(self._path / ".lock", os.W_OK)


class FileWorkflowHistory:
    """The WorkflowHistory on files, of the workflows in ``files``."""

    def __init__(self, folder: HistoryFolder, files: WorkflowFiles) -> None:
        self._folder = folder
        self._current = files.current
        self._sweeper = Sweeper()

    def versions(self, name: str) -> list[Version]:
        """See ``WorkflowHistory.versions``. An edited file is the last version, and kept from the next save on."""
        if not is_name(name):
            return []
        entries = self._all(name)
        if entries and entries[-1].change == EDITED and self._folder.can_lock():
            # A writer may be between the file and its line; one that is stopped there is not waited for.
            with suppress(StorageError), self._folder.locked(_PATIENCE):
                entries = self._all(name)
        return numbered(entries)

    def source(self, name: str, digest: str) -> bytes | None:
        """See ``WorkflowHistory.source``."""
        if not is_name(name):
            return None
        current = self._current(name)
        if current is not None and _digest(current[0]) == digest:
            return current[0]
        path = self._source(name, digest)
        with storage_errors("read the history of the workflow", path):
            return read_plain(path)

    @contextmanager
    def changing(self, name: str) -> Iterator[bytes | None]:
        """The workflow is about to change: gives the source that it has, if any, which is in the history then."""
        with self._folder.locked():
            current = self._current(name)
            edit = _edit(current, self._last(name))
            if current is not None and edit is not None:
                self.keep(name, edit.digest, current[0])
                self.add(name, edit)
            yield None if current is None else current[0]

    def keep(self, name: str, digest: str, source: Buffer) -> None:
        """Keep the source of a version that is about to be; within ``changing``."""
        path = self._source(name, digest)
        with storage_errors("keep the history of the workflow", path):
            path.parent.mkdir(exist_ok=True)
            self._sweeper.sweep(path.parent)
            if not _holds(path, source):
                replace_file(path, source)

    def add(self, name: str, entry: Entry) -> None:
        """Append a version; within ``changing``."""
        path = self._lines(name)
        with storage_errors("keep the history of the workflow", path):
            path.parent.mkdir(exist_ok=True)
            _append_line(path, entry.dump())

    def _all(self, name: str) -> list[Entry]:
        """The versions that are kept, and the one that the file has become since."""
        current = self._current(name)
        entries = self._entries(name)
        edit = _edit(current, entries[-1] if entries else None)
        return entries if edit is None else [*entries, edit]

    def _last(self, name: str) -> Entry | None:
        """The newest version that is kept."""
        entries = self._entries(name, _TAIL) or self._entries(name)
        return entries[-1] if entries else None

    def _entries(self, name: str, tail: int | None = None) -> list[Entry]:
        path = self._lines(name)
        with storage_errors("read the history of the workflow", path):
            lines = (read_plain(path, tail) or b"").splitlines()
        return load_entries(lines)

    def _lines(self, name: str) -> Path:
        return self._folder.path(name) / "versions.jsonl"

    def _source(self, name: str, digest: str) -> Path:
        return self._folder.path(name) / f"{digest}.py"


class FileUseCounts:
    """The UseCounts in ``workflows/.history/uses.json``."""

    def __init__(self, folder: HistoryFolder) -> None:
        self._folder = folder

    def add(self, uses: Mapping[str, Use]) -> None:
        """See ``UseCounts.add``."""
        with self._folder.locked(_COUNTING):
            path = self._folder.path() / "uses.json"
            with storage_errors("count the uses of workflows", path):
                counted = dict(self.read())
                for name, use in uses.items():
                    counted[name] = counted.get(name, Use()) + use
                rows = {name: [use.calls, use.failures, use.last] for name, use in counted.items()}
                replace_file(path, json.dumps(rows).encode())

    def read(self) -> Mapping[str, Use]:
        """See ``UseCounts.read``; counts that are malformed are none."""
        path = self._folder.path() / "uses.json"
        with storage_errors("read the uses of workflows", path):
            try:
                found = json.loads(read_plain(path) or b"")
            except (ValueError, RecursionError):
                return {}
        rows = found.items() if isinstance(found, dict) else ()
        return {name: Use(*row) for name, row in rows if _is_row(row)}


def _holds(path: Path, source: Buffer) -> bool:
    try:
        return read_plain(path) == bytes(source)
    except OSError:  # it is a link, or anything else that is to be replaced
        return False


def _is_row(row: object) -> bool:
    return isinstance(row, list) and [type(item) for item in row] == [int, int, str]


def _edit(current: tuple[bytes, int] | None, last: Entry | None) -> Entry | None:
    """The version that a file has become which was edited since the ``last`` that is kept."""
    if current is None:
        return None
    source, changed = current
    digest = _digest(source)
    return None if last is not None and last.digest == digest else Entry(digest, utc_from_ns(changed), "", EDITED)


def _digest(source: bytes) -> str:
    return hashlib.sha256(source).hexdigest()


def _append_line(path: Path, line: bytes) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with os.fdopen(fd, "r+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        torn = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"  # by a writer that died, or a full disk
        data = (b"\n" if torn else b"") + line + b"\n"
        if file.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
