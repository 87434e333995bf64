"""The files ``workflows/<name>.py`` of a workspace."""

from __future__ import annotations

import os
import stat as stat_module
from pathlib import Path

from py_code_mode.errors import WorkflowInvalidError
from py_code_mode.workflows.workflow import MAX_SOURCE_BYTES, workflow_path

from .disk import inside, storage_errors

SUFFIX = ".py"


class WorkflowFiles:
    """Reads them; links, folders and what is too large are not read."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._root = base / "workflows"

    def path(self, name: str) -> Path:
        """The file of a workflow. Raises StorageError when links lead out of the workspace."""
        return inside(self._base, self._root) / f"{name}{SUFFIX}"

    def read(self, name: str) -> bytes | None:
        """The content, cut a byte beyond the most that is allowed; None: there is none.

        Raises WorkflowInvalidError for what is no plain file.
        """
        if not is_name(name):
            return None
        path = self.path(name)
        with storage_errors("read the workflow", path):
            try:
                mode = path.stat(follow_symlinks=False).st_mode
                if not stat_module.S_ISREG(mode):
                    told = f"{workflow_path(name)}: it is {_kind(mode)}, and workflows are plain files"
                    raise WorkflowInvalidError(told, workflow=name)
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            with os.fdopen(fd, "rb") as file:
                return file.read(MAX_SOURCE_BYTES + 1)

    def current(self, name: str) -> tuple[bytes, int] | None:
        """The source and when it came there, in ns; None where there is none that could be a version."""
        try:
            source = self.read(name)
            changed = self.path(name).stat(follow_symlinks=False).st_mtime_ns
        except (WorkflowInvalidError, FileNotFoundError):
            return None
        return None if source is None or len(source) > MAX_SOURCE_BYTES else (source, changed)


def is_name(name: str) -> bool:
    """Whether a workflow could have it: as the name of a file that is neither hidden nor private."""
    if not isinstance(name, str) or not name or name[0] in "._" or "/" in name or "\0" in name:
        return False
    try:
        return len(os.fsencode(name)) + len(SUFFIX) <= 255
    except UnicodeEncodeError:
        return False


def _kind(mode: int) -> str:
    if stat_module.S_ISLNK(mode):
        return "a symbolic link"
    return "a folder" if stat_module.S_ISDIR(mode) else "a special file"
