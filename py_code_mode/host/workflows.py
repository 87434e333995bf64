"""What ``workflows`` asks for."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kernel_bootstrap.arguments import Checker
from kernel_bootstrap.errors import WorkflowArgumentError
from py_code_mode.workflows.library import WorkflowLibrary
from py_code_mode.workflows.workflow import Workflow

from .uses import UseRecorder

if TYPE_CHECKING:
    from .server import Handler, Handlers


def handlers(library: WorkflowLibrary, uses: UseRecorder, author: str) -> Handlers:
    """The methods of ``workflows`` over one library; ``author`` is who saves. Its code is never run here."""
    found = _reading(library, uses) | _writing(library, author)
    return {method: _checked(method, handler) for method, handler in found.items()} | _saving(library, author)


def _checked(method: str, handler: Handler) -> Handler:
    """``handler``, which the code may ask for anything: what does not fit its annotations is refused."""
    checker = Checker(handler, method)

    def call(*args: Any, **params: Any) -> Any:
        if told := checker.told(args, params):
            raise WorkflowArgumentError(f"{method}: {told}")
        return handler(*args, **params)

    return call


def _reading(library: WorkflowLibrary, uses: UseRecorder) -> dict[str, Any]:
    async def list_() -> list[dict[str, Any]]:
        return [workflow.summary() for workflow in await to_thread(library.list)]

    async def search(query: str, limit: int = 5) -> list[dict[str, Any]]:
        found = await to_thread(library.find, query, limit)
        return [workflow.summary() | match.to_dict() for workflow, match in found]

    async def get(name: str, version: int | None = None) -> dict[str, Any] | None:
        return await to_thread(library.describe, name, version)

    def code(name: str, known: str = "", call: bool = True) -> Any:
        if not (known and library.is_near and library.is_unchanged(name, known)):
            return read_code(name, known, call)
        if call:
            uses.called(name)
        return {"digest": known}

    async def read_code(name: str, known: str, call: bool) -> dict[str, Any]:
        workflow = await to_thread(library.require, name)
        if call:
            uses.called(name)
        return {"digest": known} if workflow.digest == known else _code(workflow)

    async def failed(name: str) -> None:
        uses.failed(name)

    async def history(name: str) -> list[dict[str, Any]]:
        return [version.to_dict() for version in await to_thread(library.history, name)]

    async def diff(name: str, old: int | None = None, new: int | None = None) -> str:
        return await to_thread(library.diff, name, old, new)

    async def stats(name: str | None = None) -> list[dict[str, Any]]:
        await uses.flush()
        return await to_thread(library.stats, name)

    async def stubs() -> str:
        return await to_thread(library.stubs)

    return {
        "workflows.list": list_,
        "workflows.search": search,
        "workflows.get": get,
        "workflows.code": code,
        "workflows.failed": failed,
        "workflows.history": history,
        "workflows.diff": diff,
        "workflows.stats": stats,
        "workflows.stubs": stubs,
    }


def _writing(library: WorkflowLibrary, author: str) -> dict[str, Any]:
    async def rollback(name: str, version: int) -> dict[str, Any]:
        return (await to_thread(lambda: library.rollback(name, version, author=author))).summary()

    async def delete(name: str) -> bool:
        return await to_thread(lambda: library.delete(name, author=author))

    return {"workflows.rollback": rollback, "workflows.delete": delete}


def _saving(library: WorkflowLibrary, author: str) -> dict[str, Any]:
    """Those that take what is to be a workflow; the library itself says what is wrong with it."""

    async def check(name: str, source: str, description: str = "", tags: Sequence[str] | None = None) -> dict[str, Any]:
        return _code(await to_thread(library.check, name, source, description, tags))

    async def create(
        name: str, source: str, description: str = "", tags: Sequence[str] | None = None
    ) -> dict[str, Any]:
        made = await to_thread(lambda: library.create(name, source, description, tags=tags, author=author))
        return made.summary()

    return {"workflows.check": check, "workflows.create": create}


def _code(workflow: Workflow) -> dict[str, Any]:
    """What it takes to run one."""
    return {
        "digest": workflow.digest,
        "source": workflow.source,
        "path": workflow.path,
        "dependencies": [*workflow.requires.dependencies],
    }
