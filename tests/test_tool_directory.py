"""Tools from a directory of files that come, change and go."""

from __future__ import annotations

import asyncio
import os

import pytest

from py_code_mode.errors import StorageError
from py_code_mode.tools.loader import DirectoryToolProvider
from tests.tool_runner import running, write


@pytest.fixture
async def runner():
    async with running() as runner:
        yield runner


@pytest.fixture
def provider(tmp_path, runner):
    return DirectoryToolProvider(tmp_path / "tools", runner)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tools").mkdir()
    return tmp_path / "tools"


def tool(folder, name, command="echo", more="", file=None):
    return write(folder, f"name: {name}\ncommand: {command}\n{more}", file or f"{name}.yaml")


async def call(provider, name):
    return await (await provider.tools())[name].call(None, (), {})


def age(path):
    """Makes the file old enough for its stamp to be trusted."""
    os.utime(path, (1, 1))


async def test_a_directory_that_is_not_there_has_no_tools_until_it_appears(provider, tmp_path):
    assert await provider.tools() == {}
    assert provider.broken() == {}
    (tmp_path / "tools").mkdir()
    tool(tmp_path / "tools", "a")
    assert list(await provider.tools()) == ["a"]


async def test_a_directory_that_cannot_be_read_is_an_error_of_the_storage(provider, tmp_path):
    (tmp_path / "tools").write_text("a file")
    with pytest.raises(StorageError, match=r"tools cannot be read: Not a directory"):
        await provider.tools()


async def test_only_visible_yaml_files_are_tools(provider, folder):
    for file in ("a.yaml", "b.yml", ".c.yaml", "d.yaml~", "e.txt", "f.json"):
        tool(folder, file[-6:-5] if file.startswith(".") else file[0], file=file)
    (folder / "g.yaml").mkdir()
    assert list(await provider.tools()) == ["a", "b"]
    assert provider.broken() == {}


async def test_new_edited_and_deleted_files_are_seen_by_the_next_call(provider, folder):
    tool(folder, "a", "echo 1")
    assert await call(provider, "a") == "1\n"
    tool(folder, "b", "echo 3")
    tool(folder, "a", "echo 2")
    assert await call(provider, "a") == "2\n"
    assert await call(provider, "b") == "3\n"
    (folder / "a.yaml").unlink()
    assert list(await provider.tools()) == ["b"]


async def test_an_edit_of_the_same_size_at_the_same_moment_is_seen(provider, folder):
    for turn in range(10):
        tool(folder, "a", f"echo {turn}")
        assert (await provider.tools())["a"].definition.command == ("echo", str(turn))


async def test_a_file_that_did_not_change_is_not_read_again(provider, folder):
    path = tool(folder, "a")
    before = (await provider.tools())["a"]
    while (await provider.tools())["a"] is not before:  # until the file is old enough for its stamp to count
        before = (await provider.tools())["a"]
    tool(folder, "b")
    assert (await provider.tools())["a"] is before
    age(path)
    assert (await provider.tools())["a"] is not before


async def test_one_bad_file_does_not_hide_the_others(provider, folder):
    tool(folder, "a")
    bad = tool(folder, "b", more="nonsense: 1\n")
    mcp = tool(folder, "c", more="type: mcp\ntransport: stdio\n")
    assert list(await provider.tools()) == ["a"]
    broken = provider.broken()
    assert list(broken) == [str(bad), str(mcp)]
    assert "unknown key 'nonsense'" in broken[str(bad)].message
    assert broken[str(mcp)].message == f"{mcp}:3: type: unknown type of tool 'mcp'; supported: cli"
    assert broken[str(mcp)].tool == "c"


async def test_a_file_that_cannot_be_read_is_broken_with_the_reason(provider, folder):
    (folder / "a.yaml").symlink_to(folder / "a.yaml")
    (folder / "b.yaml").symlink_to("/proc/self/mem")
    assert await provider.tools() == {}
    assert "b.yaml: cannot be read: " in provider.broken()[str(folder / "b.yaml")].message


async def test_a_repaired_file_is_a_tool_again(provider, folder):
    tool(folder, "a", more="nonsense: 1\n")
    assert await provider.tools() == {}
    tool(folder, "a")
    assert list(await provider.tools()) == ["a"]
    assert provider.broken() == {}


async def test_the_second_of_two_files_with_one_tool_name_is_broken(provider, folder):
    first, second = (
        tool(folder, "same", "echo 1", file="1.yaml"),
        tool(folder, "same", "echo 2", file="2.yaml"),
    )
    assert await call(provider, "same") == "1\n"
    message = provider.broken()[str(second)].message
    assert message == f"{second}: the tool name 'same' is taken by {first}; rename one of the two"
    first.unlink()
    assert await call(provider, "same") == "2\n"
    assert provider.broken() == {}


async def test_the_variables_of_all_files_are_secrets_before_anything_was_listed(provider, folder):
    tool(folder, "a", more="env: {TOKEN: '${ONE} ${TWO}', PATH: '${HOME}/bin:${PATH}'}")
    tool(folder, "b", more="type: http\nheaders: {Authorization: '${THREE}'}\n")
    assert provider.secrets() == {"ONE", "TWO", "THREE"}


async def test_many_tasks_see_the_same_tools_while_files_change(provider, folder):
    async def look():
        return sorted(await provider.tools())

    for number in range(20):
        tool(folder, f"t{number}")
        expected = sorted(f"t{n}" for n in range(number + 1))
        assert await asyncio.gather(*(look() for _ in range(8))) == [expected] * 8
