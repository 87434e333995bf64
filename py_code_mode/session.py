"""The Session: code execution with tools, workflows, artifacts and dependencies behind one object."""

from __future__ import annotations

import asyncio
import secrets
import warnings
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .errors import SessionClosedError
from .executors.base import check_timeout
from .handover import EventQueue
from .results import BeginEvent, CellEvent, EndEvent, ExecutionResult, Listener, OutputEvent
from .startedrun import StartedRun
from .trying import TriesWorkflows
from .watch.journal import Journal
from .watch.watched import Watched

if TYPE_CHECKING:
    from .executors.base import Executor
    from .kernel.engine import Engine
    from .storage.base import StorageBackend
    from .watch.notebook import Recorder
    from .workspace import Workspace


class Session(TriesWorkflows, Watched):
    """Runs Python code with state, next to the tools, workflows, artifacts and packages of a workspace.

    ``storage`` keeps workflows, artifacts and the list of dependencies. ``executor`` runs the code; None: a kernel
    of its own in the workspace's cached virtualenv (``SubprocessExecutor``). ``sync_deps_on_start`` installs all
    configured dependencies when the session starts. ``record`` is a notebook that is kept up to date with what the
    session does: see ``save_notebook``. Use it as ``async with``, or call ``start`` and ``close``.

    A session may be used from any event loop and thread; runs queue in the order in which they come.
    Methods raise SessionClosedError before ``start`` and after ``close``, StorageError when the storage fails.
    """

    def __init__(
        self,
        storage: StorageBackend,
        executor: Executor | None = None,
        sync_deps_on_start: bool = False,
        *,
        record: str | Path | None = None,
    ) -> None:
        for method in ("get_workflow_library", "get_artifact_store", "get_dependency_store"):
            if not hasattr(storage, method):
                raise TypeError(
                    f"storage must be a storage backend such as FileStorage(base_path=...), not {storage!r}"
                )
        if executor is not None and not hasattr(executor, "execute"):
            raise TypeError(f"executor must be an executor such as SubprocessExecutor(), not {executor!r}")
        self._storage = storage
        self._executor = executor or _default_executor()
        self._sync_on_start = sync_deps_on_start
        self._engine: Engine | None = None
        self._workspace: Workspace | None = None
        self._opening: asyncio.Task[Any] | None = None
        self._started: Future[None] | None = None
        self._closed: Future[None] | None = None
        self._journal = Journal()
        self._forgotten = 0
        self._record = None if record is None else Path(record).expanduser().resolve()
        self._recorder: Recorder | None = None
        self.id = secrets.token_hex(8)

    # -- constructors -----------------------------------------------------------------------------------

    @classmethod
    def from_base(
        cls,
        base: str | Path,
        *,
        timeout: float | None = 30.0,
        extra_deps: tuple[str, ...] | None = None,
        allow_runtime_deps: bool = True,
        sync_deps_on_start: bool = False,
        record: str | Path | None = None,
        tools_path: str | Path | None = None,
    ) -> Session:
        """A session on the workspace ``base``, with everything that is found in it.

        That is a directory, or ``redis://host:6379/0?prefix=NAME`` (``rediss://``, ``unix:///path``; see RedisStorage).
        ``tools_path`` is a directory of tool definitions in place of the workspace's own.
        """
        return cls.subprocess(
            base,
            timeout=timeout,
            extra_deps=extra_deps,
            allow_runtime_deps=allow_runtime_deps,
            sync_deps_on_start=sync_deps_on_start,
            record=record,
            tools_path=tools_path,
        )

    @classmethod
    def subprocess(
        cls,
        base_path: str | Path,
        *,
        timeout: float | None = 60.0,
        extra_deps: tuple[str, ...] | None = None,
        allow_runtime_deps: bool = True,
        sync_deps_on_start: bool = False,
        python_version: str | None = None,
        cache_venv: bool = True,
        record: str | Path | None = None,
        tools_path: str | Path | None = None,
    ) -> Session:
        """The same with the kernel's own options: see ``SubprocessConfig``."""
        from .executors.kernel import SubprocessConfig, SubprocessExecutor
        from .storage.bases import storage_at

        config = SubprocessConfig(
            tools_path=_directory(tools_path),
            timeout=timeout,
            extra_deps=_several(extra_deps),
            allow_runtime_deps=allow_runtime_deps,
            python_version=python_version,
            cache_venv=cache_venv,
        )
        return cls(storage_at(base_path), SubprocessExecutor(config), sync_deps_on_start, record=record)

    @classmethod
    def inprocess(
        cls,
        base_path: str | Path,
        *,
        timeout: float | None = 30.0,
        extra_deps: tuple[str, ...] | None = None,
        allow_runtime_deps: bool = True,
        sync_deps_on_start: bool = False,
        record: str | Path | None = None,
        tools_path: str | Path | None = None,
    ) -> Session:
        """A session in this very process: fastest, no isolation; see ``InProcessExecutor``."""
        from .executors.inprocess import InProcessConfig, InProcessExecutor
        from .storage.bases import storage_at

        config = InProcessConfig(
            tools_path=_directory(tools_path),
            timeout=timeout,
            extra_deps=_several(extra_deps),
            allow_runtime_deps=allow_runtime_deps,
        )
        return cls(storage_at(base_path), InProcessExecutor(config), sync_deps_on_start, record=record)

    # -- lifecycle --------------------------------------------------------------------------------------

    async def start(self, *, progress: Callable[[str], None] | None = None) -> None:
        """Make ready to run. ``progress`` gets a line when something slow happens, such as a first virtualenv.

        Raises VenvError, PythonNotFoundError, KernelStartError; what was begun is ended again. A configured
        requirement that ``sync_deps_on_start`` cannot install is a RuntimeWarning: the session works without it.
        A second call waits for the first; a session that is closed cannot be opened again.
        """
        if self._closed is not None:
            raise SessionClosedError("this session is closed; make a new one")
        if self._started is not None:
            await asyncio.shield(asyncio.wrap_future(self._started))
            return
        from .kernel.engine import Engine

        self._started = Future()
        engine = self._engine = Engine.lease()
        try:
            failed = await engine.call(self._open_on(engine, progress or (lambda line: None)))
        except BaseException as error:
            await asyncio.shield(self.close())
            told = error if isinstance(error, Exception) else SessionClosedError("the session did not start")
            self._started.set_exception(told)
            raise
        self._started.set_result(None)
        if failed:
            warnings.warn(f"sync_deps_on_start could not install {failed}", RuntimeWarning, stacklevel=2)

    async def close(self) -> None:
        """End the session and everything that it started; a second call waits for the first."""
        if self._closed is not None:
            await asyncio.shield(asyncio.wrap_future(self._closed))
            return
        self._closed = Future()
        await asyncio.shield(self._close(self._closed))

    async def _open_on(self, engine: Engine, progress: Callable[[str], None]) -> str:
        """Open the workspace; returns the requirements that were to be installed and could not, with the reasons."""
        from .workspace import Workspace

        self._opening = asyncio.current_task()
        workspace = await Workspace.open(
            engine, self._storage, self._executor, self.id, progress, lambda code: self._journal.enter(code, "other")
        )
        try:
            report = await workspace.ask("deps.sync", {}) if self._sync_on_start else {}
        except BaseException:
            await asyncio.shield(workspace.close())
            raise
        self._workspace = workspace
        if self._record is not None:
            from .watch.notebook import Recorder

            self._recorder = Recorder(self._record, self._journal, self._notebook)
        errors = report.get("errors", {})
        return "; ".join(f"{name}: {errors.get(name, 'no reason given')}" for name in report.get("failed", ()))

    async def _close(self, closed: Future[None]) -> None:
        failed = ""
        try:
            if self._engine is not None:
                try:
                    failed = await self._engine.call(self._close_on())
                finally:
                    await self._engine.release()
        except SessionClosedError:
            pass  # of the process that forked this one: nothing here is ours to end
        finally:
            closed.set_result(None)
        if failed:
            warnings.warn(f"the record of the session is not whole: {failed}", RuntimeWarning, stacklevel=3)

    async def _close_on(self) -> str:
        """Close everything; returns why the record could not be written, "" where it could."""
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
            await asyncio.wait({self._opening})
        try:
            if self._workspace is not None:
                await self._workspace.close()
        finally:
            self._journal.close()
        return "" if self._recorder is None else await self._recorder.close()

    async def reset(self) -> None:
        """Clear all variables; the namespaces, workflows, artifacts and packages stay."""
        engine, _ = self._open()
        await engine.call(self._executor.reset())
        self._forgotten = self._journal.count

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    # -- execution --------------------------------------------------------------------------------------

    async def run(self, code: str, timeout: float | None = None) -> ExecutionResult:
        """Run ``code`` and return what it gave; see ExecutionResult for what failing code gives.

        ``timeout`` in seconds overrides the session's own, which None leaves in force.
        """
        engine, _ = self._open()
        return await engine.call(self._execute(code, self._limit(code, timeout), None))

    async def stream(self, code: str, timeout: float | None = None) -> AsyncIterator[OutputEvent]:
        """Run ``code``; yields its outputs as they come, and at last an EndEvent with the result.

        Leaving the iteration early interrupts the code.
        """
        engine, _ = self._open()
        limit = self._limit(code, timeout)
        queue = EventQueue()

        def hear(event: CellEvent) -> None:
            if not isinstance(event, BeginEvent):
                queue.put(event)

        run = asyncio.ensure_future(engine.call(self._execute(code, limit, hear)))
        run.add_done_callback(lambda _: queue.put(None))
        try:
            while (event := await queue.get()) is not None:
                yield event
            yield EndEvent(await run)
        finally:
            if not run.done():
                run.cancel()
                await asyncio.wait({run})

    def start_run(self, code: str, timeout: float | None = None) -> StartedRun:
        """Let ``code`` run by itself, behind what is queued, and return a handle at once; for any thread.

        ``timeout`` as in ``run``; ``math.inf`` for no limit.
        """
        engine, _ = self._open()
        limit = self._limit(code, timeout)
        return StartedRun(engine, lambda listener: self._execute(code, limit, listener))

    async def _execute(self, code: str, limit: float | None, listener: Listener | None) -> ExecutionResult:
        journal = self._journal.enter(code)

        def hear(event: CellEvent) -> None:
            journal(event)
            if listener is not None:
                listener(event)

        try:
            result = await self._executor.execute(code, limit, hear)
        except BaseException as error:
            name, text = type(error).__name__, str(error)
            if isinstance(error, asyncio.CancelledError):
                name, text = "KeyboardInterrupt", "the run was cancelled"
            journal(EndEvent(ExecutionResult(error=f"{name}: {text}", error_name=name)))
            raise
        journal(EndEvent(result))
        return result

    def interrupt(self) -> None:
        """End the run that is under way, at whatever point it is; its result says KeyboardInterrupt.

        Does nothing when no code runs. May be called from any thread.
        """
        engine, _ = self._open()
        # One turn of the loop later: behind the first step of a run that was asked for just before.
        engine.loop.call_soon_threadsafe(engine.loop.call_soon, self._executor.interrupt)

    def _limit(self, code: str, timeout: float | None) -> float | None:
        if not isinstance(code, str):
            raise TypeError(f"code must be a str, not {type(code).__name__}")
        if timeout is None:
            return self._executor.config.timeout
        check_timeout(timeout, "None for the session's own")
        return timeout

    # -- capabilities -----------------------------------------------------------------------------------

    def supports(self, capability: str) -> bool:
        """Whether this session has a capability; False for names that do not exist."""
        return capability in self.supported_capabilities()

    def supported_capabilities(self) -> set[str]:
        """The names of what this session can do: see ``Capability``."""
        return {capability.value for capability in self._executor.capabilities}

    # -- inside -----------------------------------------------------------------------------------------

    @property
    def storage(self) -> StorageBackend:
        """The storage backend."""
        return self._storage

    def _open(self) -> tuple[Engine, Workspace]:
        if self._closed is not None:
            raise SessionClosedError("the session is closed")
        if self._engine is None or self._workspace is None:
            raise SessionClosedError("the session is not started: use `async with session:` or await session.start()")
        return self._engine, self._workspace


def _default_executor() -> Executor:
    from .executors.kernel import SubprocessExecutor

    return SubprocessExecutor()


def _directory(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path).expanduser().absolute()


def _several(requirements: tuple[str, ...] | None) -> tuple[str, ...]:
    # A str is left as it is, and refused by the configuration.
    return requirements if isinstance(requirements, str) else tuple(requirements or ())
