"""A workspace in Redis, for many machines."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from .bases import DEFAULT_PREFIX, MALFORMED, filled, is_sound, split_prefix, variables

if TYPE_CHECKING:
    from redis import Redis

    from py_code_mode.search.named import EmbedderLike
    from py_code_mode.workflows.library import WorkflowLibrary

    from .redis_artifacts import RedisArtifactStore
    from .redis_deps import RedisDependencyStore
    from .redis_link import RedisLink
    from .redis_tools import RedisToolStore


class RedisStorage:
    """The workspace of the name ``prefix`` in Redis 6.2 or newer; all of its keys begin with "{prefix}:".

    ``url`` is that of a server: ``redis://user:password@host:6379/0``, ``rediss://`` for TLS, or
    ``unix:///path?db=0``; waits are bounded, to other times with ``?socket_timeout=`` and
    ``socket_connect_timeout=`` (seconds). ``?prefix=NAME`` in it gives the prefix as well, and ``${NAME}`` is read from
    the environment. Or ``redis`` is a client (``redis.Redis`` or ``redis.RedisCluster``,
    not the asynchronous ones, and without ``decode_responses``), whose timeouts and retries are its own.

    ``artifact_ttl``: seconds after its last save in which an artifact is kept; None: for ever. ``embedder`` is as
    in FileStorage.

    Many sessions on many machines can use one prefix; each sees at its next call what the others saved. Nothing
    is asked of the server before a store is used. Raises ImportError without the package ``redis``.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        redis: Redis | None = None,
        prefix: str = DEFAULT_PREFIX,
        artifact_ttl: float | None = None,
        embedder: EmbedderLike = None,
    ) -> None:
        self.secrets: frozenset[str] = frozenset()
        """Names of the environment variables that the URL reads; no kernel gets them."""
        if isinstance(url, str):
            url, prefix = self._read(url, prefix)
        _check(prefix, artifact_ttl)
        if (url is None) == (redis is None):
            raise TypeError("RedisStorage takes a url or a client as redis=, one of the two")
        try:
            from .redis_link import RedisLink, connected
        except ModuleNotFoundError as error:
            raise ImportError("RedisStorage needs the package redis: pip install 'py-code-mode[redis]'") from error
        self._prefix = prefix
        self._ttl = artifact_ttl
        self._embedder = embedder
        self._link: RedisLink = RedisLink(connected(url, redis), prefix)

    def __repr__(self) -> str:
        return f"RedisStorage({self.place!r})"

    def _read(self, url: str, prefix: Any) -> tuple[str, Any]:
        """The URL for the client, and the prefix, which may be given in one of two ways."""
        if not is_sound(url):
            raise ValueError(MALFORMED)  # before anything of it is shown
        self.secrets = variables(url)
        bare, named = split_prefix(url)
        if named is not None and prefix not in (DEFAULT_PREFIX, named):
            raise ValueError(f"the url has prefix={named}, and the argument is prefix={prefix!r}: give one of them")
        return filled(bare), prefix if named is None else named

    @property
    def place(self) -> str:
        """Where it is, for people: a URL without credentials, and the prefix."""
        return self._link.place

    @property
    def prefix(self) -> str:
        """The name of the workspace."""
        return self._prefix

    @property
    def identity(self) -> str:
        """ "redis:" and the prefix: a server has other names elsewhere, and the workspace is the same."""
        return f"redis:{self._prefix}"

    def server_facts(self) -> dict[str, Any]:
        """What the server is: ``version``, ``role``, ``policy`` (maxmemory-policy), and whether it ``evicts`` keys.

        Raises StorageError when it cannot be asked.
        """
        found = self._link.read("ask the server what it is", lambda client: client.info())
        version = found.get("valkey_version") or found.get("redis_version")
        name = "Valkey" if "valkey_version" in found else "Redis"
        policy = found.get("maxmemory_policy", "")
        return {
            "version": f"{name} {version}",
            "role": found.get("role", ""),
            "policy": policy,
            "evicts": bool(found.get("maxmemory")) and policy != "noeviction",
        }

    def get_workflow_library(self) -> WorkflowLibrary:
        """The workflows."""
        return self._workflows

    def get_artifact_store(self) -> RedisArtifactStore:
        """The artifacts."""
        return self._artifacts

    def get_dependency_store(self) -> RedisDependencyStore:
        """The requirements."""
        return self._dependencies

    def get_tool_store(self) -> RedisToolStore:
        """The definitions of tools, for sessions that have no directory of them."""
        return self._tools

    # What the stores import is not needed before a kernel is on its way.

    @cached_property
    def _workflows(self) -> WorkflowLibrary:
        from py_code_mode.workflows.library import WorkflowLibrary

        from .redis_vectors import RedisVectors
        from .redis_workflows import RedisWorkflowStore

        store, vectors = RedisWorkflowStore(self._link), RedisVectors(self._link)
        return WorkflowLibrary(store, embedding=self._embedder, vectors=vectors)

    @cached_property
    def _artifacts(self) -> RedisArtifactStore:
        from .redis_artifacts import RedisArtifactStore

        return RedisArtifactStore(self._link, self._ttl)

    @cached_property
    def _dependencies(self) -> RedisDependencyStore:
        from .redis_deps import RedisDependencyStore

        return RedisDependencyStore(self._link)

    @cached_property
    def _tools(self) -> RedisToolStore:
        from .redis_tools import RedisToolStore

        return RedisToolStore(self._link)


def _check(prefix: Any, artifact_ttl: Any) -> None:
    if not isinstance(prefix, str):
        raise TypeError(f"prefix is a str, not {type(prefix).__name__}")
    if not prefix or not prefix.isprintable() or "{" in prefix or "}" in prefix:
        raise ValueError(f"prefix {prefix!r} is refused: it is printable text without braces, and not empty")
    if artifact_ttl is None:
        return
    if isinstance(artifact_ttl, bool) or not isinstance(artifact_ttl, int | float):
        raise TypeError(f"artifact_ttl is a number of seconds, not {type(artifact_ttl).__name__}")
    if not 0.001 <= artifact_ttl <= 3e9:
        raise ValueError(f"artifact_ttl is {artifact_ttl!r}; it is a number of seconds from 0.001 to 3e9, or None")
