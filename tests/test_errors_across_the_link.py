"""Errors keep their type on the way into the kernel, and out of it."""

from __future__ import annotations

import pytest

from kernel_bootstrap.errors import BY_NAME
from py_code_mode.session import Session

from .sessions import open_session

FAIL = "name: fail\ndescription: Always fails\ncommand: [sh, -c, 'exit 3']\n"


@pytest.fixture(autouse=True, scope="module")
def failing_tool(shared: Session) -> None:
    folder = shared.storage.base_path / "tools"
    folder.mkdir()
    (folder / "fail.yaml").write_text(FAIL)


@pytest.mark.parametrize(
    ("code", "error", "parents"),
    [
        ("tools.fail()", "ToolCommandError", ["ToolError", "CodeModeError"]),
        ("tools.nothing()", "ToolNotFoundError", ["ToolError", "AttributeError"]),
        ("tools.fail(what=1)", "ToolArgumentError", ["ToolError", "TypeError"]),
        ("workflows.nothing()", "WorkflowNotFoundError", ["WorkflowError", "CodeModeError"]),
        ("workflows.invoke('nothing')", "WorkflowNotFoundError", ["WorkflowError"]),
        ("workflows.create('w', 'x = 1', 'No run')", "WorkflowInvalidError", ["WorkflowError", "ValueError"]),
        ("artifacts.load('nothing')", "ArtifactNotFoundError", ["ArtifactError", "LookupError"]),
        ("artifacts.exists('../out')", "ArtifactNameError", ["ArtifactError", "ValueError"]),
        ("deps.add('./path')", "RequirementError", ["DependencyError", "ValueError"]),
    ],
)
async def test_an_error_is_caught_in_the_kernel_by_its_name_and_its_parents(shared, code, error, parents):
    for name in (error, *parents):
        caught = await shared.run(f"try:\n    {code}\nexcept {name} as e:\n    name = type(e).__name__\nname")
        assert caught.raise_for_error().value == error


async def test_every_error_of_the_namespaces_is_a_name_in_the_kernel(shared: Session):
    names = sorted(name for name in BY_NAME if name != "LinkError")
    assert (await shared.run(f"[n for n in {names} if not issubclass(globals()[n], CodeModeError)]")).value == []


async def test_an_error_that_the_code_lets_through_names_its_type_and_message(shared: Session):
    result = await shared.run("workflows.nothing()")
    assert result.error_name == "WorkflowNotFoundError"
    assert (result.error or "").startswith("WorkflowNotFoundError: no workflow 'nothing'")
    assert (result.traceback or "").count("  File ") == 1


async def test_refused_dependencies_are_caught_by_name_in_the_kernel(tmp_path):
    async with open_session(tmp_path, allow_runtime_deps=False) as session:
        for call in ("deps.add('six')", "deps.remove('six')"):
            code = f"try:\n    {call}\nexcept RuntimeDepsDisabledError as e:\n    found = str(e)\nfound"
            assert "allow_runtime_deps=False" in (await session.run(code)).raise_for_error().value
