"""Tools from a directory: one YAML file each, read again when it changes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from py_code_mode.errors import StorageError, ToolDefinitionError

from .base import ProcessRunner, Tool
from .cli import CliTool
from .definition import VARIABLE, read_definition
from .yamlfile import Entry

_SUFFIXES = (".yaml", ".yml")

# A file that was written less than this before it was read may be written once more without a change of
# its stamp: file systems tick in steps of some milliseconds.
_SETTLED_NS = 100_000_000

# Variables that every program needs and that hold no secret: naming one keeps it in a kernel's environment.
_COMMON = frozenset(["HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "PWD", "SHELL", "TERM", "TMPDIR", "TZ", "USER"])

_Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _File:
    """What one file gave: a tool or an error. ``stamp`` None: to be read again at the next look."""

    stamp: _Stamp | None
    secrets: frozenset[str]
    tool: Tool | None = None
    error: ToolDefinitionError | None = None


@dataclass(frozen=True, slots=True)
class _Snapshot:
    files: Mapping[str, _File] = field(default_factory=dict)
    tools: Mapping[str, Tool] = field(default_factory=dict)
    broken: Mapping[str, ToolDefinitionError] = field(default_factory=dict)


class DirectoryToolProvider:
    """The tools of ``directory`` (``*.yaml`` and ``*.yml``; names that begin with a dot are left out).

    A directory that is not there has no tools, and may appear later; one that cannot be read is a
    StorageError. ``runner`` runs the commands, in the folder ``cwd``. New, changed and deleted files are seen
    at the next list or call; an unchanged file keeps its Tool object. Safe to use from several tasks.
    """

    def __init__(self, directory: Path, runner: ProcessRunner, *, cwd: Path | None = None) -> None:
        self.directory = directory
        self._snapshot = _Snapshot()
        self._kinds: Mapping[str, Callable[[Entry], tuple[Tool, frozenset[str]]]] = {
            "cli": lambda file: _cli(file, runner, cwd)
        }

    async def tools(self) -> Mapping[str, Tool]:
        """The tools by name. Files are read in a thread, and only when one has changed."""
        stamps = self._changed()
        if stamps is not None:
            self._snapshot = await asyncio.to_thread(self._read, self._snapshot, stamps)
        return self._snapshot.tools

    def broken(self) -> Mapping[str, ToolDefinitionError]:
        """The files that cannot be used, by path. Reads changed files."""
        return self._refresh().broken

    def secrets(self) -> frozenset[str]:
        """The ``${NAME}`` of all files, broken ones too, save those (``PATH``, ``HOME``) that are no secrets.

        Reads changed files, so that it is right before anything else was called.
        """
        found = (file.secrets for file in self._refresh().files.values())
        return frozenset[str]().union(*found) - _COMMON

    async def close(self) -> None:
        """Forgets what was read."""
        self._snapshot = _Snapshot()

    def _refresh(self) -> _Snapshot:
        stamps = self._changed()
        if stamps is not None:
            self._snapshot = self._read(self._snapshot, stamps)
        return self._snapshot

    def _changed(self) -> dict[str, _Stamp] | None:
        """The stamps of the files there now, or None when they are those of the snapshot."""
        stamps = self._stamps()
        known = {name: file.stamp for name, file in self._snapshot.files.items()}
        return None if stamps == known else stamps

    def _stamps(self) -> dict[str, _Stamp]:
        stamps: dict[str, _Stamp] = {}
        try:
            with os.scandir(self.directory) as entries:
                for entry in entries:
                    if not entry.name.endswith(_SUFFIXES) or entry.name.startswith("."):
                        continue
                    try:
                        if entry.is_file():
                            stat = entry.stat()
                            stamps[entry.name] = (
                                stat.st_mtime_ns,
                                stat.st_ctime_ns,
                                stat.st_size,
                                stat.st_ino,
                            )
                    except OSError:
                        continue  # deleted between the two looks
        except FileNotFoundError:
            pass
        except OSError as error:
            problem = f"the tools in {self.directory} cannot be read: {error.strerror or error}"
            raise StorageError(problem) from error
        return stamps

    def _read(self, before: _Snapshot, stamps: Mapping[str, _Stamp]) -> _Snapshot:
        files: dict[str, _File] = {}
        for name in sorted(stamps):
            known = before.files.get(name)
            if known is not None and known.stamp == stamps[name]:
                files[name] = known
            else:
                files[name] = self._read_file(self.directory / name, stamps[name])
        return self._join(files)

    def _read_file(self, path: Path, stamp: _Stamp) -> _File:
        settled = stamp if time.time_ns() - max(stamp[:2]) > _SETTLED_NS else None
        try:
            content = path.read_bytes()
        except OSError as error:
            problem = f"{path}: cannot be read: {error.strerror or error}"
            return _File(None, frozenset(), error=ToolDefinitionError(problem, path=str(path), tool=path.stem))
        name = path.stem
        try:
            file = Entry.parse(path, content)
            name = file.peek("name") or name
            tool, secrets = self._kind(file)(file)
        except ToolDefinitionError as error:
            error.tool = name
            names = frozenset(VARIABLE.findall(content.decode("utf-8", "replace")))
            return _File(settled, names, error=error)
        return _File(settled, secrets, tool=tool)

    def _kind(self, file: Entry) -> Callable[[Entry], tuple[Tool, frozenset[str]]]:
        entry = file.entries().get("type")
        if entry is None or entry.is_null:
            return self._kinds["cli"]
        kind = entry.text()
        if kind not in self._kinds:
            raise entry.error(f"unknown type of tool {kind!r}; supported: {', '.join(sorted(self._kinds))}")
        return self._kinds[kind]

    def _join(self, files: Mapping[str, _File]) -> _Snapshot:
        tools: dict[str, Tool] = {}
        origin: dict[str, Path] = {}
        broken: dict[str, ToolDefinitionError] = {}
        for file_name, file in files.items():
            path = self.directory / file_name
            if file.error is not None:
                broken[str(path)] = file.error
            if file.tool is None:
                continue
            name = file.tool.info.name
            if name in tools:
                problem = f"{path}: the tool name {name!r} is taken by {origin[name]}; rename one of the two"
                broken[str(path)] = ToolDefinitionError(problem, path=str(path), tool=name)
                continue
            tools[name], origin[name] = file.tool, path
        return _Snapshot(files, tools, broken)


def _cli(file: Entry, runner: ProcessRunner, cwd: Path | None) -> tuple[Tool, frozenset[str]]:
    definition = read_definition(file)
    return CliTool(definition, runner, cwd=cwd), definition.variables
