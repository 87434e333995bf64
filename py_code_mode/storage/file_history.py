"""The versions of workflows as files, below ``workflows/.history``, and how often each was used.

``<name>/<digest>.py`` is a source, ``<name>/versions.jsonl`` has a line for each version. Both can go into git;
the lock and the counts are ignored there. The file of a workflow is written before its line: a writer that dies in
between leaves a file that looks edited by hand, and such a file becomes a version at the next save.
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
from py_code_mode.workflows.history import EDITED, Entry, Use, Version, load_entry, numbered

from .disk import exclusive, inside, replace_file, storage_errors, sweep
from .workflow_files import WorkflowFiles, is_name

_IGNORED = "# Not for others: what belongs to this machine.\n.lock\n.tmp-*\nuses.json\n"


class HistoryFolder:
    """``workflows/.history`` of the workspace ``base``, made when it is first written to."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._path = base / "workflows" / ".history"

    def path(self, name: str = "") -> Path:
        """The folder of the workflow ``name``, or the whole one; it need not be there."""
        return inside(self._base, self._path / name)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among all processes that write workflows here."""
        path = self.path()
        with storage_errors("keep the history of workflows", path):
            if not path.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                replace_file(path / ".gitignore", _IGNORED.encode())
        with exclusive(path / ".lock"):
            yield

    def can_lock(self) -> bool:
        """Whether somebody may be writing here whom one could wait for."""
        return os.access(self._path / ".lock", os.W_OK)


class FileWorkflowHistory:
    """The WorkflowHistory on files, of the workflows in ``files``."""

    def __init__(self, folder: HistoryFolder, files: WorkflowFiles) -> None:
        self._folder = folder
        self._current = files.current

    def versions(self, name: str) -> list[Version]:
        """See ``WorkflowHistory.versions``. An edited file is the last version, and kept from the next save on."""
        if not is_name(name):
            return []
        entries, edited = self._look(name)
        if edited is not None and self._folder.can_lock():
            with self._folder.locked():  # a writer may be between the file and its line
                entries, edited = self._look(name)
        return numbered(entries if edited is None else [*entries, edited[0]])

    def source(self, name: str, digest: str) -> bytes | None:
        """See ``WorkflowHistory.source``."""
        if not is_name(name):
            return None
        current = self._current(name)
        if current is not None and _digest(current[0]) == digest:
            return current[0]
        path = self._folder.path(name) / f"{digest}.py"
        with storage_errors("read the history of the workflow", path), suppress(FileNotFoundError):
            return path.read_bytes()
        return None

    @contextmanager
    def changing(self, name: str) -> Iterator[bytes | None]:
        """The workflow is about to change: gives the source that it has, if any, which is in the history then."""
        with self._folder.locked():
            _, edited = self._look(name)
            if edited is not None:
                self.add(name, *edited)
            current = self._current(name)
            yield None if current is None else current[0]

    def add(self, name: str, entry: Entry, source: Buffer) -> None:
        """Append a version; within ``changing``. ``source`` is b"" for a deletion."""
        folder = self._folder.path(name)
        with storage_errors("keep the history of the workflow", folder):
            folder.mkdir(exist_ok=True)
            sweep(folder)
            if entry.digest and not (folder / f"{entry.digest}.py").exists():
                replace_file(folder / f"{entry.digest}.py", source)
            _append_line(folder / "versions.jsonl", entry.dump())

    def last(self, name: str) -> Entry | None:
        """The newest version that is kept."""
        entries = self._entries(name)
        return entries[-1] if entries else None

    def _look(self, name: str) -> tuple[list[Entry], tuple[Entry, bytes] | None]:
        """The versions that are kept, and the one that the file has become since, with its source."""
        current = self._current(name)
        entries = self._entries(name)
        if current is None:
            return entries, None
        source, changed = current
        if entries and entries[-1].digest == _digest(source):
            return entries, None
        return entries, (Entry(_digest(source), utc_from_ns(changed), "", EDITED), source)

    def _entries(self, name: str) -> list[Entry]:
        path = self._folder.path(name) / "versions.jsonl"
        with storage_errors("read the history of the workflow", path):
            try:
                lines = path.read_bytes().splitlines()
            except FileNotFoundError:
                return []
        return [entry for line in lines if (entry := load_entry(line)) is not None]


class FileUseCounts:
    """The UseCounts in ``workflows/.history/uses.json``."""

    def __init__(self, folder: HistoryFolder) -> None:
        self._folder = folder

    def add(self, uses: Mapping[str, Use]) -> None:
        """See ``UseCounts.add``."""
        with self._folder.locked():
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
                found = json.loads(path.read_bytes())
            except (FileNotFoundError, ValueError, RecursionError):
                return {}
        rows = found.items() if isinstance(found, dict) else ()
        return {name: Use(*row) for name, row in rows if _is_row(row)}


def _is_row(row: object) -> bool:
    return isinstance(row, list) and [type(item) for item in row] == [int, int, str]


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
