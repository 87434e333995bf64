"""The configured dependencies as ``requirements.txt``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from py_code_mode.deps.requirements import Problem, RequirementsText
from py_code_mode.errors import StorageError

from .disk import exclusive, inside, replace_file, storage_errors, sweep

_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class FileDependencyStore:
    """The DependencyStore on a requirements.txt, which keeps what people wrote."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._file = base / "requirements.txt"

    def read(self) -> list[str]:
        """See ``DependencyStore.read``."""
        return self._content().requirements()

    def problems(self) -> list[Problem]:
        """See ``DependencyStore.problems``."""
        return self._content().problems()

    def add(self, requirement: str) -> None:
        """See ``DependencyStore.add``. The line keeps its place and its comment."""
        self._change(lambda content: content.with_requirement(requirement))

    def remove(self, name: str) -> bool:
        """See ``DependencyStore.remove``."""
        return self._change(lambda content: content.without(name))

    def _change(self, change: Callable[[RequirementsText], RequirementsText]) -> bool:
        with storage_errors("change the requirements", self._file):
            before = str(self._content())
            if str(change(RequirementsText(before))) == before:
                return False
            self._base.mkdir(parents=True, exist_ok=True)
            with exclusive(self._base / ".requirements.lock"):
                old = self._content()
                new = change(old)
                if str(new) != str(old):
                    sweep(self._base)
                    replace_file(inside(self._base, self._file), str(new).encode("utf-8", "surrogateescape"))
                return str(new) != str(old)

    def _content(self) -> RequirementsText:
        with storage_errors("read the requirements", self._file):
            try:
                data = inside(self._base, self._file).read_bytes()
            except FileNotFoundError:
                return RequirementsText()
        if data.startswith(_UTF16):
            raise StorageError(f"{self._file} is UTF-16; save it as UTF-8")
        # Escapes bring bytes that are not UTF-8, in a comment perhaps, back as they were.
        return RequirementsText(data.decode("utf-8", "surrogateescape"))
