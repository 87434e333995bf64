"""One prefix on one Redis: its keys, bounded calls, and errors that say what failed and where."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from py_code_mode.errors import StorageError

from .bases import MALFORMED

T = TypeVar("T")

CONNECT_TIMEOUT = 5.0
"""Seconds to wait for a connection; longer than a lost packet costs."""

ANSWER_TIMEOUT = 10.0
"""Seconds to wait for an answer; no command of ours keeps a server busy for a tenth of it."""

_RETRY_AFTER = (0.05, 0.25)  # seconds before a read is tried again: enough for a restart, or to find the new primary

_FAILURES = (exceptions.RedisError, OSError)
_REFUSED = (exceptions.AuthenticationError, exceptions.AuthorizationError)  # ConnectionErrors for redis-py


class RedisLink:
    """Asks ``client`` about the keys below ``prefix``, which one hash tag keeps in one slot of a cluster.

    ``client`` is a ``redis.Redis`` or ``redis.RedisCluster``; their annotations are those of the asynchronous
    ones as well, hence Any.
    """

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._prefix = b"{%s}:" % prefix.encode()
        self.place = f"{_place(client)}/{prefix}"
        """Where it is, for people: a URL without credentials."""

    def key(self, *parts: str) -> bytes:
        """The key of these parts."""
        return self._prefix + ":".join(parts).encode("utf-8", "surrogateescape")

    def read(self, doing: str, ask: Callable[[Any], T]) -> T:
        """``ask(client)``, which changes nothing, so that it is tried again when the connection breaks.

        Raises StorageError, which begins with "cannot ``doing``".
        """
        for delay in _RETRY_AFTER:
            try:
                return ask(self._client)
            except _REFUSED as error:
                raise self._error(doing, error) from error
            except exceptions.ConnectionError:
                time.sleep(delay)
            except _FAILURES as error:
                raise self._error(doing, error) from error
        return self.write(doing, ask)

    def write(self, doing: str, ask: Callable[[Any], T]) -> T:
        """``ask(client)``, once: what breaks off may have been done. Raises StorageError as ``read`` does."""
        try:
            return ask(self._client)
        except _FAILURES as error:
            raise self._error(doing, error) from error

    def run(self, doing: str, script: str, keys: list[bytes], arguments: list[Any]) -> Any:
        """What the Lua ``script`` returns; all of it happens, or nothing. Raises StorageError as ``write`` does."""
        return self.write(doing, lambda client: client.register_script(script)(keys=keys, args=arguments))

    def _error(self, doing: str, error: Exception) -> StorageError:
        return StorageError(f"cannot {doing} at {self.place}: {_reason(error)}")


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    if isinstance(error, _REFUSED):
        if "NOAUTH" in text or "HELLO must be called" in text or "Authentication required" in text:
            return "Redis wants a password: redis://:PASSWORD@HOST, or redis://USER:PASSWORD@HOST"
        return f"Redis refuses the login: {text}"
    if isinstance(error, exceptions.BusyLoadingError):
        return "Redis is still loading its data; try again soon"
    if isinstance(error, exceptions.ReadOnlyError) or "READONLY " in text:
        return "this Redis is a read-only replica; use the address of its primary"
    if isinstance(error, exceptions.OutOfMemoryError) or "OOM " in text:
        return "Redis is out of memory (maxmemory); delete something, or raise the limit"
    if isinstance(error, exceptions.TimeoutError | TimeoutError):
        return f"Redis gives no answer in time ({text})"
    if isinstance(error, exceptions.ConnectionError | OSError):
        return f"Redis cannot be reached ({text})"
    return text


def _place(client: Any) -> str:
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        return "redis-cluster:"
    service = getattr(pool, "service_name", None)
    if service is not None:
        return f"redis-sentinel:{service}"
    options = pool.connection_kwargs
    if "path" in options:
        return f"unix://{options['path']}?db={options.get('db') or 0}"
    scheme = "rediss" if "SSL" in pool.connection_class.__name__ else "redis"
    return f"{scheme}://{options.get('host', 'localhost')}:{options.get('port', 6379)}/{options.get('db') or 0}"


def connected(url: str | None, client: Any) -> Any:
    """``client`` after a check, or one of our own for ``url``, which connects when it is first used."""
    if client is not None:
        if not isinstance(client, redis.Redis | redis.RedisCluster):
            raise TypeError(f"redis is a redis.Redis or a redis.RedisCluster, not {type(client)!r}; or give a url")
        if client.get_encoder().decode_responses:
            raise ValueError("the client has decode_responses=True; values are bytes here, so give one without it")
        return client
    if not isinstance(url, str):
        raise TypeError(f"url is a str, not {type(url).__name__}")
    try:
        made = redis.Redis.from_url(
            url,
            socket_connect_timeout=CONNECT_TIMEOUT,
            socket_timeout=ANSWER_TIMEOUT,
            retry=Retry(NoBackoff(), 0),  # which would send writes again as well
        )
        made.connection_pool.make_connection()  # which connects to nothing yet, and refuses unknown options
        return made
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        name = unknown[1] if unknown else "one of them"
        raise ValueError(f"the url has an option that no client of Redis has: {name}") from None
    except ValueError:
        raise ValueError(MALFORMED) from None
