"""The workflows of a workspace: listed, searched, created, deleted, over any store."""

from __future__ import annotations

import builtins
import hashlib
import threading
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from py_code_mode.artifacts.artifact import utc_now
from py_code_mode.errors import StorageError, WorkflowInvalidError, WorkflowNotFoundError
from py_code_mode.ranking import Document, Match, Ranker
from py_code_mode.search.named import EmbedderLike, embedder
from py_code_mode.search.ranker import MeaningRanker
from py_code_mode.tools.hints import nearest

from .analysis import with_tags
from .history import DELETED, SAVED, Entry, Use, Version, diff
from .store import WorkflowStore
from .workflow import MAX_SOURCE_BYTES, Workflow, describe, parse, workflow_path

if TYPE_CHECKING:
    from py_code_mode.search.vectors import VectorStore


class WorkflowLibrary:
    """The workflows of one workspace. What changes in the store is seen at the next call.

    Thread-safe, and blocking: call it off the event loop. Sources are parsed, never run. ``embedding`` is what
    the search is to embed with, see ``search.named.embedder``; ``embedder`` is what came of it, and searches the
    tools of the workspace as well. ``vectors`` keeps what was embedded, None: a file of this machine.
    """

    def __init__(
        self,
        store: WorkflowStore,
        ranker: Ranker | None = None,
        *,
        embedding: EmbedderLike = None,
        vectors: VectorStore | None = None,
    ) -> None:
        self._store = store
        self.embedder = embedder(embedding)
        self.vectors = vectors
        self._ranker: Ranker = ranker or MeaningRanker(self.embedder, vectors)
        self._lock = threading.Lock()
        self._parsed: dict[str, tuple[Hashable, Workflow]] = {}
        self._listed = _Listing({}, ())

    def list(self) -> builtins.list[Workflow]:
        """All workflows by name, broken ones included (``Workflow.broken`` says why)."""
        return [*self._listing().workflows]

    def get(self, name: str) -> Workflow | None:
        """The workflow of that name, broken or not; None: there is no such."""
        stamp = self._store.stamp(name)
        return None if stamp is None else self._load(name, stamp)

    def require(self, name: str) -> Workflow:
        """The workflow of that name, to be invoked.

        Raises WorkflowNotFoundError, which names the nearest ones, and WorkflowInvalidError for a broken one.
        """
        workflow = self.get(name)
        if workflow is None:
            raise self._not_found(name)
        if workflow.broken is not None:
            raise WorkflowInvalidError(f"workflow {name!r} is broken: {workflow.broken}", workflow=name)
        return workflow

    @property
    def is_near(self) -> bool:
        """Whether the store of the library answers about one workflow at once: see ``WorkflowStore.is_near``."""
        return self._store.is_near

    def is_unchanged(self, name: str, digest: str) -> bool:
        """Whether the workflow has this digest still, as far as that can be told without reading its source."""
        with self._lock:
            known = self._parsed.get(name)
        if known is None or known[1].digest != digest:
            return False
        return self._store.stamp(name) == known[0]

    def create(
        self, name: str, source: str, description: str = "", *, tags: Sequence[str] | None = None, author: str = ""
    ) -> Workflow:
        """Store a workflow; one of that name is replaced, and stays in the history. ``author`` says who does it.

        ``description`` becomes the module docstring of the source; an empty one keeps the docstring that the
        source has. ``tags`` become those in the PEP 723 block of the source (``[tool.py-code-mode] tags``); None keeps
        those that it has. Raises WorkflowInvalidError (reason, line, what was expected) and stores nothing then.
        """
        workflow = self.check(name, source, description, tags)
        self._write(workflow, author)
        return workflow

    def check(
        self, name: str, source: str, description: str | None = "", tags: Sequence[str] | None = None
    ) -> Workflow:
        """What ``create`` would store. Raises as it does; a ``description`` of None need not be anywhere."""
        source = source.removeprefix("\ufeff") if isinstance(source, str) else source
        workflow = parse(name, source)
        if tags is not None:
            try:
                workflow = parse(name, with_tags(source, tags))
            except ValueError as error:
                if isinstance(error, WorkflowInvalidError):
                    raise
                raise WorkflowInvalidError(f"{workflow_path(name)}: {error}", workflow=name) from None
        if description is None:
            return workflow
        if not isinstance(description, str):
            raise WorkflowInvalidError(
                f"the description of a workflow is a string, not {type(description).__name__}", workflow=name
            )
        if description.strip():
            workflow = parse(name, describe(name, workflow.source, description.strip()))
        elif not workflow.description:
            raise WorkflowInvalidError(
                f"workflow {name!r} has no description: give one, or begin its source with a docstring",
                workflow=name,
            )
        return workflow

    def delete(self, name: str, *, author: str = "") -> bool:
        """Delete a workflow, broken ones too; False: there is no such. Its history stays."""
        with self._lock:
            self._parsed.pop(name, None)
        return self._store.delete(name, Entry("", utc_now(), author, DELETED))

    def history(self, name: str) -> builtins.list[Version]:
        """Every version of a workflow, the oldest first, those from before it was deleted too.

        Raises WorkflowNotFoundError when there never was one.
        """
        versions = self._store.history.versions(name) if isinstance(name, str) else []
        if not versions:
            self.require(name)  # a broken one that has no versions, such as a folder, says so
        return versions

    def version(self, name: str, number: int | None = None) -> tuple[Workflow, Version]:
        """Version ``number`` of a workflow, by default the newest one that is not a deletion. It may be broken.

        Raises WorkflowNotFoundError, which names the versions that there are.
        """
        return self._pick(name, self.history(name), number)

    def _pick(self, name: str, versions: builtins.list[Version], number: int | None) -> tuple[Workflow, Version]:
        kept = [version for version in versions if not version.deleted]
        found = [version for version in kept if number in (None, version.number)]
        if not found or isinstance(number, bool):
            told = f"it has {_spans([version.number for version in kept])}"
            raise WorkflowNotFoundError(f"workflow {name!r} has no version {number!r}: {told}", workflow=name)
        version = found[-1]
        source = self._store.history.source(name, version.entry.digest)
        if source is None or hashlib.sha256(source).hexdigest() != version.entry.digest:
            what = "gone from its storage" if source is None else "not what was saved: its storage was changed"
            raise StorageError(f"the source of version {version.number} of workflow {name!r} is {what}")
        return _parse_or_broken(name, source, None), version

    def describe(self, name: str, number: int | None = None) -> dict[str, Any] | None:
        """All that is known of a workflow, or of its version ``number``; None: there is no such workflow.

        ``Workflow.to_dict()`` with ``signature``, ``version``, ``created`` (its first version), ``updated`` (this one)
        and ``author`` (of this one); these four are None for a broken one that has no versions, such as a folder.
        """
        if number is not None:
            versions = self.history(name)
            workflow, version = self._pick(name, versions, number)
            versions = [each for each in versions if each.number <= version.number]
        else:
            current = self.get(name)
            if current is None:
                return None
            workflow, versions = current, self._store.history.versions(name)
        begins = next((index for index in range(len(versions), 0, -1) if versions[index - 1].deleted), 0)
        alive = versions[begins:]
        about: dict[str, Any] = dict.fromkeys(("version", "created", "updated", "author"))
        if alive:
            newest = alive[-1]
            about = {
                "version": newest.number,
                "created": alive[0].entry.created,
                "updated": newest.entry.created,
                "author": newest.entry.author,
            }
        return workflow.to_dict() | {"signature": workflow.call()} | about

    def diff(self, name: str, old: int | None = None, new: int | None = None) -> str:
        """The unified diff from version ``old`` to ``new`` of a workflow, "" where they are the same.

        By default from the version before ``new``, and to the newest one.
        """
        versions = self.history(name)
        workflow, version = self._pick(name, versions, new)
        title = f"version {version.number}"
        if old is None:
            old = max((each.number for each in versions[: version.number - 1] if not each.deleted), default=None)
        if old is None:
            return diff(name, ("nothing", ""), (title, workflow.source))
        earlier, _ = self._pick(name, versions, old)
        return diff(name, (f"version {old}", earlier.source), (title, workflow.source))

    def rollback(self, name: str, number: int, *, author: str = "") -> Workflow:
        """Make version ``number`` of a workflow the newest one again, also of one that was deleted.

        Raises WorkflowNotFoundError, and WorkflowInvalidError where that version is broken.
        """
        if number is None:
            raise TypeError("rollback takes the number of a version")
        workflow, _ = self.version(name, number)
        if workflow.broken is not None:
            raise WorkflowInvalidError(
                f"version {number} of workflow {name!r} is broken: {workflow.broken}", workflow=name
            )
        self._write(workflow, author, f"rolled back to {number}")
        return workflow

    def _write(self, workflow: Workflow, author: str, change: str = SAVED) -> None:
        entry = Entry(workflow.digest, utc_now(), author, change)
        self._store.write(workflow.name, workflow.source.encode(), entry)

    def count(self, uses: Mapping[str, Use]) -> None:
        """Count calls of workflows in."""
        self._store.uses.add(uses)

    def uses(self) -> Mapping[str, Use]:
        """How often each workflow was called, those that are gone included."""
        return self._store.uses.read()

    def stats(self, name: str | None = None) -> builtins.list[dict[str, Any]]:
        """``name``, ``calls``, ``failures`` and ``last_used`` of every workflow, or of one; often called ones first.

        Raises WorkflowNotFoundError.
        """
        if name is not None and self._store.stamp(name) is None:
            raise self._not_found(name)
        names = sorted(self._store.stamps()) if name is None else [name]
        uses = self.uses()
        found = [{"name": each} | uses.get(each, Use()).to_dict() for each in names]
        return sorted(found, key=lambda row: -row["calls"])

    def search(self, query: str, limit: int = 5) -> builtins.list[Workflow]:
        """At most ``limit`` workflows that can be invoked, the best match first; all for an empty query.

        Name, description and parameters count most, the source a little.
        """
        return [workflow for workflow, _ in self.find(query, limit)]

    def find(self, query: str, limit: int = 5) -> builtins.list[tuple[Workflow, Match]]:
        """What ``search`` gives, with the score and the words of the query that each holds."""
        listing = self._listing()
        matches = self._ranker.rank(query, listing.documents, limit)
        return [(listing.usable[match.index], match) for match in matches]

    def stubs(self) -> str:
        """The types of all workflows, as the text of a ``.pyi`` file."""
        from .stubs import stubs

        return stubs(self.list())

    def _not_found(self, name: object) -> WorkflowNotFoundError:
        hint = nearest(str(name), sorted(self._store.stamps()))
        return WorkflowNotFoundError(f"no workflow {name!r}{hint}", workflow=name)

    def _listing(self) -> _Listing:
        stamps = self._store.stamps()
        with self._lock:
            if self._listed.stamps is stamps or self._listed.stamps == stamps:
                return self._listed
            known = self._parsed.copy()
        found: builtins.list[Workflow | None] = []
        for name in sorted(stamps):
            stamp, workflow = known.get(name, (None, None))
            found.append(workflow if stamp == stamps[name] else self._load(name, stamps[name]))
        listing = _Listing(stamps, tuple(workflow for workflow in found if workflow is not None))
        with self._lock:
            for name in self._parsed.keys() - stamps.keys():
                self._parsed.pop(name, None)
            if None not in found:
                self._listed = listing
        return listing

    def _load(self, name: str, stamp: Hashable) -> Workflow | None:
        with self._lock:
            known = self._parsed.get(name)
        if known is not None and known[0] == stamp:
            return known[1]
        # The stamp was taken before the source is read: a source that changes in between is read again.
        try:
            data = self._store.read(name)
            if data is None:
                return None
            workflow = _parse_or_broken(name, data, known[1] if known else None)
        except (WorkflowInvalidError, StorageError) as error:
            workflow = Workflow(name, path=workflow_path(name), broken=error.message)
        with self._lock:
            self._parsed[name] = (stamp, workflow)
        return workflow


class _Listing:
    """All workflows as they were when the store had these stamps, and what a search looks at."""

    def __init__(self, stamps: Mapping[str, Hashable], workflows: tuple[Workflow, ...]) -> None:
        self.stamps = stamps
        self.workflows = workflows

    @cached_property
    def usable(self) -> builtins.list[Workflow]:
        """Those that are not broken."""
        return [workflow for workflow in self.workflows if workflow.broken is None]

    @cached_property
    def documents(self) -> tuple[Document, ...]:
        """One for each of ``usable``: the same tuple at each search, by which the ranker knows it again."""
        return tuple(_document(workflow) for workflow in self.usable)


def _parse_or_broken(name: str, data: bytes, known: Workflow | None) -> Workflow:
    if len(data) > MAX_SOURCE_BYTES:
        reason = f"it has {len(data):,} bytes, more than {MAX_SOURCE_BYTES:,}"
        return Workflow(name, path=workflow_path(name), broken=f"{workflow_path(name)}: {reason}")
    try:
        source = data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Workflow(name, path=workflow_path(name), broken=f"{workflow_path(name)}:{line}: it is not UTF-8")
    if known is not None and known.source == source and source:
        return known
    try:
        return parse(name, source)
    except WorkflowInvalidError as error:
        return Workflow(name, path=workflow_path(name), source=source, broken=error.message)


def _spans(numbers: builtins.list[int]) -> str:
    """ "versions 1 to 3, 5"."""
    parts: builtins.list[str] = []
    for number in numbers:
        if parts and number - 1 == int(parts[-1].split()[-1]):
            parts[-1] = f"{parts[-1].split()[0]} to {number}"
        else:
            parts.append(str(number))
    return f"version{'s' * (len(numbers) > 1)} {', '.join(parts)}"


def _document(workflow: Workflow) -> Document:
    words = [f"{parameter.name} {parameter.doc}" for parameter in workflow.parameters]
    described = [workflow.description, *workflow.requires.tags, *words]
    return Document(workflow.name, " ".join(described), workflow.source)
