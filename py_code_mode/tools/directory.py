"""Definitions of tools in a directory, one YAML file each."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path

from py_code_mode.errors import StorageError, ToolDefinitionError

from .store import SUFFIXES, file_of_name, name_of_file

# A file that was written less than this before it was looked at may be written once more without a change of
# its times: file systems tick in steps of some milliseconds.
_SETTLED_NS = 100_000_000

_unique = itertools.count()


class ToolDirectory:
    """The ToolSource of ``*.yaml`` and ``*.yml`` in ``path``; names that begin with a dot are left out.

    A directory that is not there has none, and may appear later; one that cannot be read is a StorageError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def stamps(self) -> Mapping[str, Hashable]:
        """See ``ToolSource.stamps``. One look at the directory: quick enough for an event loop."""
        stamps: dict[str, Hashable] = {}
        now = time.time_ns()
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    if not entry.name.endswith(SUFFIXES) or entry.name.startswith("."):
                        continue
                    try:
                        if entry.is_file():
                            stamps[name_of_file(entry.name)] = _stamp(entry.stat(), now)
                    except OSError:
                        continue  # deleted between the two looks
        except FileNotFoundError:
            pass
        except OSError as error:
            problem = f"the tools in {self.path} cannot be read: {error.strerror or error}"
            raise StorageError(problem) from error
        return stamps

    def read(self, names: Iterable[str]) -> dict[str, bytes | ToolDefinitionError]:
        """See ``ToolSource.read``."""
        found: dict[str, bytes | ToolDefinitionError] = {}
        for name in names:
            path = self.where(name)
            try:
                found[name] = path.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                problem = f"{path}: cannot be read: {error.strerror or error}"
                found[name] = ToolDefinitionError(problem, path=str(path), tool=path.stem)
        return found

    def where(self, name: str) -> Path:
        """The file."""
        return self.path / file_of_name(name)


def _stamp(stat: os.stat_result, now: int) -> Hashable:
    fresh = next(_unique) if now - max(stat.st_mtime_ns, stat.st_ctime_ns) < _SETTLED_NS else None
    return (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino, fresh)
