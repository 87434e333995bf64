"""The configured dependencies in Redis: the text of a requirements.txt."""

from __future__ import annotations

from collections.abc import Callable

from py_code_mode.deps.requirements import Problem, RequirementsText
from py_code_mode.errors import StorageError

from .redis_link import RedisLink

_ATTEMPTS = 200  # of a change while others change; each time somebody else's has succeeded

_REPLACE = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


class RedisDependencyStore:
    """The DependencyStore in Redis."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._key = link.key("requirements")

    def read(self) -> list[str]:
        """See ``DependencyStore.read``."""
        return RequirementsText(self._text()).requirements()

    def problems(self) -> list[Problem]:
        """See ``DependencyStore.problems``."""
        return RequirementsText(self._text()).problems()

    def add(self, requirement: str) -> None:
        """See ``DependencyStore.add``."""
        self._change(lambda content: content.with_requirement(requirement))

    def remove(self, name: str) -> bool:
        """See ``DependencyStore.remove``."""
        return self._change(lambda content: content.without(name))

    def _change(self, change: Callable[[RequirementsText], RequirementsText]) -> bool:
        for _ in range(_ATTEMPTS):
            old = self._text()
            new = str(change(RequirementsText(old)))
            if new == old:
                return False
            texts = [text.encode("utf-8", "surrogateescape") for text in (old, new)]
            if self._link.run("change the requirements", _REPLACE, [self._key], texts):
                return True
        raise StorageError(f"the requirements at {self._link.place} changed {_ATTEMPTS} times meanwhile; try again")

    def _text(self) -> str:
        found: bytes | None = self._link.read("read the requirements", lambda client: client.get(self._key))
        return (found or b"").decode("utf-8", "surrogateescape")
