"""All tools of a session, whatever they come from."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Mapping, Sequence
from typing import Any

from py_code_mode.errors import ToolDefinitionError, ToolNotFoundError
from py_code_mode.ranking import Document, Match, Ranker
from py_code_mode.search.ranker import MeaningRanker

from .base import Tool, ToolInfo, ToolProvider
from .hints import nearest


class ToolRegistry:
    """The tools of ``providers``; of two tools with one name the earlier provider's is the one.

    Every tool call of the host passes ``call``. ``ranker`` does the search, by default a MeaningRanker of
    the registry's own.
    """

    def __init__(self, providers: Sequence[ToolProvider], *, ranker: Ranker | None = None) -> None:
        self._providers = tuple(providers)
        self._ranker: Ranker = ranker or MeaningRanker()

    async def list(self) -> builtins.list[ToolInfo]:
        """All tools, by name."""
        tools = await self._tools()
        return [tools[name].info for name in sorted(tools)]

    async def search(self, query: str, limit: int = 10) -> builtins.list[ToolInfo]:
        """At most ``limit`` tools that fit ``query``, the best first; all of them for an empty query."""
        return [info for info, _ in await self.find(query, limit)]

    async def find(self, query: str, limit: int = 10) -> builtins.list[tuple[ToolInfo, Match]]:
        """What ``search`` gives, with the score and the words of the query that each holds."""
        tools = await self.list()
        documents = tuple(_document(info) for info in tools)
        matches = await asyncio.to_thread(self._ranker.rank, query, documents, limit)
        return [(tools[match.index], match) for match in matches]

    async def describe(self, name: str) -> ToolInfo:
        """The tool ``name``. Raises ToolNotFoundError, which names the nearest ones."""
        return (await self._tool(name)).info

    async def call(self, name: str, recipe: str | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The result of calling the recipe of a tool, or with None the tool itself.

        Raises:
            ToolNotFoundError: no such tool or recipe; the message names the nearest ones.
            ToolError: see ``Tool.call``.
        """
        return await (await self._tool(name)).call(recipe, args, kwargs)

    def broken(self) -> dict[str, ToolDefinitionError]:
        """Definitions that cannot be used, by where they are."""
        return {where: error for provider in self._providers for where, error in provider.broken().items()}

    def secrets(self) -> frozenset[str]:
        """Names of the host's environment variables that no kernel may get."""
        return frozenset[str]().union(*(provider.secrets() for provider in self._providers))

    async def close(self) -> None:
        """Closes every provider; the first error is raised after the last one was tried."""
        failed: Exception | None = None
        for provider in self._providers:
            try:
                await provider.close()
            except Exception as error:  # noqa: BLE001  one provider's trouble must not leave the others open
                failed = failed or error
        if failed is not None:
            raise failed

    async def _tools(self) -> dict[str, Tool]:
        tools: dict[str, Tool] = {}
        for provider in self._providers:
            tools = {**await provider.tools(), **tools}
        return tools

    async def _tool(self, name: str) -> Tool:
        tools = await self._tools()
        if name in tools:
            return tools[name]
        for error in self.broken().values():
            if error.tool == name:
                raise ToolNotFoundError(f"tools.{name} has a broken definition: {error.message}", tool=name)
        hint = nearest(name, sorted(tools)) or "; there are no tools"
        raise ToolNotFoundError(f"no tool {name!r}{hint}", tool=name)


def _document(info: ToolInfo) -> Document:
    extra = " ".join(
        word
        for candidate in info.callables
        for word in (
            candidate.name,
            candidate.description,
            *(f"{parameter.name} {parameter.description}" for parameter in candidate.parameters),
        )
    )
    return Document(info.name, " ".join((info.description, *info.tags)), extra)
