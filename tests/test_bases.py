"""A workspace as people name it: a directory, or the URL of a Redis, in programs and on the command line."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import uuid
from contextlib import closing
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from py_code_mode import FileStorage, RedisStorage, Session
from py_code_mode.artifacts.store import load_value, save_value
from py_code_mode.cli.app import app
from py_code_mode.cli.hidden import without_passwords
from py_code_mode.jupyter import kernelspec
from py_code_mode.storage import bases

from .redis_servers import RedisServer, shared_server

PASSWORD = "s3cret/+@"
QUOTED = "s3cret%2F%2B%40"


@pytest.fixture
def url():
    return f"{shared_server().url}?prefix=test-{uuid.uuid4().hex}"


def call(*args, status=0, stdin=""):
    result = CliRunner().invoke(app, [str(arg) for arg in args], input=stdin)
    assert result.exit_code == status, result.output
    return result


@pytest.mark.parametrize(
    ("url", "prefix", "place"),
    [
        ("redis://h", "py-code-mode", "redis://h:6379/0/py-code-mode"),
        ("redis://h:7/2?prefix=team", "team", "redis://h:7/2/team"),
        ("rediss://u:pw@h?prefix=te%20am&socket_timeout=3", "te am", "rediss://h:6379/0/te am"),
        ("unix:///run/r.sock?db=1&prefix=a&password=pw", "a", "unix:///run/r.sock?db=1/a"),
    ],
)
def test_the_prefix_comes_from_the_url_and_keys_the_virtualenv(url, prefix, place):
    for made in (Session.from_base(url), Session.subprocess(url), Session.inprocess(url)):
        storage = made.storage
        assert isinstance(storage, RedisStorage)
        assert (storage.prefix, storage.place, storage.identity) == (prefix, place, f"redis:{prefix}")
    assert bases.label(url) == f"redis:{prefix}"


@pytest.mark.parametrize(
    ("base", "text"),
    [
        ("http://h/x", "no address of a workspace"),
        ("REDIS://h", "no address of a workspace"),
        (Path("redis://h/0"), "is a str"),
        ("redis://h?prefix=a&prefix=b", "more than one prefix"),
        ("redis://h?prefix=", "not empty"),
        ("redis://h?prefix=a%7B", "without braces"),
        ("redis://:hush@h?nonsense=1", "no client of Redis has: nonsense"),
        ("redis://:hu/sh@h", "percent-encode"),
        ("redis://:hu#sh@h?prefix=a", "percent-encode"),
        ("unix://:hu/sh@/path", "percent-encode"),
        ("redis://[hush", "percent-encode"),
        ("redis://h/team", "percent-encode"),
        ("redis://:${PY_CODE_MODE_NOT_SET}@h", "PY_CODE_MODE_NOT_SET, which is not set"),
    ],
)
def test_what_cannot_be_a_base_is_refused_without_a_part_of_the_password(base, text):
    with pytest.raises(ValueError, match=text) as caught:
        Session.from_base(base)
    assert "hu" not in str(caught.value)
    assert bases.shown("redis://:hu/sh@h") == bases.shown("redis://:1#sh@h") == "redis://... (malformed)"


def test_a_url_is_no_directory_and_a_prefix_is_given_once():
    with pytest.raises(ValueError, match="for RedisStorage or Session"):
        FileStorage("redis://h")
    with pytest.raises(ValueError, match="prefix=a, and the argument is prefix='b'"):
        RedisStorage("redis://h?prefix=a", prefix="b")
    assert RedisStorage("redis://h?prefix=a", prefix="a").prefix == "a"
    assert bases.with_prefix("redis://h?db=2", "te/am") == "redis://h?db=2&prefix=te/am"
    assert bases.with_prefix("redis://h?prefix=a", "a") == "redis://h?prefix=a"
    with pytest.raises(ValueError, match="prefix=a, and the prefix b"):
        bases.with_prefix("redis://h?prefix=a", "b")


def test_a_variable_in_a_url_is_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("TEAM_PASSWORD", PASSWORD)
    with closing(RedisServer()) as found, redis.Redis.from_url(found.url) as client:
        client.config_set("requirepass", PASSWORD)
        for url in (f"unix://:${{TEAM_PASSWORD}}@{found.path}", f"{found.url}?password=${{TEAM_PASSWORD}}"):
            storage = bases.storage_at(url)
            save_value(storage.get_artifact_store(), "a", 1)
            assert load_value(bases.storage_at(url).get_artifact_store(), "a") == 1
            assert storage.secrets == {"TEAM_PASSWORD"}


@pytest.mark.parametrize(
    ("url", "hidden", "shown"),
    [
        (f"redis://:{QUOTED}@h/1?prefix=a", "redis://:${X1}@h/1?prefix=a", "redis://h/1?prefix=a"),
        (f"rediss://user:{QUOTED}@h:7", "rediss://user:${X1}@h:7", "rediss://h:7"),
        (f"unix:///s?username=u&password={QUOTED}&db=1", "unix:///s?username=u&password=${X1}&db=1", "unix:///s?db=1"),
        (f"unix://:{QUOTED}@/s", "unix://:${X1}@/s", "unix:///s"),
    ],
)
def test_a_password_leaves_the_arguments_and_is_the_same_password_afterwards(url, hidden, shown, monkeypatch):
    monkeypatch.setattr(bases, "PASSED_ON", "X")
    arguments, secrets = without_passwords(["run", "--base", url, f"--target={url}", "x = 'redis://h'"])
    assert arguments == ["run", "--base", hidden, f"--target={hidden.replace('X1', 'X2')}", "x = 'redis://h'"]
    assert secrets == {"X1": PASSWORD, "X2": PASSWORD}
    monkeypatch.setenv("X1", PASSWORD)
    options = [RedisStorage(each)._link._client.connection_pool.connection_kwargs for each in (url, hidden)]
    for name in ("username", "password", "host", "port", "path", "db"):
        assert options[0].get(name) == options[1].get(name)
    assert options[0]["password"] == PASSWORD
    assert bases.shown(url) == bases.shown(hidden) == shown
    assert without_passwords([hidden, "redis://h"]) == ([hidden, "redis://h"], {})


def test_a_running_command_shows_no_password_to_other_users():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://:{QUOTED}@127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "py_code_mode", "artifacts", "list", f"--base={url}"]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as running:
            connection, _ = silent.accept()  # the command is at work, and gets no answer
            with connection:
                shown = Path(f"/proc/{running.pid}/cmdline").read_text()
            running.kill()
    assert "s3cret" not in shown
    assert "redis://:${PY_CODE_MODE_URL_PASSWORD_1}@127.0.0.1" in shown


def test_the_commands_take_a_url_where_they_take_a_directory(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "note.txt").write_text("a note")
    call("artifacts", "add", "note", "note.txt", "--base", url)
    assert call("artifacts", "list", "--base", url).stdout.startswith("note\ttext\t6\t")
    assert call("artifacts", "get", "note", "--base", url).stdout == "a note"
    call("artifacts", "get", "note", "note.txt", "--base", url)
    call("artifacts", "get", "note", "note.txt", "--base", url)
    described = json.loads(call("artifacts", "show", "note", "--base", url, "--json").stdout)
    assert described["path"].endswith("/artifacts/note")
    bases.storage_at(url).get_dependency_store().add("rich>=13")
    assert call("deps", "list", "--base", url).stdout == "rich>=13\n"
    (tmp_path / "own").mkdir()
    (tmp_path / "own/hello.yaml").write_text("name: hello\ncommand: echo\ndescription: In a directory\n")
    bases.storage_at(url).get_tool_store().write("say", b"name: say\ncommand: [echo, hi]\ndescription: In Redis\n")
    assert call("tools", "list", "--base", url).stdout == "say\tIn Redis\t\n"
    assert call("tools", "call", "say", "--base", url).stdout == "hi\n"
    assert call("tools", "list", "--base", url, "--tools", "own").stdout == "hello\tIn a directory\t\n"
    assert call("artifacts", "rm", "note", "--base", url).stdout == "removed note\n"
    assert {path.name for path in tmp_path.iterdir()} == {"note.txt", "own"}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["init", "redis://:hush@h"], "store bootstrap"),
        (["demo", "redis://:hush@h"], "store bootstrap"),
        (["run", "--base", "redis://:hu/sh@h", "1"], "percent-encode"),
        (["tools", "list", "--base", "http://h"], "no address of a workspace"),
        (["tools", "list", "--base", "redis://h", "--tools", "/nowhere/at/all"], "does not exist"),
    ],
)
def test_what_makes_no_sense_with_a_url_is_wrong_usage_and_says_why(words, text):
    output = call(*words, status=2).output
    assert text in " ".join(output.split())
    assert "hu" not in output


def test_a_kernelspec_of_a_workspace_in_redis_names_a_variable_and_never_a_password(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TEAM_PASSWORD", PASSWORD)
    monkeypatch.setenv(f"{bases.PASSED_ON}1", PASSWORD)
    for refused in (f"redis://:{QUOTED}@h", f"redis://:${{{bases.PASSED_ON}1}}@h"):
        output = call("jupyter", "install", "--base", refused, status=1).output
        assert "environment variable of the front end" in output
        assert "s3cret" not in output
    tools = tmp_path / "tools"
    tools.mkdir()
    url = "redis://user:${TEAM_PASSWORD}@h:7/0?prefix=team"
    call("jupyter", "install", "--base", url, "--tools", tools)
    (spec,) = json.loads(call("jupyter", "list", "--json").stdout)
    assert (spec["name"], spec["workspace"], spec["workspace_gone"]) == (
        "redis-team",
        "redis://h:7/0?prefix=team",
        False,
    )
    written = json.loads(Path(spec["path"], "kernel.json").read_text())
    config = {"base": url, "tools": str(tools)}
    assert written["metadata"]["kernel_provisioner"]["config"] == config
    assert written["argv"][3:-2] == ["py_code_mode.jupyter", "--base", url, "--tools", str(tools)]
    assert kernelspec.installed()[0].base == url
    other = call("jupyter", "install", "--base", "redis://h?prefix=team", status=1).output
    assert "is for another workspace, redis://h:7/0?prefix=team" in " ".join(other.split())


def test_a_directory_of_tools_stands_in_for_those_of_the_workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for made in (
        Session.from_base("redis://h", tools_path="~/tools"),
        Session.subprocess(tmp_path, tools_path=tmp_path / "tools"),
        Session.inprocess("redis://h", tools_path=str(tmp_path / "tools")),
    ):
        assert made._executor.config.tools_path == tmp_path / "tools"
    monkeypatch.chdir(tmp_path)
    assert Session.from_base(".", tools_path="tools")._executor.config.tools_path == tmp_path.resolve() / "tools"
