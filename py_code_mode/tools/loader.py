"""Tools made of their definitions, which are read again when they change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from py_code_mode.errors import ToolDefinitionError, ToolError
from py_code_mode.kernel.commands import Completed

from .base import ProcessRunner, Tool, ToolInfo
from .cli import CliTool
from .definition import VARIABLE, read_definition
from .directory import ToolDirectory
from .store import ToolSource, file_of_name
from .yamlfile import Entry

# Variables that every program needs and that hold no secret: naming one keeps it in a kernel's environment.
_COMMON = frozenset(["HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "PWD", "SHELL", "TERM", "TMPDIR", "TZ", "USER"])


@dataclass(frozen=True, slots=True)
class _Read:
    """What one definition gave: a tool or an error. ``stamp`` None: to be read again at the next look."""

    stamp: Hashable | None
    secrets: frozenset[str]
    tool: Tool | None = None
    error: ToolDefinitionError | None = None


@dataclass(frozen=True, slots=True)
class _Snapshot:
    read: Mapping[str, _Read] = field(default_factory=dict)
    tools: Mapping[str, Tool] = field(default_factory=dict)
    broken: Mapping[str, ToolDefinitionError] = field(default_factory=dict)


class StoredToolProvider:
    """The tools that ``source`` defines. ``runner`` runs the commands, in the folder ``cwd``.

    New, changed and deleted definitions are seen at the next list or call; an unchanged one keeps its Tool object.
    A ``remote`` source is asked in threads and by ``tools`` only, so that ``broken`` and ``secrets`` tell what that
    has seen last. Safe to use from several tasks. Raises StorageError when the source fails.
    """

    def __init__(
        self, source: ToolSource, runner: ProcessRunner, *, cwd: Path | None = None, remote: bool = False
    ) -> None:
        self._source = source
        self._remote = remote
        self._snapshot = _Snapshot()
        self._kinds: Mapping[str, Callable[[Entry], tuple[Tool, frozenset[str]]]] = {
            "cli": lambda file: _cli(file, runner, cwd)
        }

    async def tools(self) -> Mapping[str, Tool]:
        """The tools by name. Definitions are read in a thread, and only when one has changed."""
        snapshot = self._snapshot  # another task may put an older one in its place meanwhile
        stamps = await asyncio.to_thread(self._changed, snapshot) if self._remote else self._changed(snapshot)
        if stamps is not None:
            snapshot = self._snapshot = await asyncio.to_thread(self._read, snapshot, stamps)
        return snapshot.tools

    def broken(self) -> Mapping[str, ToolDefinitionError]:
        """The definitions that cannot be used, by where they are. Reads changed files."""
        return self._refresh().broken

    def secrets(self) -> frozenset[str]:
        """The ``${NAME}`` of all definitions, broken ones too, save those (``PATH``, ``HOME``) that are no secrets.

        Reads changed files, so that it is right before anything else was called.
        """
        found = (read.secrets for read in self._refresh().read.values())
        return frozenset[str]().union(*found) - _COMMON

    async def close(self) -> None:
        """Forgets what was read."""
        self._snapshot = _Snapshot()

    def _refresh(self) -> _Snapshot:
        stamps = None if self._remote else self._changed(self._snapshot)
        if stamps is not None:
            self._snapshot = self._read(self._snapshot, stamps)
        return self._snapshot

    def _changed(self, snapshot: _Snapshot) -> Mapping[str, Hashable] | None:
        """The stamps of the definitions there now, or None when they are those of the snapshot."""
        stamps = self._source.stamps()
        known = {name: read.stamp for name, read in snapshot.read.items()}
        return None if stamps == known else stamps

    def _read(self, before: _Snapshot, stamps: Mapping[str, Hashable]) -> _Snapshot:
        known = {name: read for name, read in before.read.items() if name in stamps and read.stamp == stamps[name]}
        contents = self._source.read([name for name in stamps if name not in known])
        read: dict[str, _Read] = {}
        for name in sorted(stamps, key=file_of_name):
            if name in known:
                read[name] = known[name]
            elif name in contents:
                read[name] = self._read_one(name, contents[name], stamps[name])
        return self._join(read)

    def _read_one(self, name: str, content: bytes | ToolDefinitionError, stamp: Hashable) -> _Read:
        if isinstance(content, ToolDefinitionError):
            return _Read(None, frozenset(), error=content)
        tool_name = PurePath(file_of_name(name)).stem
        try:
            file = Entry.parse(self._source.where(name), content)
            tool_name = file.peek("name") or tool_name
            tool, secrets = self._kind(file)(file)
        except ToolDefinitionError as error:
            error.tool = tool_name
            names = frozenset(VARIABLE.findall(content.decode("utf-8", "replace")))
            return _Read(stamp, names, error=error)
        return _Read(stamp, secrets, tool=tool)

    def _kind(self, file: Entry) -> Callable[[Entry], tuple[Tool, frozenset[str]]]:
        entry = file.entries().get("type")
        if entry is None or entry.is_null:
            return self._kinds["cli"]
        kind = entry.text()
        if kind not in self._kinds:
            raise entry.error(f"unknown type of tool {kind!r}; supported: {', '.join(sorted(self._kinds))}")
        return self._kinds[kind]

    def _join(self, read: Mapping[str, _Read]) -> _Snapshot:
        tools: dict[str, Tool] = {}
        origin: dict[str, Path | str] = {}
        broken: dict[str, ToolDefinitionError] = {}
        for stored, one in read.items():
            where = self._source.where(stored)
            if one.error is not None:
                broken[str(where)] = one.error
            if one.tool is None:
                continue
            name = one.tool.info.name
            if name in tools:
                problem = f"{where}: the tool name {name!r} is taken by {origin[name]}; rename one of the two"
                broken[str(where)] = ToolDefinitionError(problem, path=str(where), tool=name)
                continue
            tools[name], origin[name] = one.tool, where
        return _Snapshot(read, tools, broken)


class DirectoryToolProvider(StoredToolProvider):
    """The tools of the YAML files in ``directory``: see ``ToolDirectory``."""

    def __init__(self, directory: Path, runner: ProcessRunner, *, cwd: Path | None = None) -> None:
        super().__init__(ToolDirectory(directory), runner, cwd=cwd)


def _cli(file: Entry, runner: ProcessRunner, cwd: Path | None) -> tuple[Tool, frozenset[str]]:
    definition = read_definition(file)
    return CliTool(definition, runner, cwd=cwd), definition.variables


def examine(source: ToolSource) -> dict[str, ToolInfo | ToolDefinitionError]:
    """What each definition of ``source`` makes, or why it cannot be used, by name; blocks."""
    snapshot = StoredToolProvider(source, _NoRunner())._refresh()
    found: dict[str, ToolInfo | ToolDefinitionError] = {}
    for name, read in snapshot.read.items():
        error = snapshot.broken.get(str(source.where(name)))
        if error is not None:
            found[name] = error
        elif read.tool is not None:
            found[name] = read.tool.info
    return found


class _NoRunner:
    """For tools that are looked at and never called."""

    async def run(self, argv: Sequence[str], **options: Any) -> Completed:
        raise ToolError(f"{argv[0]} cannot be run here")
