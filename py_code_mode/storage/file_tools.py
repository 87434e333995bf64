"""Definitions of tools as ``tools/*.yaml``."""

from __future__ import annotations

from pathlib import Path

from py_code_mode.tools.directory import ToolDirectory
from py_code_mode.tools.store import check_store_name

from .disk import inside, replace_file, storage_errors, sweep


class FileToolStore(ToolDirectory):
    """The ToolStore on the files of a workspace."""

    def __init__(self, base: Path) -> None:
        super().__init__(base / "tools")
        self._base = base

    def write(self, name: str, content: bytes) -> None:
        """See ``ToolStore.write``."""
        check_store_name(name)
        path = self.where(name)
        with storage_errors("write the tool", path):
            inside(self._base, self.path).mkdir(parents=True, exist_ok=True)
            sweep(self.path)
            replace_file(path, content)

    def delete(self, name: str) -> bool:
        """See ``ToolStore.delete``."""
        if name not in self.stamps():
            return False
        path = self.where(name)
        with storage_errors("delete the tool", path):
            inside(self._base, self.path)
            path.unlink(missing_ok=True)
        return True
