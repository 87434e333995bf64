"""Files below a folder, reached part by part through directory descriptors, so that no symbolic link is
followed, not even one that another process puts there in between."""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO must not block


class InTheWayError(Exception):
    """A part of a path is not a folder. ``part`` is its index, ``is_link`` whether it is a symbolic link."""

    def __init__(self, part: int, is_link: bool) -> None:
        super().__init__(part, is_link)
        self.part = part
        self.is_link = is_link


@contextmanager
def open_folder(root: Path, parts: Sequence[str], *, create: bool = False) -> Iterator[int]:
    """The descriptor of the folder ``parts`` below ``root``, made if ``create``.

    Raises FileNotFoundError, and InTheWayError where a part is a file or a link.
    """
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for index, part in enumerate(parts):
            if create:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=fd)
            try:
                child = os.open(part, _FOLDER, dir_fd=fd)
            except OSError as error:
                mode = entry_mode(part, fd)
                if mode is None or stat_module.S_ISDIR(mode):
                    raise
                raise InTheWayError(index, stat_module.S_ISLNK(mode)) from error
            os.close(fd)
            fd = child
        yield fd
    finally:
        os.close(fd)


def entry_mode(name: str, folder: int) -> int | None:
    """The mode of an entry of the folder, links not followed; None: there is no such entry."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None


@contextmanager
def open_file(name: str, folder: int) -> Iterator[int | None]:
    """The descriptor of a regular file of the folder; None: there is none of that name."""
    try:
        fd = os.open(name, _FILE, dir_fd=folder)
    except OSError:
        mode = entry_mode(name, folder)
        if mode is not None and stat_module.S_ISREG(mode):
            raise
        yield None
        return
    try:
        yield fd if stat_module.S_ISREG(os.fstat(fd).st_mode) else None
    finally:
        os.close(fd)


def remove_empty(root: Path, parts: Sequence[str]) -> None:
    """Remove the folder ``parts`` below ``root`` and those above it, as far as they are empty."""
    for depth in range(len(parts), 0, -1):
        try:
            with open_folder(root, parts[: depth - 1]) as parent:
                os.rmdir(parts[depth - 1], dir_fd=parent)
        except (OSError, InTheWayError):
            return
