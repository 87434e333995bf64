"""A workspace in Redis, where kernels run: the command line, kernelspecs, magics, and the list of live sessions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from urllib.parse import quote

import pytest
import redis

from py_code_mode import RedisStorage, Session

from .frontends import add_kernelspec, jupyter_path, kernel_of, run, shown
from .labs import lab
from .redis_servers import RedisServer

PASSWORD = "hush/hush"
TOOL = "name: {0}\ncommand: [echo, {0}]\ndescription: Say it\n"


@pytest.fixture(scope="module", autouse=True)
def server():
    """A server with a password, which is in the environment as well."""
    with closing(RedisServer()) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEAM_PASSWORD", PASSWORD)
        with redis.Redis.from_url(server.url) as client:
            client.config_set("requirepass", PASSWORD)
        storage = RedisStorage(f"{server.url}?password={quote(PASSWORD, safe='')}", prefix="team")
        storage.get_tool_store().write("shared", TOOL.format("shared").encode())
        yield server


@pytest.fixture
def url(server):
    return f"unix://:${{TEAM_PASSWORD}}@{server.path}?prefix=team"


@pytest.fixture
def own(tmp_path):
    """A directory of tools."""
    (tmp_path / "own.yaml").write_text(TOOL.format("own"))
    return tmp_path


def command(*words):
    return subprocess.run(
        [sys.executable, "-m", "py_code_mode", *map(str, words)], capture_output=True, text=True, timeout=50
    )


def test_code_runs_on_a_workspace_in_redis_and_its_password_is_nowhere(server, url, own):
    written = f"unix://:{quote(PASSWORD, safe='')}@{server.path}?prefix=team"
    code = "import os; print([t['name'] for t in tools.list()], [n for n in os.environ if 'PASSWORD' in n])"
    done = command("run", "--base", written, f"{code}; artifacts.save('n', 1)['path']")
    assert (done.returncode, done.stdout) == (
        0,
        f"['shared'] ['TEAM_PASSWORD']\n'unix://{server.path}?db=0/team/artifacts/n'\n",
    ), done
    done = command("run", "--base", url, "--tools", own, f"{code}; artifacts.load('n')")
    assert (done.returncode, done.stdout) == (0, "['own'] []\n1\n"), done


async def test_a_live_session_is_listed_by_its_prefix_without_the_password(url):
    async with Session.from_base(url) as session:
        listed = command("sessions", "--json")
        assert [found["workspace"] for found in json.loads(listed.stdout)] == ["redis:team"]
        assert "hush" not in listed.stdout + command("sessions", session.id).stdout
        assert "hush" not in session.connection_file.read_text()


def test_a_kernelspec_starts_a_kernel_on_it_with_the_tools_of_a_directory(tmp_path, url, own):
    add_kernelspec(tmp_path / "jupyter", "team", base=url, tools=str(own))
    with jupyter_path(tmp_path / "jupyter"), kernel_of("team") as (_, client):
        assert shown(client, "[tool['name'] for tool in tools.list()]") == ["own"]
        assert shown(client, "artifacts.save('from a notebook', 1)['name']") == "from a notebook"
        assert shown(client, "import os; 'TEAM_PASSWORD' in os.environ") is False


def test_lab_has_its_kernel_on_the_files_of_the_current_directory_and_shows_no_password(server, own, monkeypatch):
    monkeypatch.chdir(own)
    written = f"unix://:{quote(PASSWORD, safe='')}@{server.path}?prefix=team"
    with lab(written, own / "user", "--tools", str(own)) as running:
        status, specs = running.ask("GET", "api/kernelspecs")
        assert (status, specs["default"]) == (200, "redis-team")
        assert "hush" not in json.dumps(specs)
        assert "own.yaml" in [item["name"] for item in running.ask("GET", "api/contents")[1]["content"]]
        status, _ = running.ask("POST", "api/kernels", {"name": "redis-team"})
        assert status == 201


def test_the_magics_open_it_and_show_no_password(server, url, own, tmp_path):
    with jupyter_path(tmp_path / "jupyter"), kernel_of("python3") as (_, client):
        written = f"unix://:{quote(PASSWORD, safe='')}@{server.path}?prefix=team"
        said = []
        for line in (
            "%load_ext py_code_mode",
            f"%code_mode {written} --tools {own}",
            "%%code_mode\nprint([tool['name'] for tool in tools.list()])",
            "%code_mode",
            "%code_mode close",
            f"%code_mode_here {written}",
            "print([tool['name'] for tool in tools.list()])",
            "%code_mode_here close",
        ):
            reply, outputs = run(client, line)
            assert reply["status"] == "ok", reply
            said += [json.dumps(output["content"]) for output in outputs]
        text = "\n".join(said)
        assert "hush" not in text
        assert f"A session on unix://{server.path}?prefix=team is open" in text
        assert text.index("['own']") < text.index("['shared']")
        reply, outputs = run(client, "%code_mode redis://:hu/sh@h", stop_on_error=False)
        shown_error = "\n".join(reply["traceback"]) + json.dumps([output["content"] for output in outputs])
        assert "percent-encode" in shown_error
        assert "hu/" not in shown_error


def test_the_doctor_looks_at_a_redis_and_says_what_is_wrong_with_it(server, url, cache):
    with redis.Redis.from_url(server.url, password=PASSWORD) as client:
        storage = RedisStorage(url)
        assert storage.server_facts()["role"] == "master"
        assert storage.server_facts()["version"].startswith(("Redis ", "Valkey "))
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            done = command("doctor", "--redis", url, "--json")
        finally:
            client.config_set("maxmemory", 0)
            client.config_set("maxmemory-policy", "noeviction")
    (check,) = [check for check in json.loads(done.stdout)["checks"] if check["name"] == "redis"]
    assert (done.returncode, check["ok"], check["facts"]["evicts"]) == (1, False, True)
    assert "maxmemory-policy noeviction" in check["advice"]
    assert check["facts"]["place"] == f"unix://{server.path}?db=0/team"
    assert "hush" not in done.stdout + done.stderr
    assert os.environ["TEAM_PASSWORD"] == PASSWORD
