"""A workspace in Redis: its addresses, what lies on the server, and what costs nothing."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from contextlib import closing

import numpy
import pytest
import redis

from py_code_mode import RedisStorage
from py_code_mode.artifacts.store import load_value, save_value
from py_code_mode.errors import ArtifactNotFoundError, StorageError

from .redis_servers import RedisServer, shared_server

SOURCE = "async def run() -> int:\n    return {}\n"


@pytest.fixture
def prefix():
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def client():
    with redis.Redis.from_url(shared_server().url) as client:
        yield client


def storage_of(prefix, **options):
    return RedisStorage(shared_server().url, prefix=prefix, **options)


def keys_of(client, prefix, kind=""):
    return list(client.scan_iter(match=f"{{{prefix}}}:{kind}*", count=10_000))


def test_a_client_and_a_url_lead_to_the_same_workspace_whose_identity_is_its_prefix(prefix, client):
    save_value(RedisStorage(redis=client, prefix=prefix).get_artifact_store(), "a", 1)
    assert load_value(storage_of(prefix).get_artifact_store(), "a") == 1
    assert RedisStorage(redis=client, prefix=prefix).identity == storage_of(prefix).identity == f"redis:{prefix}"
    assert storage_of("other").get_artifact_store().list() == []
    assert RedisStorage("redis://localhost").prefix == "py-code-mode"


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, TypeError, "a url or a client"),
        ({"url": "redis://h", "redis": redis.Redis()}, TypeError, "a url or a client"),
        ({"url": 3}, TypeError, "url is a str"),
        ({"url": "http://h"}, ValueError, "redis://"),
        ({"url": "redis://:se/cret@h:6379"}, ValueError, "percent-encode"),
        ({"redis": "redis://h"}, TypeError, "or give a url"),
        ({"redis": redis.Redis(decode_responses=True)}, ValueError, "decode_responses"),
        ({"url": "redis://h", "prefix": ""}, ValueError, "prefix"),
        ({"url": "redis://h", "prefix": "a{b}"}, ValueError, "braces"),
        ({"url": "redis://h", "prefix": None}, TypeError, "prefix"),
        ({"url": "redis://h", "artifact_ttl": 0}, ValueError, "artifact_ttl"),
        ({"url": "redis://h", "artifact_ttl": "1h"}, TypeError, "artifact_ttl"),
    ],
)
def test_arguments_that_cannot_be_are_refused_with_what_to_do(arguments, error, text):
    with pytest.raises(error, match=text) as caught:
        RedisStorage(**arguments)
    assert "cret" not in str(caught.value)


def test_without_the_package_redis_the_error_says_what_to_install():
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "from py_code_mode import RedisStorage\n"
        "try:\n    RedisStorage('redis://h')\nexcept ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert "pip install 'py-code-mode[redis]'" in done.stdout


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://user:secret@example.org", "redis://example.org:6379/0/p"),
        ("rediss://:secret@example.org:7000/2", "rediss://example.org:7000/2/p"),
        ("unix:///run/redis.sock?password=secret&db=1", "unix:///run/redis.sock?db=1/p"),
    ],
)
def test_what_is_shown_of_an_address_has_no_password(url, place):
    assert repr(RedisStorage(url, prefix="p")) == f"RedisStorage('{place}')"


def test_every_key_begins_with_the_prefix_as_a_hash_tag(prefix, client):
    before = set(client.scan_iter(count=10_000))
    storage = storage_of(prefix)
    save_value(storage.get_artifact_store(), "a/b", b"x" * (3 << 20))
    storage.get_workflow_library().create("one", SOURCE.format(1), "One")
    storage.get_dependency_store().add("pandas")
    storage.get_tool_store().write("curl", b"name: curl")
    assert client.get(f"{{{prefix}}}:tools:curl") == b"name: curl"
    new = set(client.scan_iter(count=10_000)) - before
    assert len(new) >= 8
    assert {key.startswith(b"{%s}:" % prefix.encode()) for key in new} == {True}


def test_reading_and_deleting_nothing_writes_nothing(prefix, client):
    storage = storage_of(prefix)
    assert storage.get_artifact_store().list() == storage.get_workflow_library().list() == []
    assert storage.get_artifact_store().delete("x") is storage.get_workflow_library().delete("x") is False
    assert storage.get_dependency_store().remove("x") is storage.get_tool_store().delete("x") is False
    assert storage.get_tool_store().stamps() == {}
    assert keys_of(client, prefix) == []


def test_an_embedder_given_to_the_storage_searches_its_workflows(prefix):
    def embed(texts):
        return numpy.array([[1.0, 0.0] if "metres" in text or "height" in text else [0.0, 1.0] for text in texts], "f4")

    library = storage_of(prefix, embedder=embed).get_workflow_library()
    library.create("one", SOURCE.format(1), "How many metres")
    library.create("two", SOURCE.format(1), "Something else")
    assert [workflow.name for workflow in library.search("height", 1)] == ["one"]


class Named:
    """An embedder with a name, and the texts that it was given."""

    name = "test"

    def __init__(self):
        self.texts = []

    def embed(self, texts):
        self.texts += texts
        return numpy.array([[len(text), text.count("e")] for text in texts], "f4")


def test_a_text_is_embedded_once_for_all_machines(prefix, client, monkeypatch):
    first, second, third = Named(), Named(), Named()
    storage_of(prefix).get_workflow_library().create("one", SOURCE.format(1), "How many metres")
    storage_of(prefix, embedder=first).get_workflow_library().search("height")
    assert first.texts == ["one How many metres", "height"]
    storage_of(prefix, embedder=second).get_workflow_library().search("height")
    assert second.texts == ["height"]
    monkeypatch.setattr("py_code_mode.storage.redis_vectors._MOST", 1)
    storage_of(prefix).get_workflow_library().create("two", SOURCE.format(1), "Another")
    storage_of(prefix, embedder=third).get_workflow_library().search("height")
    assert third.texts == ["two Another", "height"]
    assert client.hlen(f"{{{prefix}}}:vectors") == 1  # begun anew


def test_what_one_storage_changes_another_sees_at_its_next_call(prefix):
    one, other = storage_of(prefix), storage_of(prefix)
    library, artifacts = other.get_workflow_library(), other.get_artifact_store()
    for turn in range(3):
        one.get_workflow_library().create("same", SOURCE.format(turn), f"Version {turn}")
        one.get_workflow_library().create(f"w{turn}", SOURCE.format(turn), "New")
        assert [workflow.description for workflow in library.list()] == [f"Version {turn}", *["New"] * (turn + 1)]
        save_value(one.get_artifact_store(), "same", turn, f"Version {turn}")
        save_value(one.get_artifact_store(), f"a{turn}", turn)
        assert [artifact.name for artifact in artifacts.list()] == [*[f"a{i}" for i in range(turn + 1)], "same"]
        assert artifacts.list()[-1].description == f"Version {turn}"
    one.get_workflow_library().delete("same")
    one.get_artifact_store().delete("same")
    assert [workflow.name for workflow in library.list()] == ["w0", "w1", "w2"]
    assert [artifact.name for artifact in artifacts.list()] == ["a0", "a1", "a2"]


def test_a_server_that_was_emptied_is_seen_as_empty_and_what_is_saved_then_as_new():
    with closing(RedisServer()) as server, redis.Redis.from_url(server.url) as client:
        one, other = RedisStorage(server.url), RedisStorage(server.url)
        for description in ("before", "after"):
            one.get_workflow_library().create("w", SOURCE.format(1), description)
            save_value(one.get_artifact_store(), "a", 1, description)
            assert [workflow.description for workflow in other.get_workflow_library().list()] == [description]
            assert [artifact.description for artifact in other.get_artifact_store().list()] == [description]
            client.flushall()
        assert other.get_workflow_library().list() == other.get_artifact_store().list() == []


@pytest.mark.parametrize("deleted", [False, True])
def test_a_list_in_which_nothing_changed_costs_one_small_question(prefix, client, deleted):
    storage = storage_of(prefix)
    library, artifacts = storage.get_workflow_library(), storage.get_artifact_store()
    for index in range(300):
        library.create(f"w{index:03}", SOURCE.format(index), "One of many")
        artifacts.save(f"a{index:03}", _text("x"))
    if deleted:
        library.delete("w000")
        artifacts.delete("a000")
    listed = storage_of(prefix)
    library, artifacts = listed.get_workflow_library(), listed.get_artifact_store()
    client.config_resetstat()
    first = library.list(), artifacts.list()
    assert client.info("stats")["total_commands_processed"] < 900  # 600 for the records, and no round trip for each
    first = library.list(), artifacts.list()
    client.config_resetstat()
    for _ in range(10):
        assert (library.list(), artifacts.list()) == first
    stats = client.info("commandstats")
    assert {name: stat["calls"] for name, stat in stats.items() if "config" not in name} == {"cmdstat_get": 20}


def test_a_large_artifact_lies_in_small_parts_and_takes_the_place_of_the_old_one_at_once(prefix, client):
    store = storage_of(prefix).get_artifact_store()
    old, new = b"a" * (5 << 20), b"b" * ((7 << 20) + 1)
    save_value(store, "big", old)
    with closing(store.create("big", "bytes", {})) as writer:
        writer.write(new)
        assert load_value(storage_of(prefix).get_artifact_store(), "big") == old
        writer.commit()
    assert load_value(storage_of(prefix).get_artifact_store(), "big") == new
    chunks = keys_of(client, prefix, "chunk:")
    assert len(chunks) == 5 + 8
    assert max(client.strlen(key) for key in chunks) == 1 << 20
    assert sorted(client.ttl(key) > 0 for key in chunks) == [False] * 8 + [True] * 5  # the old ones disappear


KILLED = """
import os, signal, sys
from py_code_mode import RedisStorage
writer = RedisStorage(sys.argv[1], prefix=sys.argv[2]).get_artifact_store().create("lost", "bytes", {})
writer.write(b"x" * (3 << 20))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_writer_that_is_killed_leaves_nothing_visible_and_what_it_wrote_disappears(prefix, client):
    command = [sys.executable, "-c", KILLED, shared_server().url, prefix]
    assert subprocess.run(command, timeout=30, check=False).returncode == -9
    storage = storage_of(prefix)
    assert storage.get_artifact_store().list() == []
    assert storage.get_artifact_store().get("lost") is None
    left = keys_of(client, prefix)
    assert len(left) == 2
    assert all(0 < client.ttl(key) <= 3600 for key in left)


def test_what_is_given_up_leaves_nothing(prefix, client):
    writer = storage_of(prefix).get_artifact_store().create("given up", "bytes", {})
    writer.write(b"x" * (3 << 20))
    writer.close()
    assert keys_of(client, prefix) == []


def test_a_part_that_is_gone_is_a_storage_error_and_never_a_short_value(prefix, client):
    store = storage_of(prefix).get_artifact_store()
    save_value(store, "big", b"a" * (3 << 20))
    client.delete(sorted(keys_of(client, prefix, "chunk:"))[1])
    with pytest.raises(StorageError, match=r"cannot read the artifact 'big' at .*: a part of it is gone"):
        load_value(store, "big")
    with closing(store.create("new", "bytes", {})) as writer:
        writer.write(b"x" * (3 << 20))
        for key in keys_of(client, prefix, "chunk:"):
            client.delete(key)
        with pytest.raises(StorageError, match="what was written of it is gone"):
            writer.commit()
    assert store.get("new") is None


def test_an_artifact_with_a_time_to_live_is_gone_after_it(prefix, client):
    store = storage_of(prefix, artifact_ttl=0.3).get_artifact_store()
    keeper = storage_of(prefix).get_artifact_store()
    save_value(store, "short/lived", b"x" * (2 << 20))
    save_value(keeper, "kept", 1)
    assert [artifact.name for artifact in keeper.list()] == ["kept", "short/lived"]
    deadline = time.monotonic() + 10
    while store.get("short/lived") is not None:
        assert time.monotonic() < deadline
    assert [artifact.name for artifact in keeper.list()] == ["kept"]
    assert [artifact.name for artifact in storage_of(prefix).get_artifact_store().list()] == ["kept"]
    with pytest.raises(ArtifactNotFoundError):
        store.read("short/lived")
    assert client.zrange(f"{{{prefix}}}:index:artifacts:names", 0, -1) == [b"kept"]
    save_value(store, "short", 1)  # the folder went with what was in it
    assert all(client.ttl(key) > 0 for key in keys_of(client, prefix, "chunk:") if client.strlen(key) == 1 << 20)


def _text(text):
    from kernel_bootstrap.formats import Payload

    return Payload("text", text.encode())
