"""The Session's own methods: the twins of the namespaces, constructors and capabilities."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from py_code_mode.errors import (
    ArtifactNotFoundError,
    RuntimeDepsDisabledError,
    StorageError,
    WorkflowInvalidError,
)
from py_code_mode.executors.kernel import SubprocessConfig, SubprocessExecutor
from py_code_mode.session import Session
from py_code_mode.storage.file import FileStorage

from .sessions import SharedVenvStorage, open_session

REFERENCE_SOURCE = """async def run(url: str) -> dict:
    import json
    response = tools.curl.get(url=url)
    return json.loads(response)
"""

CURL = """\
name: curl
description: Make HTTP requests
command: curl
schema:
  positional: [{name: url, type: string, required: true}]
recipes:
  get: {description: Simple GET request, params: {url: {}}}
"""


async def test_workflows_through_the_session(session: Session):
    made = await session.add_workflow(name="fetch_json", source=REFERENCE_SOURCE, description="Fetch and parse JSON")
    assert made["name"] == "fetch_json"
    listed = await session.list_workflows()
    assert [(item["name"], item["description"]) for item in listed] == [("fetch_json", "Fetch and parse JSON")]
    assert "source" not in listed[0]
    assert (await session.search_workflows("parse json"))[0]["name"] == "fetch_json"
    got = await session.get_workflow("fetch_json")
    assert got is not None
    assert "tools.curl.get(url=url)" in got["source"]
    assert await session.get_workflow("none") is None
    assert await session.remove_workflow("fetch_json") is True
    assert await session.remove_workflow("fetch_json") is False
    with pytest.raises(WorkflowInvalidError):
        await session.add_workflow(name="bad", source="def run(): pass", description="Not async")


async def test_artifacts_through_the_session(session: Session):
    saved = await session.save_artifact("a/b", [1, 2], description="Numbers", metadata={"k": 1})
    assert saved["name"] == "a/b"
    assert await session.load_artifact("a/b") == [1, 2]
    assert (await session.run("artifacts.load('a/b')")).value == [1, 2]
    (listed,) = await session.list_artifacts()
    assert {"name", "path", "description", "metadata", "created_at"} <= listed.keys()
    assert await session.delete_artifact("a/b") is None
    with pytest.raises(ArtifactNotFoundError):
        await session.load_artifact("a/b")


async def test_tools_through_the_session(session: Session):
    base: Path = session.storage.base_path
    (base / "tools").mkdir()
    (base / "tools" / "curl.yaml").write_text(CURL)
    assert [item["name"] for item in await session.list_tools()] == ["curl"]
    assert (await session.list_tools())[0].keys() == {"name", "description", "tags"}
    assert (await session.search_tools("http request"))[0]["name"] == "curl"


async def test_the_storage_gives_its_library_and_stores(session: Session):
    assert session.storage.get_workflow_library().list() == []
    assert session.storage.get_artifact_store().list() == []


async def test_capabilities_are_told(session: Session):
    assert session.supported_capabilities() == {"timeout", "process_isolation", "reset", "deps_install"}
    assert session.supports("timeout")
    assert not session.supports("network_isolation")
    assert not session.supports("telepathy")


def test_the_constructors_have_the_defaults_of_the_reference(tmp_path):
    assert Session.from_base(tmp_path)._executor.config.timeout == 30.0
    assert Session.subprocess(tmp_path)._executor.config.timeout == 60.0
    assert Session.inprocess(tmp_path)._executor.config.timeout == 30.0
    assert isinstance(Session(FileStorage(base_path=tmp_path))._executor, SubprocessExecutor)
    assert Session.from_base(tmp_path, timeout=None)._executor.config.timeout is None


def test_wrong_storage_and_executor_are_type_errors(tmp_path):
    with pytest.raises(TypeError, match="storage must be"):
        Session(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="executor must be"):
        Session(FileStorage(tmp_path), "subprocess")  # type: ignore[arg-type]


async def test_a_missing_base_is_created_and_a_tilde_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    async with Session(SharedVenvStorage("~/deep/base")) as session:
        assert (await session.run("import os; os.getcwd()")).value == str(tmp_path / "deep" / "base")


async def test_a_base_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        async with open_session(tmp_path / "file" / "base"):
            pass


async def test_tools_of_another_directory_and_variables_for_the_kernel(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "curl.yaml").write_text(CURL)
    async with open_session(tmp_path / "base", tools_path=tmp_path / "elsewhere", env={"GREETING": "hi"}) as session:
        assert [item["name"] for item in await session.list_tools()] == ["curl"]
        assert (await session.run("import os; os.environ['GREETING']")).value == "hi"


async def test_secrets_of_tools_never_enter_the_kernel(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "hunter2")
    monkeypatch.setenv("OTHER", "visible")
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "t.yaml").write_text(
        "name: t\ndescription: Show\ncommand: [sh, -c, 'test -n \"$TOKEN\" && echo has it']\nenv: {TOKEN: '${MY_TOKEN}'}\n"
    )
    async with open_session(tmp_path) as session:
        assert (await session.run("tools.t()")).value == "has it\n"
        code = "import os; ''.join(open(f'/proc/{p}/environ').read() for p in ('self', os.getppid())) + str(dict(os.environ))"
        seen = (await session.run(code)).value
        assert "hunter2" not in seen
        assert "visible" in seen
        assert "PYTEST_CURRENT_TEST" not in seen


async def test_runtime_dependencies_can_be_switched_off(tmp_path):
    (tmp_path / "requirements.txt").write_text("# none yet\n")
    async with open_session(tmp_path, allow_runtime_deps=False) as session:
        with pytest.raises(RuntimeDepsDisabledError):
            await session.add_dep("six")
        with pytest.raises(RuntimeDepsDisabledError):
            await session.remove_dep("six")
        code = "try:\n    deps.add('six')\nexcept RuntimeDepsDisabledError: r = 'refused'\nr, deps.list(), deps.sync()"
        assert (await session.run(code)).value == (
            "refused",
            [],
            {"installed": [], "already_present": [], "failed": []},
        )
        assert await session.list_deps() == []
        assert session.supports("deps_install")


def test_configurations_are_frozen_and_named(tmp_path):
    config = SubprocessConfig(tools_path=tmp_path)
    with pytest.raises(AttributeError):
        config.timeout = 1  # type: ignore[misc]
    assert SubprocessExecutor(config=config).config is config


async def test_the_environment_of_the_host_is_left_alone(session: Session):
    before = dict(os.environ)
    await session.run("import os; os.environ['X'] = '1'")
    assert dict(os.environ) == before
