"""The cells that have run here, for what is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from .errors import WorkflowInvalidError


class Cells(Protocol):
    """What a kernel remembers of its cells."""

    @property
    def namespace(self) -> dict[str, Any]:
        """The variables of the code."""

    def sources(self) -> Mapping[int, str]:
        """The cells before the one that runs, as they were written, by their number."""


class ShellCells:
    """The Cells of the IPython shell of this process."""

    @property
    def namespace(self) -> dict[str, Any]:
        """See ``Cells``."""
        namespace: dict[str, Any] = _shell().user_ns
        return namespace

    def sources(self) -> Mapping[int, str]:
        """See ``Cells``."""
        inputs = enumerate(_shell().history_manager.input_hist_raw[:-1])  # the last is the one that runs
        return {number: source for number, source in inputs if source}


def _shell() -> Any:
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is None or shell.history_manager is None:
        raise WorkflowInvalidError("there are no cells here that a workflow could be made of")
    return shell
