"""Runs workflows where the code runs: source from the host, compiled and called here."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

from .arguments import Checker
from .compiled import execute, run_of
from .errors import CodeModeError, WorkflowRecursionError
from .link import Link
from .loops import run_sync

MAX_DEPTH = 40
"""How deep workflows may call each other. Each level takes some fifteen Python frames of the 1,000 there are."""

_stack: ContextVar[tuple[str, ...]] = ContextVar("workflow_stack", default=())


class _Loaded:
    """A workflow that was compiled: its digest, its ``run``, and what checks the arguments of a call."""

    __slots__ = ("checker", "digest", "run")

    def __init__(self, digest: str, run: Callable[..., Any], checker: Checker) -> None:
        self.digest = digest
        self.run = run
        self.checker = checker


class WorkflowRunner:
    """Calls workflows by name. ``names`` are the globals that each finds (the four namespaces, the errors)."""

    def __init__(self, link: Link, names: dict[str, Any]) -> None:
        self._link = link
        self.names = names
        self._loaded: dict[str, _Loaded] = {}

    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a workflow, run to its end on this thread."""
        return run_sync(self.call_async(name, args, kwargs), self._link.release)

    async def call_async(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a workflow, run on the loop that is running."""
        stack = (*_stack.get(), name)
        if len(stack) > MAX_DEPTH:
            chain = " → ".join(stack[-4:])
            raise WorkflowRecursionError(
                f"workflows call each other more than {MAX_DEPTH} deep (… → {chain}): one has to end the recursion",
                workflow=name,
            )
        loaded = self._load(name, call=True)
        token = _stack.set(stack)
        try:
            loaded.checker.check(args, kwargs)
            return await loaded.run(*args, **kwargs)
        except Exception:
            self._count_failure(name)
            raise
        finally:
            _stack.reset(token)

    def load(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        """The ``run`` of a workflow, to look at; compiled again only when its source has changed."""
        return self._load(name, call=False).run

    def _load(self, name: str, *, call: bool) -> _Loaded:
        known = self._loaded.get(name)
        answer = self._link.request("workflows.code", name=name, known=known.digest if known else "", call=call)
        if known is None or answer["digest"] != known.digest:
            try:
                if answer["dependencies"]:
                    self.provide(answer["dependencies"], name)
                run = run_of(execute(name, answer["source"], answer["path"], self.names), name)
            except Exception:
                if call:
                    self._count_failure(name)
                raise
            known = self._loaded[name] = _Loaded(answer["digest"], run, Checker(run, name))
        return known

    def provide(self, dependencies: list[str], name: str) -> None:
        """Install what a workflow declares and is not there."""
        if self._link.request("deps.provide", requirements=dependencies, wanted_by=f"workflow {name!r}"):
            importlib.invalidate_caches()

    def _count_failure(self, name: str) -> None:
        # What the code did is told, whether or not it can be counted.
        with contextlib.suppress(CodeModeError):
            self._link.request("workflows.failed", name=name)

    async def test(self, name: str, answer: dict[str, Any]) -> dict[str, Any]:
        """The report of ``workflow_tests.run_tests`` on a source that the host has checked."""
        from . import workflow_tests  # brings doctest

        if answer["dependencies"]:
            self.provide(answer["dependencies"], name)
        return await workflow_tests.run_tests(name, answer["source"], answer["path"], self.names)
