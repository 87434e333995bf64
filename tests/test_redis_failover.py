"""A primary that dies while its replica takes over, watched by a sentinel: all three are real servers."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, closing

import pytest
import redis
from redis.sentinel import Sentinel

from py_code_mode import InProcessExecutor, RedisStorage, Session
from py_code_mode.artifacts.store import load_value, save_value
from py_code_mode.errors import StorageError

from .redis_servers import RedisServer

SOURCE = "async def run() -> int:\n    return 1\n"


def ports(count):
    """Ports that are free now."""
    with ExitStack() as stack:
        return [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count)]


SENTINEL = """
sentinel monitor team 127.0.0.1 {} 1
sentinel down-after-milliseconds team 60000
sentinel failover-timeout team 2000
"""


class Pair:
    """A primary, its replica, and the sentinel that makes the replica the primary when that is gone."""

    def __init__(self, stack: ExitStack) -> None:
        self._port, other, watcher = ports(3)
        local = ("--bind", "127.0.0.1", "--port")
        self.primary = stack.enter_context(
            closing(RedisServer("--repl-diskless-sync-delay", "0", *local, str(self._port)))
        )
        following = ("--replicaof", "127.0.0.1", str(self._port))
        replica = stack.enter_context(closing(RedisServer(*local, str(other), *following)))
        self._replica = stack.enter_context(redis.Redis.from_url(replica.url))
        until(lambda: self._replica.info("replication")["master_link_status"] == "up")
        config = SENTINEL.format(self._port)
        stack.enter_context(closing(RedisServer(*local, str(watcher), sentinel=config)))
        self.sentinel = Sentinel([("127.0.0.1", watcher)], socket_timeout=2)
        stack.enter_context(self.sentinel.sentinels[0])
        until(lambda: len(self.sentinel.discover_slaves("team")) == 1)

    def copied(self):
        """Wait until the replica has what was written."""
        with redis.Redis.from_url(self.primary.url) as client:
            until(
                lambda: (
                    client.info("replication")["master_repl_offset"]
                    == self._replica.info("replication")["slave_repl_offset"]
                )
            )

    def take_over(self):
        """Let the sentinel see that the primary is gone, and wait until it names the replica."""
        self.sentinel.sentinels[0].sentinel_set("team", "down-after-milliseconds", 100)
        until(lambda: self._named() != self._port)

    def _named(self):
        try:
            return self.sentinel.discover_master("team")[1]
        except redis.RedisError:
            return self._port  # in between there is none


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.01)


@pytest.fixture
def pair():
    with ExitStack() as stack:
        yield Pair(stack)


async def test_a_session_works_again_at_its_next_call_when_the_replica_has_taken_over(pair):
    client = pair.sentinel.master_for("team", socket_timeout=2, socket_connect_timeout=2)
    with closing(client):
        async with Session(RedisStorage(redis=client, prefix="p"), InProcessExecutor()) as session:
            await session.run("kept = [1]\nartifacts.save('a', 'before')")
            await session.add_workflow("one", SOURCE, "One")
            pair.copied()
            pair.primary.kill()
            began = time.monotonic()
            failed = await session.run("artifacts.save('a', 'lost')")
            assert "StorageError: cannot save the artifact 'a' at redis-sentinel:team/p" in str(failed.error)
            with pytest.raises(StorageError, match="redis-sentinel:team/p"):
                await session.list_workflows()
            assert time.monotonic() - began < 10
            pair.take_over()
            again = await session.run(
                "old = artifacts.load('a')\nartifacts.save('a', kept)\n(old, workflows.one(), kept)"
            )
            assert (again.error, again.value) == (None, ("before", 1, [1]))
            assert await session.load_artifact("a") == [1]


def test_what_was_read_and_written_goes_on_over_a_failover_through_the_same_storage(pair):
    with closing(pair.sentinel.master_for("team", socket_timeout=2)) as client:
        storage = RedisStorage(redis=client, prefix="p")
        save_value(storage.get_artifact_store(), "large", b"x" * (5 << 20))
        storage.get_dependency_store().add("pandas")
        pair.copied()
        _, source = storage.get_artifact_store().open("large")
        begin = source.read(1000)
        pair.primary.kill()
        pair.take_over()
        # The very next calls, on connections to a server that is gone.
        assert begin + source.read(6 << 20) == b"x" * (5 << 20)
        storage.get_dependency_store().add("rich")
        assert storage.get_dependency_store().read() == ["pandas", "rich"]
        save_value(storage.get_artifact_store(), "large", b"y" * (3 << 20))
        assert load_value(storage.get_artifact_store(), "large") == b"y" * (3 << 20)
