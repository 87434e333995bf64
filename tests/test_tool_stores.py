"""Definitions of tools in files, in Redis and in memory, and sessions whose tools live in Redis."""

from __future__ import annotations

import asyncio
import os
import uuid
from contextlib import closing
from pathlib import Path

import pytest
import redis

from py_code_mode import FileStorage, InProcessExecutor, RedisStorage, Session, SubprocessConfig, SubprocessExecutor
from py_code_mode.errors import StorageError, ToolDefinitionError
from py_code_mode.executors.inprocess import InProcessConfig
from py_code_mode.tools.loader import StoredToolProvider
from py_code_mode.tools.store import MemoryToolStore, file_of_name, name_of_file

from .redis_servers import RedisServer, executables, shared_server
from .sessions import IDENTITY
from .tool_runner import running

SAY = "name: {0}\ncommand: [echo, {1}]\ndescription: Say {1}\n"


def in_redis(executable=None):
    return RedisStorage(shared_server(executable).url, prefix=f"test-{uuid.uuid4().hex}")


STORES = {
    "file": lambda folder: FileStorage(folder / "workspace").get_tool_store(),
    "memory": lambda folder: MemoryToolStore(),
    **{Path(path).parent.name: lambda folder, path=path: in_redis(path).get_tool_store() for path in executables()},
}


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    return STORES[request.param](tmp_path)


def say(name, word="hi"):
    return SAY.format(name, word).encode()


def test_what_is_written_is_read_back_stamped_and_deleted(store):
    assert (store.stamps(), store.read(["a"]), store.delete("a")) == ({}, {}, False)
    for name in ("a", "b.yml", "stamps", "version", "ünder score"):
        store.write(name, name.encode())
    stamps = store.stamps()
    assert sorted(stamps) == sorted(["a", "b.yml", "stamps", "version", "ünder score"])
    assert store.read(["b.yml", "gone", "a"]) == {"b.yml": b"b.yml", "a": b"a"}
    store.write("a", b"\xff broken")
    assert store.stamps()["a"] != stamps["a"]
    assert store.read(["a"]) == {"a": b"\xff broken"}
    assert (store.delete("a"), store.delete("a"), "a" in store.stamps()) == (True, False, False)
    assert str(store.where("b.yml")).endswith("/tools/b.yml")


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a\0b", "a\nb", "x" * 300, None])
def test_a_name_that_no_file_can_have_is_refused(store, name):
    with pytest.raises(ToolDefinitionError, match="cannot be the name of a definition"):
        store.write(name, b"")
    assert store.stamps() == {}


@pytest.mark.parametrize("file", ["a.yaml", "a.yml", "a.yml.yaml", "a.yaml.yaml", "a.b.yaml", "a.yaml.yml"])
def test_every_file_has_a_name_of_its_own_that_leads_back_to_it(file):
    assert file_of_name(name_of_file(file)) == file
    assert name_of_file("curl.yaml") == "curl"


async def call(provider, name):
    return await (await provider.tools())[name].call(None, (), {})


async def test_tools_in_redis_are_seen_changed_and_gone_at_the_next_call(tmp_path):
    async with running() as runner:
        storage = in_redis()
        store = storage.get_tool_store()
        provider = StoredToolProvider(
            RedisStorage(shared_server().url, prefix=storage.prefix).get_tool_store(), runner, cwd=tmp_path, remote=True
        )
        assert await provider.tools() == {}
        for turn in range(3):
            store.write("a", say("a", f"turn{turn}"))
            assert await call(provider, "a") == f"turn{turn}\n"
        first = (await provider.tools())["a"]
        store.write("b", say("b"))
        assert sorted(await provider.tools()) == ["a", "b"]
        assert (await provider.tools())["a"] is first  # what did not change is not read again
        store.delete("a")
        assert sorted(await provider.tools()) == ["b"]


async def test_a_malformed_definition_in_redis_is_told_with_its_address_and_hides_no_other(tmp_path):
    async with running() as runner:
        store = in_redis().get_tool_store()
        store.write("bad", b"name: bad\ncommand: echo\nnonsense: 1\nenv: {T: '${HIDDEN}'}\n")
        store.write("good", say("good") + b"env: {T: '${TOKEN}'}\n")
        store.write("here", b"name: here\ncommand: ./script\n")
        store.write("later", say("good"))
        provider = StoredToolProvider(store, runner, cwd=tmp_path, remote=True)
        assert list(await provider.tools()) == ["good"]
        broken = {where.rpartition("/")[2]: error.message for where, error in provider.broken().items()}
        assert broken["bad"].startswith(f"{store.where('bad')}:3: unknown key 'nonsense'")
        assert "'./script' is relative to a file" in broken["here"]
        assert "is taken by" in broken["later"]
        assert provider.secrets() == {"HIDDEN", "TOKEN"}


async def test_a_call_of_a_tool_that_did_not_change_asks_redis_one_small_question(tmp_path):
    with redis.Redis.from_url(shared_server().url) as client:
        async with running() as runner:
            store = in_redis().get_tool_store()
            for number in range(200):
                store.write(f"t{number}", say(f"t{number}"))
            provider = StoredToolProvider(store, runner, cwd=tmp_path, remote=True)
            client.config_resetstat()
            assert len(await provider.tools()) == 200
            assert client.info("stats")["total_commands_processed"] < 10
            client.config_resetstat()
            for _ in range(5):
                await provider.tools()
            stats = client.info("commandstats")
            assert {name: stat["calls"] for name, stat in stats.items() if "config" not in name} == {"cmdstat_get": 5}


async def test_a_session_without_a_directory_of_tools_has_those_in_redis(tmp_path, monkeypatch):
    monkeypatch.setenv("TEAM_TOKEN", "token-of-the-host")
    storage = in_redis()
    storage.get_tool_store().write("env", b"name: show\ncommand: [printenv, T]\nenv: {T: '${TEAM_TOKEN}'}\n")
    async with Session(storage, InProcessExecutor(InProcessConfig(cwd=tmp_path))) as session:
        assert [tool["name"] for tool in await session.list_tools()] == ["show"]
        assert (await session.run("tools.show()")).value == "token-of-the-host\n"
        RedisStorage(shared_server().url, prefix=storage.prefix).get_tool_store().write("new", say("new"))
        assert (await session.run("tools.new()")).value == "hi\n"
    (tmp_path / "own.yaml").write_text(SAY.format("own", "hi"))
    async with Session(storage, InProcessExecutor(InProcessConfig(tools_path=tmp_path))) as session:
        assert [tool["name"] for tool in await session.list_tools()] == ["own"]


class OnTheTestsVenv(RedisStorage):
    """A workspace in Redis on the virtualenv that the tests share."""

    @property
    def identity(self) -> str:
        return IDENTITY


async def test_secrets_of_tools_and_of_the_url_never_reach_the_kernel_also_while_redis_is_gone(tmp_path, monkeypatch):
    for name in ("TEAM_TOKEN", "LATER_TOKEN", "URL_PASSWORD", "HARMLESS"):
        monkeypatch.setenv(name, "x")
    with closing(RedisServer()) as server:
        with redis.Redis.from_url(server.url) as client:
            client.execute_command("ACL", "SETUSER", "default", ">x")
        storage = OnTheTestsVenv(f"{server.url}?password=${{URL_PASSWORD}}", prefix="p")
        store = storage.get_tool_store()
        store.write("a", b"name: a\ncommand: printenv\nenv: {T: '${TEAM_TOKEN}'}\n")
        ask = "import os; sorted(set(os.environ) & {'TEAM_TOKEN', 'LATER_TOKEN', 'URL_PASSWORD', 'HARMLESS'})"
        async with Session(storage, SubprocessExecutor(SubprocessConfig(cwd=tmp_path))) as session:
            assert (await session.run(ask)).value == ["HARMLESS", "LATER_TOKEN"]
            store.write("b", b"name: b\ncommand: printenv\nenv: {T: '${LATER_TOKEN}'}\n")
            await session.reset()
            assert (await session.run(ask)).value == ["HARMLESS"]
            server.kill()
            await session.reset()
            assert (await session.run(ask)).value == ["HARMLESS"]
            failed = await session.run("tools.a()")
            assert "StorageError: cannot list the tools at unix://" in str(failed.error)
            with pytest.raises(StorageError, match="cannot list the tools"):
                await session.list_tools()


async def test_many_tasks_see_the_same_tools_while_they_change_in_redis(tmp_path):
    async with running() as runner:
        store = in_redis().get_tool_store()
        provider = StoredToolProvider(store, runner, cwd=tmp_path, remote=True)

        async def look():
            return sorted(await provider.tools())

        for number in range(10):
            store.write(f"t{number}", say(f"t{number}"))
            expected = [f"t{n}" for n in range(number + 1)]
            assert await asyncio.gather(*(look() for _ in range(8))) == [expected] * 8


def test_definitions_are_written_inside_the_workspace_only(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "base").mkdir()
    (tmp_path / "base/tools").symlink_to(tmp_path / "outside")
    store = FileStorage(tmp_path / "base").get_tool_store()
    with pytest.raises(StorageError, match="leaves the workspace"):
        store.write("a", say("a"))
    assert os.listdir(tmp_path / "outside") == []
