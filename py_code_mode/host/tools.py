"""What ``tools`` asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from py_code_mode.tools.registry import ToolRegistry

if TYPE_CHECKING:
    from .server import Handlers


def handlers(registry: ToolRegistry) -> Handlers:
    """The methods of ``tools`` over one registry."""

    async def list_() -> list[dict[str, Any]]:
        items = [info.summary() for info in await registry.list()]
        known = {item["name"] for item in items}
        for where, error in registry.broken().items():
            name = error.tool or where
            if name not in known:  # else the tool that has this name works
                items.append({"name": name, "description": "", "tags": [], "broken": error.message})
        return sorted(items, key=lambda item: str(item["name"]))

    async def search(query: str, limit: int = 10) -> list[dict[str, Any]]:
        return [info.summary() | match.to_dict() for info, match in await registry.find(query, limit)]

    async def describe(name: str) -> dict[str, Any]:
        return (await registry.describe(name)).to_dict()

    async def call(tool: str, recipe: str | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return await registry.call(tool, recipe, args, kwargs)

    return {"tools.list": list_, "tools.search": search, "tools.describe": describe, "tools.call": call}
