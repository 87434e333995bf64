"""What names a workspace where people write it: a directory, or the URL of a Redis with ``?prefix=NAME``.

    redis://user:password@host:6379/0?prefix=team    rediss://... (TLS)    unix:///run/redis.sock?db=0&prefix=team

``${NAME}`` in a URL is read from the environment, so that a password need not stand where others can read it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, unquote_plus, urlsplit, urlunsplit

if TYPE_CHECKING:
    from .file import FileStorage
    from .redis import RedisStorage

DEFAULT_PREFIX = "py-code-mode"

PASSED_ON = "PY_CODE_MODE_URL_PASSWORD_"
"""What variables begin with in which the command line keeps passwords that it was given; no other process has them."""

MALFORMED = (
    "url is not one of a Redis: write redis://user:password@host:6379/0, rediss://... for TLS or "
    "unix:///path?db=0, and in a password percent-encode what is not a letter or a digit"
)
"""What is said of a URL that cannot be read; its text can hold a part of the password."""

_SCHEMES = ("redis", "rediss", "unix")
_FORMS = "redis://HOST:6379/0?prefix=NAME, rediss://... or unix:///PATH?prefix=NAME"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def is_url(base: str | Path) -> bool:
    """Whether ``base`` is the URL of a Redis. Raises ValueError for another URL, and for one that was made a Path."""
    if not isinstance(base, str):
        if isinstance(base, os.PathLike) and os.fspath(base).startswith(tuple(f"{scheme}:/" for scheme in _SCHEMES)):
            raise ValueError(f"the address of a Redis is a str, {_FORMS}; a Path has lost a part of it")
        return False
    scheme, slashes, _ = base.partition("://")
    if not slashes or not _SCHEME.fullmatch(scheme):
        return False
    if scheme not in _SCHEMES:
        raise ValueError(f"{scheme}:// is no address of a workspace: that is a directory, or {_FORMS}")
    return True


def storage_at(base: str | Path) -> FileStorage | RedisStorage:
    """The storage of the workspace ``base``; nothing is read or made before it is used.

    Raises TypeError and ValueError for what cannot be a base, ImportError for a URL without the package ``redis``.
    """
    if is_url(base):
        from .redis import RedisStorage

        return RedisStorage(str(base))
    from .file import FileStorage

    return FileStorage(base)


def shown(base: str | Path) -> str:
    """``base`` for people: a URL without credentials, a directory as it is."""
    if not is_url(base):
        return str(base)
    if not is_sound(str(base)):
        return f"{str(base).partition('://')[0]}://... (malformed)"  # any part of it can be one of the password
    parts = urlsplit(str(base))
    options = [option for option in _options(parts.query) if _key(option) not in ("username", "password")]
    return _joined(parts.scheme, parts.netloc.rpartition("@")[2], parts.path, options)


def is_sound(url: str) -> bool:
    """Whether the parts of ``url`` are what they seem: a '/' or '#' in a password would shift them."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    if parts.scheme == "unix":
        return not parts.fragment and not parts.netloc.rpartition("@")[2]
    return not parts.fragment and re.fullmatch(r"/?\d*", parts.path) is not None


def label(base: str | Path) -> str:
    """A short name of the workspace: the directory, or "redis:" and the prefix."""
    return f"redis:{split_prefix(str(base))[1] or DEFAULT_PREFIX}" if is_url(base) else str(base)


def split_prefix(url: str) -> tuple[str, str | None]:
    """``url`` without its ``prefix=``, and that; None: it has none. Raises ValueError for several."""
    parts = urlsplit(url)
    found = [option for option in _options(parts.query) if _key(option) == "prefix"]
    if not found:
        return url, None
    if len(found) > 1:
        raise ValueError("the url has more than one prefix=")
    rest = [option for option in _options(parts.query) if option not in found]
    return _joined(parts.scheme, parts.netloc, parts.path, rest), unquote_plus(found[0].partition("=")[2])


def with_prefix(url: str, prefix: str | None) -> str:
    """``url`` with that prefix (None: as it is). Raises ValueError where it has another one."""
    if prefix is None:
        return url
    bare, known = split_prefix(url)
    if known not in (None, prefix):
        raise ValueError(f"the url has prefix={known}, and the prefix {prefix} was given beside it")
    parts = urlsplit(bare)
    return _joined(parts.scheme, parts.netloc, parts.path, [*_options(parts.query), f"prefix={quote(prefix)}"])


def variables(url: str) -> frozenset[str]:
    """The ``${NAME}`` of ``url``, which hold secrets."""
    return frozenset(_VARIABLE.findall(url))


def filled(url: str) -> str:
    """``url`` with the values of its ``${NAME}``, percent-encoded. Raises ValueError for one that is not set."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise ValueError(f"the url reads the environment variable {found[1]}, which is not set")
        return quote(os.environ[found[1]], safe="")

    return _VARIABLE.sub(value, url)


def without_secret(base: str, name: str) -> tuple[str, str | None]:
    """``base`` with ``${name}`` in place of a password that is written out, and that; None: there is none."""
    parts = urlsplit(base)
    before, at, host = parts.netloc.rpartition("@")
    user, colon, password = before.partition(":")
    options = _options(parts.query)
    written = [password, *(option.partition("=")[2] for option in options if _key(option) == "password")]
    secrets = [text for text in written if _VARIABLE.sub("", text)]
    if not secrets:
        return base, None
    if password:
        password = f"${{{name}}}"
    else:
        options = [f"password=${{{name}}}" if _key(option) == "password" else option for option in options]
    url = _joined(parts.scheme, f"{user}{colon}{password}{at}{host}", parts.path, options)
    return url, unquote(filled(secrets[0]))


def _options(query: str) -> list[str]:
    return [option for option in query.split("&") if option]


def _key(option: str) -> str:
    return option.partition("=")[0]


def _joined(scheme: str, netloc: str, path: str, options: list[str]) -> str:
    return f"{scheme}://{netloc}{urlunsplit(('', '', path, '&'.join(options), ''))}"
