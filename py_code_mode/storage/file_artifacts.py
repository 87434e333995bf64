"""Artifacts as files that have exactly their names; see ``records`` for what is kept beside them."""

from __future__ import annotations

import builtins
import hashlib
import mmap
import os
import stat as stat_module
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from kernel_bootstrap import formats
from kernel_bootstrap.wire import Buffer, Source
from py_code_mode.artifacts.artifact import (
    RESERVED_FOLDER,
    Artifact,
    check_format,
    check_name,
    check_notes,
    utc_from_ns,
)
from py_code_mode.artifacts.store import ArtifactStore, not_found
from py_code_mode.errors import ArtifactNameError, StorageError

from .disk import StoredFile, TemporaryFile, exclusive, inside, is_local, storage_errors, sweep, write_temporary
from .file_writer import FileArtifactWriter, record_of
from .folders import InTheWayError, entry_mode, open_file, open_folder, remove_empty
from .records import Record, dump_records, load_records, recognise

T = TypeVar("T")

MAPPED = 1 << 20
"""From this size on (bytes) a value is mapped into memory, not read."""

_HEAD = 4096  # bytes of a foreign file by which its format is guessed
_ATTEMPTS = 200  # of a reader whose file is replaced again and again; each takes two saves to fail


class FileArtifactStore(ArtifactStore):
    """The ArtifactStore on files. A file that somebody puts into the folder is an artifact, too.

    Readers take no lock and write nothing, so they work on a read-only disk. Writers of all processes take
    turns, for the two renames only.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self._root = base / "artifacts"
        self._meta = self._root / RESERVED_FOLDER
        self._temporary = self._meta / "tmp"
        self._sweeping = threading.Lock()
        self._swept = False

    def create(
        self,
        name: str,
        format: str,  # noqa: A002
        details: dict[str, Any],
        description: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> FileArtifactWriter:
        """See ``ArtifactStore.create``. The value lies in a temporary file until it is committed."""
        parts = check_name(name)
        notes = check_notes(name, description, metadata)
        details = check_format(name, format, details)

        def publish(file: TemporaryFile, whole: memoryview | None) -> Artifact:
            record = record_of(file, whole, format, details, description, notes)
            with exclusive(self._meta / "lock"):
                return self._publish(name, parts, file.path, record)

        errors = partial(_errors, "save the artifact", self._root, parts)
        with errors():
            self._prepare()
            return FileArtifactWriter(TemporaryFile(self._temporary), publish, errors)

    def open(self, name: str) -> tuple[Artifact, Source]:
        """See ``ArtifactStore.open``."""
        return self._opened(name, lambda fd, described: StoredFile(os.dup(fd), self._root / name))

    def read(self, name: str) -> tuple[Artifact, Buffer]:
        """See ``ArtifactStore.read``. Large values are mapped: pages are read when they are touched."""
        return self._opened(name, lambda fd, described: _content(fd, mapped=described.never_edited))

    def get(self, name: str) -> Artifact | None:
        """See ``ArtifactStore.get``."""
        described = self._find(name)
        return None if described is None else described.artifact

    @cached_property
    def is_near(self) -> bool:
        """See ``ArtifactStore.is_near``: on a disk of this machine."""
        return is_local(self._base)

    def exists(self, name: str) -> bool:
        """See ``ArtifactStore.exists``; nothing is opened."""
        parts = check_name(name)
        try:
            return self._is_file(parts)
        except (OSError, InTheWayError):
            with _errors("read the artifact", self._root, parts):
                raise

    def _is_file(self, parts: tuple[str, ...]) -> bool:
        path, mode = os.fspath(inside(self._base, self._root)), 0
        for index, part in enumerate(parts):
            path = f"{path}/{part}"
            try:
                mode = os.lstat(path).st_mode
            except (FileNotFoundError, NotADirectoryError):
                return False
            if stat_module.S_ISLNK(mode):
                raise InTheWayError(index, is_link=True)
        return stat_module.S_ISREG(mode)

    def list(self) -> builtins.list[Artifact]:
        """See ``ArtifactStore.list``. Left out: links, and hidden files that were not saved as artifacts."""
        with storage_errors("list the artifacts", self._root):
            inside(self._base, self._meta)
            found = [self._listed(name, entry) for name, entry in _walk(self._root, "")]
        return sorted((artifact for artifact in found if artifact), key=lambda artifact: artifact.name)

    def delete(self, name: str) -> bool:
        """See ``ArtifactStore.delete``. Folders that become empty are removed."""
        parts = check_name(name)
        with _errors("delete the artifact", self._root, parts):
            with self._open(parts) as fd:
                if fd is None:
                    return False
            self._prepare()
            with exclusive(self._meta / "lock"):
                try:
                    with open_folder(self._root, parts[:-1]) as folder:
                        os.unlink(parts[-1], dir_fd=folder)
                except FileNotFoundError:
                    return False
                self._records_path(name).unlink(missing_ok=True)
                remove_empty(self._root, parts[:-1])
                return True

    def _prepare(self) -> None:
        for folder in (self._temporary, self._root, self._meta):
            inside(self._base, folder)
        self._temporary.mkdir(parents=True, exist_ok=True)
        with self._sweeping:
            if not self._swept:
                sweep(self._temporary)
                self._swept = True

    def _publish(self, name: str, parts: tuple[str, ...], temporary: Path, record: Record) -> Artifact:
        """Called under the lock: make ``temporary`` the artifact, described by ``record``."""
        try:
            with open_folder(self._root, parts[:-1], create=True) as folder:
                retired, created_at = self._retire(name, parts, folder, temporary)
                record = replace(record, created_at=created_at or record.created_at)
                described = write_temporary(self._temporary, dump_records(name, [*retired, record]))
                described.replace(self._records_path(name))
                os.replace(temporary, parts[-1], dst_dir_fd=folder)
        except BaseException:
            remove_empty(self._root, parts[:-1])
            raise
        return self._artifact(name, record)

    def _retire(
        self, name: str, parts: tuple[str, ...], folder: int, temporary: Path
    ) -> tuple[builtins.list[Record], str | None]:
        """The record of what is about to be replaced, if it has one, and when it was created."""
        leaf = parts[-1]
        mode = entry_mode(leaf, folder)
        if mode is None:
            return [], None
        if stat_module.S_ISDIR(mode):
            with suppress(OSError):
                os.rmdir(leaf, dir_fd=folder)  # left empty by somebody, it is in nobody's way
                return [], None
            raise ArtifactNameError(f"{name!r} is a folder that holds other artifacts", artifact=name)
        if not stat_module.S_ISREG(mode):
            raise InTheWayError(len(parts) - 1, is_link=stat_module.S_ISLNK(mode))
        temporary.chmod(stat_module.S_IMODE(mode))
        stat = os.stat(leaf, dir_fd=folder, follow_symlinks=False)
        records = self._records(name)
        record = next((record for record in records if record.is_about(stat)), None)
        if record is None:
            with suppress(PermissionError), open_file(leaf, folder) as fd:
                record = None if fd is None else recognise(fd, stat, records)
        if record is None:
            return [], utc_from_ns(stat.st_mtime_ns)
        return [replace(record, inode=stat.st_ino, mtime_ns=stat.st_mtime_ns)], record.created_at

    @contextmanager
    def _open(self, parts: tuple[str, ...]) -> Iterator[int | None]:
        inside(self._base, self._meta)
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(open_folder(self._root, parts[:-1]))
                fd = stack.enter_context(open_file(parts[-1], folder))
            except FileNotFoundError:
                fd = None
            except InTheWayError as error:
                if error.is_link:
                    raise
                fd = None
            else:
                mode = entry_mode(parts[-1], folder) if fd is None else None
                if mode is not None and stat_module.S_ISLNK(mode):
                    raise InTheWayError(len(parts) - 1, is_link=True)
            yield fd

    def _opened(self, name: str, use: Callable[[int, _Described], T]) -> tuple[Artifact, T]:
        parts = check_name(name)
        with _errors("read the artifact", self._root, parts):
            for _ in range(_ATTEMPTS):
                with self._open(parts) as fd:
                    if fd is None:
                        raise not_found(name, (artifact.name for artifact in self.list()))
                    described = self._describe(name, parts, fd)
                    if described is not None:
                        return described.artifact, use(fd, described)
        raise _keeps_changing(self._root, name)

    def _find(self, name: str) -> _Described | None:
        parts = check_name(name)
        with _errors("read the artifact", self._root, parts):
            for _ in range(_ATTEMPTS):
                with self._open(parts) as fd:
                    if fd is None:
                        return None
                    described = self._describe(name, parts, fd)
                    if described is not None:
                        return described
        raise _keeps_changing(self._root, name)

    def _describe(self, name: str, parts: tuple[str, ...], fd: int) -> _Described | None:
        """What the open file is; None: it was replaced after it was opened, so its records may be gone."""
        stat = os.fstat(fd)
        records = self._records(name)
        for record in records:
            if record.is_about(stat):
                return _Described(self._artifact(name, record), recorded=True, never_edited=True)
        with self._open(parts) as now:
            if now is None or not os.path.samestat(os.fstat(now), stat):
                return None
        known = recognise(fd, stat, records)
        if known is not None:
            return _Described(self._artifact(name, known), recorded=True, never_edited=False)
        foreign = self._foreign(name, stat, os.pread(fd, _HEAD, 0), records)
        return _Described(foreign, recorded=False, never_edited=False)

    def _listed(self, name: str, entry: os.DirEntry[str]) -> Artifact | None:
        try:
            parts = check_name(name)
            stat = entry.stat(follow_symlinks=False)
        except (OSError, ArtifactNameError):
            return None
        try:
            for record in self._records(name):
                if record.is_about(stat):
                    return self._artifact(name, record)
            described = self._find(name)
        except ArtifactNameError:  # it was replaced by a link
            return None
        except (OSError, StorageError):  # what cannot be opened does not hide the others
            return self._foreign(name, stat, b"", [])
        if described is None or (not described.recorded and any(part.startswith(".") for part in parts)):
            return None
        return described.artifact

    def _artifact(self, name: str, record: Record) -> Artifact:
        return Artifact(
            name=name,
            path=str(self._root / name),
            format=record.format,
            size=record.size,
            created_at=record.created_at,
            updated_at=record.updated_at,
            description=record.description,
            metadata=record.metadata,
            details=record.details,
        )

    def _foreign(self, name: str, stat: os.stat_result, head: bytes, records: builtins.list[Record]) -> Artifact:
        changed = utc_from_ns(stat.st_mtime_ns)
        guess, details = formats.guess(name, head), dict[str, Any]()
        if guess == "text" and records and records[-1].format == "json" and head.lstrip()[:1] in (b"{", b"["):
            guess, details = "json", records[-1].details  # somebody edited what was saved as JSON
        return Artifact(
            name=name,
            path=str(self._root / name),
            format=guess,
            size=stat.st_size,
            created_at=changed,
            updated_at=changed,
            details=details,
        )

    def _records(self, name: str) -> builtins.list[Record]:
        try:
            return load_records(self._records_path(name).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _records_path(self, name: str) -> Path:
        # By a digest: a name can have the full length of a file name, and "a.json" can be a folder.
        return self._meta / f"{hashlib.sha256(os.fsencode(name)).hexdigest()[:40]}.json"


@dataclass(frozen=True, slots=True)
class _Described:
    """An artifact; whether a record tells so; whether its file is the one that ``save`` put there."""

    artifact: Artifact
    recorded: bool
    never_edited: bool


def _content(fd: int, *, mapped: bool) -> Buffer:
    # Only what nobody edits in place is mapped: a mapped file that is cut short ends the process (SIGBUS).
    if mapped and os.fstat(fd).st_size >= MAPPED:
        return memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_READ))
    with open(fd, "rb", closefd=False) as file:
        return file.read()


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError), os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            if name == RESERVED_FOLDER:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder / entry.name, f"{name}/")
            elif entry.is_file(follow_symlinks=False):
                yield name, entry


@contextmanager
def _errors(doing: str, root: Path, parts: Sequence[str]) -> Iterator[None]:
    name = "/".join(parts)
    try:
        with storage_errors(doing, root / name):
            yield
    except InTheWayError as error:
        part = "/".join(parts[: error.part + 1])
        if error.is_link:
            reason = f"{part!r} is a symbolic link, and links are not followed"
        elif error.part == len(parts) - 1:
            reason = "there is something that is not a file"
        else:
            reason = f"{part!r} is an artifact, so it cannot be a folder"
        raise ArtifactNameError(f"{name!r} cannot be used: {reason}", artifact=name) from None


def _keeps_changing(root: Path, name: str) -> StorageError:
    return StorageError(f"{root / name} was replaced {_ATTEMPTS} times while it was read; try again")
