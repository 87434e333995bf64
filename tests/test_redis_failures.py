"""Redis that is gone, slow, full, read-only or locked: bounded waits, errors that say so, and work that goes on."""

from __future__ import annotations

import socket
import time
from contextlib import closing

import pytest
import redis

from py_code_mode import RedisStorage
from py_code_mode.artifacts.store import load_value, save_value
from py_code_mode.errors import StorageError
from py_code_mode.executors.kernel import SubprocessConfig, SubprocessExecutor
from py_code_mode.session import Session
from py_code_mode.workflows.history import Use

from .redis_servers import RedisServer
from .sessions import IDENTITY

SOURCE = "async def run() -> int:\n    return 1\n"


@pytest.fixture
def server():
    # What was answered is on disk then: with other settings a write can wait for the sync of an earlier one.
    with closing(RedisServer("--appendonly", "yes", "--appendfsync", "always")) as server:
        yield server


@pytest.fixture
def client(server):
    with redis.Redis.from_url(server.url) as client:
        yield client


def reads(storage):
    """Every way to read, by name."""
    artifacts, workflows, deps = stores(storage)
    return {
        "read the artifact 'a'": lambda: artifacts.read("a"),
        "list the artifacts": artifacts.list,
        "list the workflows": workflows.list,
        "read the history of 'w'": lambda: workflows.history("w"),
        "read the uses of workflows": workflows.uses,
        "read the requirements": deps.read,
        "list the tools": storage.get_tool_store().stamps,
        "read the tools": lambda: storage.get_tool_store().read(["t"]),
    }


def writes(storage):
    """Every way to write, by name."""
    artifacts, workflows, deps = stores(storage)
    return {
        "save the artifact 'a'": lambda: save_value(artifacts, "a", "new"),
        "save the artifact 'large'": lambda: save_value(artifacts, "large", b"x" * (3 << 20)),
        "write the workflow 'w'": lambda: workflows.create("w", SOURCE, "new"),
        "count the uses of workflows": lambda: workflows.count({"w": Use(1)}),
        "change the requirements": lambda: deps.add("rich"),
        "write the tool 't'": lambda: storage.get_tool_store().write("t", b"new"),
    }


def deletions(storage):
    """Every way to delete, by name."""
    artifacts, workflows, _ = stores(storage)
    return {
        "delete the artifact 'a'": lambda: artifacts.delete("a"),
        "delete the workflow 'w'": lambda: workflows.delete("w"),
        "delete the tool 't'": lambda: storage.get_tool_store().delete("t"),
    }


def stores(storage):
    return storage.get_artifact_store(), storage.get_workflow_library(), storage.get_dependency_store()


def fill(storage):
    artifacts, workflows, deps = stores(storage)
    save_value(artifacts, "a", "old")
    workflows.create("w", SOURCE, "old")
    deps.add("pandas")
    storage.get_tool_store().write("t", b"old")


def check_old(storage):
    """What ``fill`` wrote is there, and nothing else."""
    artifacts, workflows, deps = stores(storage)
    assert load_value(artifacts, "a") == "old"
    assert [artifact.name for artifact in artifacts.list()] == ["a"]
    assert [workflow.description for workflow in workflows.list()] == ["old"]
    assert deps.read() == ["pandas"]
    assert storage.get_tool_store().read(storage.get_tool_store().stamps()) == {"t": b"old"}


def check_new(storage):
    """Every write works."""
    for write in writes(storage).values():
        write()
    artifacts, workflows, deps = stores(storage)
    assert load_value(artifacts, "a") == "new"
    assert workflows.require("w").description == "new"
    assert deps.read() == ["pandas", "rich"]
    assert storage.get_tool_store().read(["t"]) == {"t": b"new"}


def check_failing(uses, place, reason):
    for doing, use in uses.items():
        with pytest.raises(StorageError) as caught:
            use()
        message = caught.value.message
        assert message.startswith("cannot "), (doing, message)
        assert place in message
        assert reason in message, message


def test_a_server_that_is_killed_is_an_error_and_work_goes_on_when_it_is_back(server):
    storage = RedisStorage(server.url, prefix="p")
    fill(storage)
    server.kill()
    began = time.monotonic()
    check_failing({**reads(storage), **writes(storage), **deletions(storage)}, f"unix://{server.path}", "reached")
    assert time.monotonic() - began < 10
    server.start()
    check_old(storage)
    check_new(storage)


def test_what_was_opened_before_a_restart_can_be_read_to_its_end(server):
    storage = RedisStorage(server.url, prefix="p")
    value = b"abc" * (1 << 20)
    save_value(storage.get_artifact_store(), "large", value)
    artifact, source = storage.get_artifact_store().open("large")
    begin = source.read(1000)
    server.kill()
    with pytest.raises(StorageError, match="reached"):
        source.read(2 << 20)
    server.start()
    assert begin + source.read(artifact.size) == value


def test_a_server_that_gives_no_answer_is_an_error_in_time_and_nothing_is_half_written(server, client):
    storage = RedisStorage(f"{server.url}?socket_timeout=0.1&socket_connect_timeout=0.1", prefix="p")
    fill(storage)
    client.execute_command("CLIENT", "PAUSE", 2000, "ALL")
    began = time.monotonic()
    check_failing({**reads(storage), **deletions(storage)}, f"unix://{server.path}", "no answer in time")
    assert time.monotonic() - began < 1.9
    assert client.ping()  # comes when the pause is over
    patient = RedisStorage(server.url, prefix="p")
    artifacts, workflows, deps = stores(patient)
    # What was asked for during the pause is done in whole afterwards, or not at all.
    assert (artifacts.get("a") is None) == (artifacts.list() == [])
    assert (workflows.get("w") is None) == (workflows.list() == [])
    assert deps.read() == ["pandas"]
    check_new(patient)


def test_a_connection_that_is_accepted_and_never_answered_is_an_error_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        storage = RedisStorage(f"redis://:secret@{host}:{port}?socket_timeout=0.2", prefix="p")
        began = time.monotonic()
        check_failing(reads(storage), f"redis://{host}:{port}/0/p", "no answer in time")
        assert time.monotonic() - began < 5


def test_a_full_server_is_an_error_leaves_the_old_and_can_be_tidied(server, client):
    storage = RedisStorage(server.url, prefix="p")
    fill(storage)
    client.config_set("maxmemory", 1)
    check_failing(writes(storage), f"unix://{server.path}", "out of memory")
    check_old(storage)
    for delete in deletions(storage).values():
        assert delete() is True
    assert storage.get_artifact_store().list() == storage.get_workflow_library().list() == []
    client.config_set("maxmemory", 0)
    check_new(storage)


def test_a_server_that_becomes_full_during_a_save_keeps_the_old_artifact(server, client):
    store = RedisStorage(server.url, prefix="p").get_artifact_store()
    save_value(store, "a", "old")
    with closing(store.create("a", "bytes", {})) as writer:
        writer.write(b"x" * (2 << 20))
        client.config_set("maxmemory", 1)
        with pytest.raises(StorageError, match=r"cannot save the artifact 'a' at .* out of memory"):
            writer.write(b"x" * (2 << 20))
    with closing(store.create("a", "bytes", {})) as writer, pytest.raises(StorageError, match="out of memory"):
        writer.commit()
    assert load_value(store, "a") == "old"


def test_a_read_only_replica_can_be_read_and_refuses_writes(server, client):
    storage = RedisStorage(server.url, prefix="p")
    fill(storage)
    storage.get_workflow_library().create("x", SOURCE, "goes")
    storage.get_workflow_library().delete("x")  # a version is missing now, which nobody can write
    client.execute_command("REPLICAOF", "127.0.0.1", "1")
    check_failing({**writes(storage), **deletions(storage)}, f"unix://{server.path}", "read-only replica")
    check_old(storage)
    check_old(RedisStorage(server.url, prefix="p"))
    client.execute_command("REPLICAOF", "NO", "ONE")
    check_new(storage)


def test_a_wrong_password_is_an_error_that_does_not_show_it(server, client):
    client.config_set("requirepass", "right-secret")
    storage = RedisStorage(f"{server.url}?password=right-secret", prefix="p")
    fill(storage)
    check_old(storage)
    for url in (server.url, f"{server.url}?password=wrong-secret", f"unix://user:wrong-secret@{server.path}"):
        wrong = RedisStorage(url, prefix="p")
        reason = "wants a password: redis://:PASSWORD@HOST" if url == server.url else "refuses the login"
        check_failing(reads(wrong), f"unix://{server.path}", reason)
        with pytest.raises(StorageError) as caught:
            wrong.get_artifact_store().list()
        assert "secret" not in f"{caught.value}{caught.value.__cause__}{wrong!r}"
    check_new(storage)


class OnTheTestsVenv(RedisStorage):
    """A workspace in Redis on the virtualenv that the tests share."""

    @property
    def identity(self) -> str:
        return IDENTITY


async def test_a_session_keeps_its_kernel_and_variables_when_redis_goes_and_comes_back(server, tmp_path):
    storage = OnTheTestsVenv(server.url, prefix="p")
    async with Session(storage, SubprocessExecutor(SubprocessConfig(cwd=tmp_path))) as session:
        await session.add_workflow("one", SOURCE, "One")
        saved = await session.run("x = [1, 2]\nartifacts.save('x', x)\nworkflows.one() + len(artifacts.load('x'))")
        assert (saved.error, saved.value) == (None, 3)
        server.kill()
        failed = await session.run("artifacts.save('x', 'other')")
        assert "StorageError" in str(failed.error)
        assert f"unix://{server.path}" in str(failed.error)
        with pytest.raises(StorageError):
            await session.list_workflows()
        server.start()
        again = await session.run("x.append(3)\n(artifacts.load('x'), x, [w['name'] for w in workflows.list()])")
        assert (again.error, again.value) == (None, ([1, 2], [1, 2, 3], ["one"]))
