"""``%load_ext py_code_mode``: puts the magics into an IPython shell, and takes them out again."""

from __future__ import annotations

from typing import Any

from .completion import matcher
from .listing import WorkspaceMagics
from .magics import SessionMagics
from .notebook import Notebook

_loaded: dict[Any, Extension] = {}


def load(shell: Any) -> None:
    """Put the magics in; a second time does nothing."""
    if shell not in _loaded:
        _loaded[shell] = Extension(shell)


def unload(shell: Any) -> None:
    """Close what is open, and take the magics out."""
    extension = _loaded.pop(shell, None)
    if extension is not None:
        extension.remove()


class Extension:
    """What was put into one shell."""

    def __init__(self, shell: Any) -> None:
        self._manager = shell.magics_manager
        self._matchers = shell.Completer.custom_matchers
        self._notebook = notebook = Notebook(shell.user_ns)
        self._magics = (SessionMagics(shell, notebook), WorkspaceMagics(shell, notebook))
        shell.register_magics(*self._magics)
        self._matcher = matcher(
            {
                "tools": lambda: [item["name"] for item in notebook.peek(lambda session: session.list_tools())],
                "workflows": lambda: [item["name"] for item in notebook.peek(lambda session: session.list_workflows())],
                "deps": lambda: notebook.peek(lambda session: session.list_deps()),
            }
        )
        self._matchers.append(self._matcher)

    def remove(self) -> None:
        """Undo that."""
        self._matchers.remove(self._matcher)
        for kind, magics in self._manager.magics.items():
            for name, magic in list(magics.items()):
                if getattr(magic, "__self__", None) in self._magics:
                    del self._manager.magics[kind][name]
        for magics in self._magics:
            self._manager.registry.pop(type(magics).__name__, None)
        self._notebook.end()
