"""What one notebook has open, and how it ends with the notebook's kernel."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from IPython.core.error import UsageError

from py_code_mode.executors.kernel import SubprocessConfig
from py_code_mode.session import Session

from .background import Background
from .opened import HereSession, LiveSession, Opened

OpenedT = TypeVar("OpenedT", bound=Opened)

_PEEK = 0.5
"""How long completion may take to ask for names, seconds."""


class Notebook:
    """The session and the workspace that the magics of one IPython shell work with; one of each at most."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        self._background: Background | None = None
        self.live: LiveSession | None = None
        self._here: HereSession | None = None

    def open(self, base: str, config: SubprocessConfig) -> LiveSession:
        """Open a session, and then close the one before: it stays where the new one does not open."""
        opened = self._started(lambda background: LiveSession(background, base, config))
        before, self.live = self.live, opened
        if before is not None:
            before.close()
        return opened

    def open_here(self, base: str, tools: Path | None) -> tuple[HereSession, list[str]]:
        """Put a workspace into the notebook in place of the one before; with the user's names that it replaces."""
        opened = self._started(lambda background: HereSession(background, base, tools))
        self.close_here()
        self._here = opened
        return opened, opened.place(self._namespace)

    def close(self) -> None:
        """Close the session. UsageError where there is none."""
        opened, self.live = self.session(), None
        opened.close()

    def close_here(self) -> bool:
        """Take the workspace out of the notebook; False if there is none."""
        opened, self._here = self._here, None
        if opened is None:
            return False
        opened.close()
        return True

    def session(self) -> LiveSession:
        """The session. UsageError where there is none."""
        if self.live is None:
            raise UsageError("no session is open: open one with %code_mode DIR")
        return self.live

    def workspace(self) -> Opened:
        """The session, or else the workspace that is in the notebook. UsageError where there is neither."""
        return self._here if self.live is None and self._here is not None else self.session()

    def peek(self, ask: Callable[[Session], Any]) -> list[Any]:
        """What the workspace answers; nothing where there is none, it fails, or it takes long."""
        opened = self._here if self.live is None else self.live
        if opened is None:
            return []
        try:
            return list(opened.peek(ask, _PEEK))
        except Exception:  # noqa: BLE001 - a completion without names is better than an error while typing
            return []

    def end(self) -> None:
        """Close all."""
        atexit.unregister(self._at_exit)
        self._end_sessions()
        background, self._background = self._background, None
        if background is not None:
            background.stop()

    def _end_sessions(self) -> None:
        opened, self.live = self.live, None
        try:
            if opened is not None:
                opened.close()
        finally:
            self.close_here()

    def _at_exit(self) -> None:
        # Everything is closed when asyncio finds that there are no more threads to wait in for the engine's end.
        with suppress(RuntimeError):
            self._end_sessions()

    def _started(self, make: Callable[[Background], OpenedT]) -> OpenedT:
        if self._background is None:
            self._background = Background()
            atexit.register(self._at_exit)
        try:
            opened = make(self._background)
        except (ValueError, ImportError, OSError, RuntimeError) as error:  # a NUL in the path, a "~name" of nobody
            raise UsageError(f"that cannot be a workspace: {error}") from None
        opened.start()
        return opened
