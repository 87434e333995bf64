"""What ``workflows`` asks for."""

from __future__ import annotations

from asyncio import to_thread
from typing import TYPE_CHECKING, Any

from py_code_mode.workflows.library import WorkflowLibrary
from py_code_mode.workflows.workflow import Workflow

if TYPE_CHECKING:
    from .server import Handlers


def handlers(library: WorkflowLibrary) -> Handlers:
    """The methods of ``workflows`` over one library. Its code is never run here."""

    async def list_() -> list[dict[str, Any]]:
        return [workflow.summary() for workflow in await to_thread(library.list)]

    async def search(query: str, limit: int = 5) -> list[dict[str, Any]]:
        found = await to_thread(library.find, query, limit)
        return [workflow.summary() | match.to_dict() for workflow, match in found]

    async def get(name: str) -> dict[str, Any] | None:
        workflow = await to_thread(library.get, name)
        return None if workflow is None else workflow.to_dict()

    async def describe(name: str) -> dict[str, Any] | None:
        workflow = await to_thread(library.get, name)
        return None if workflow is None else workflow.to_dict() | {"signature": _signature(workflow)}

    async def code(name: str, known: str = "") -> dict[str, Any]:
        workflow = await to_thread(library.require, name)
        if workflow.digest == known:
            return {"digest": known}
        return {"digest": workflow.digest, "source": workflow.source, "path": workflow.path}

    async def create(name: str, source: str, description: str = "") -> dict[str, Any]:
        return (await to_thread(library.create, name, source, description)).summary()

    async def delete(name: str) -> bool:
        return await to_thread(library.delete, name)

    return {
        "workflows.list": list_,
        "workflows.search": search,
        "workflows.get": get,
        "workflows.describe": describe,
        "workflows.code": code,
        "workflows.create": create,
        "workflows.delete": delete,
    }


def _signature(workflow: Workflow) -> str:
    return workflow.name if workflow.broken is not None else workflow.signature()
