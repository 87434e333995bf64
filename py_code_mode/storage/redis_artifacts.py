"""Artifacts in Redis: a record for each, which names the generation of its chunks, and an index.

A record is a hash: ``created``, ``generation``, ``chunks`` (how many) and ``about``, the rest as JSON. A record
can expire; the index then still has its name, until somebody lists it. The set of names, all with one score,
tells what lies below a folder.
"""

from __future__ import annotations

import builtins
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any

from kernel_bootstrap.wire import Buffer, Source
from py_code_mode.artifacts.artifact import Artifact, check_format, check_name, check_notes, utc_now
from py_code_mode.artifacts.store import ArtifactStore, not_found
from py_code_mode.errors import ArtifactNameError, StorageError

from .redis_index import RedisIndex, encoded
from .redis_link import RedisLink
from .redis_scripts import DELETE, FORGET, PUBLISH
from .redis_values import ORPHANED, RETIRED, RedisArtifactWriter, RedisSource, chunk_key

_BATCH = 200  # records that are fetched at once

_FIELDS = ("created", "generation", "chunks", "about")


class RedisArtifactStore(ArtifactStore):
    """The ArtifactStore in Redis. With a ``ttl`` (seconds) an artifact is gone so long after its last save."""

    def __init__(self, link: RedisLink, ttl: float | None = None) -> None:
        self._link = link
        self._ttl = ttl or 0
        self._index = RedisIndex(link, "artifacts")
        self._names = link.key("index", "artifacts", "names")
        self._listed: dict[str, tuple[bytes, Artifact | None, float]] = {}

    def create(
        self,
        name: str,
        format: str,  # noqa: A002
        details: dict[str, Any],
        description: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> RedisArtifactWriter:
        """See ``ArtifactStore.create``. Its chunks lie in Redis, where nobody looks, until it is committed."""
        parts = check_name(name)
        about = {
            "format": format,
            "details": check_format(name, format, details),
            "description": description,
            "metadata": check_notes(name, description, metadata),
        }
        doing = f"save the artifact {name!r}"

        def publish(generation: str, chunks: int, tail: bytes, size: int) -> Artifact:
            now = utc_now()
            record = json.dumps({**about, "size": size, "updated_at": now}).encode()
            folders = [encoded("/".join(parts[:depth])) for depth in range(1, len(parts))]
            said, text = self._link.run(
                doing,
                PUBLISH,
                [
                    *self._keys(name),
                    self._record(""),
                    chunk_key(self._link, generation, ""),
                    self._link.key("chunk", ""),
                ],
                [encoded(name), generation, chunks, tail, now, record, self._ttl, RETIRED, *folders],
            )
            if said != b"saved":
                raise self._refusal(name, bytes(said), text.decode("utf-8", "surrogateescape"))
            return self._artifact(name, text, record)

        return RedisArtifactWriter(self._link, doing, publish)

    def open(self, name: str) -> tuple[Artifact, Source]:
        """See ``ArtifactStore.open``."""
        return self._opened(name)

    def read(self, name: str) -> tuple[Artifact, Buffer]:
        """See ``ArtifactStore.read``."""
        artifact, source = self._opened(name)
        return artifact, source.read_buffer(artifact.size)

    def get(self, name: str) -> Artifact | None:
        """See ``ArtifactStore.get``."""
        check_name(name)
        created, _, _, about = self._fetch(name)
        return None if created is None else self._artifact(name, created, about)

    def list(self) -> builtins.list[Artifact]:
        """See ``ArtifactStore.list``. Only what changed is read again."""
        stamps = self._index.stamps()
        known = self._listed
        changed = [name for name in stamps if name not in known or known[name][0] != stamps[name]]
        if changed or len(known) != len(stamps):
            known = {name: known[name] for name in stamps if name in known} | self._described(changed, stamps)
            self._listed = known
        now = time.monotonic()
        found = {name: artifact for name, (_, artifact, until) in known.items() if artifact is not None and now < until}
        if len(found) < len(known):
            self._forget([name for name in known if name not in found])
        return [found[name] for name in sorted(found)]

    def delete(self, name: str) -> bool:
        """See ``ArtifactStore.delete``."""
        check_name(name)
        keys = [*self._keys(name), self._link.key("chunk", "")]
        return bool(self._link.run(f"delete the artifact {name!r}", DELETE, keys, [encoded(name), RETIRED]))

    def _opened(self, name: str) -> tuple[Artifact, RedisSource]:
        check_name(name)
        created, generation, _, about = self._fetch(name)
        if created is None:
            raise not_found(name, self._index.stamps())
        artifact = self._artifact(name, created, about)
        return artifact, RedisSource(self._link, name, generation.decode(), artifact.size)

    def _fetch(self, name: str) -> builtins.list[Any]:
        found: builtins.list[Any] = self._link.read(
            f"read the artifact {name!r}", lambda client: client.hmget(self._record(name), _FIELDS)
        )
        return found

    def _described(
        self, names: builtins.list[str], stamps: Mapping[str, bytes]
    ) -> dict[str, tuple[bytes, Artifact | None, float]]:
        """What is listed of ``names``: stamp, artifact (None: it expired), until when on the monotonic clock."""
        described: dict[str, tuple[bytes, Artifact | None, float]] = {}
        for start in range(0, len(names), _BATCH):
            batch = names[start : start + _BATCH]
            asked = time.monotonic()
            answers = self._link.read("list the artifacts", partial(self._ask, batch))
            for name, fields, left in zip(batch, answers[::2], answers[1::2], strict=True):
                artifact = None if fields[0] is None else self._artifact(name, fields[0], fields[3])
                described[name] = (stamps[name], artifact, asked + left / 1000 if left >= 0 else inf)
        return described

    def _ask(self, names: builtins.list[str], client: Any) -> builtins.list[Any]:
        with client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hmget(self._record(name), _FIELDS)
                pipe.pttl(self._record(name))
            answers: builtins.list[Any] = pipe.execute()
        return answers

    def _forget(self, names: builtins.list[str]) -> None:
        with suppress(StorageError):  # a replica has them for longer
            keys = [self._names, self._index.stamps_key, self._record(""), self._index.version_key]
            self._link.run("list the artifacts", FORGET, keys, [encoded(name) for name in names])

    def _keys(self, name: str) -> builtins.list[bytes]:
        return [self._record(name), self._names, self._index.stamps_key, self._index.version_key]

    def _record(self, name: str) -> bytes:
        return self._link.key("artifacts", name)

    def _artifact(self, name: str, created: bytes, about: bytes) -> Artifact:
        path = f"{self._link.place}/artifacts/{name}"
        return Artifact(name=name, path=path, created_at=created.decode(), **json.loads(about))

    def _refusal(self, name: str, said: bytes, other: str) -> ArtifactNameError | StorageError:
        if said == b"below":
            reason = f"{name!r} cannot be used: {other!r} is an artifact, so it cannot be a folder"
            return ArtifactNameError(reason, artifact=name)
        if said == b"folder":
            return ArtifactNameError(f"{name!r} is a folder that holds other artifacts", artifact=name)
        return StorageError(
            f"cannot save the artifact {name!r} at {self._link.place}: what was written of it is gone; it took longer "
            f"than {ORPHANED} s, or Redis evicts keys (maxmemory-policy)"
        )
