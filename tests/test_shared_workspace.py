"""A workspace that a person has open in a front end while an agent's session works on it: each sees what the other
does at its next call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from py_code_mode import FileStorage, Session

from .frontends import add_kernelspec, jupyter_path, kernel_of, shown
from .venvs import make_wheel, use_only

TOOL = (
    "name: {name}\ntype: cli\ncommand: printf\nschema:\n  positional: [{{name: text, type: string, required: true}}]\n"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def person(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockingKernelClient]:
    """What a person has: a kernel of the workspace, started by a front end."""
    directory = tmp_path_factory.mktemp("jupyter")
    add_kernelspec(directory, "workspace", base=str(base))
    with pytest.MonkeyPatch.context() as patch, jupyter_path(directory):
        wheels = tmp_path_factory.mktemp("wheels")
        for name in ("alpha", "beta"):
            make_wheel(wheels, name)
        use_only(wheels, patch)
        with kernel_of("workspace") as (_, client):
            yield client


@pytest.fixture
async def agent(base: Path, person: BlockingKernelClient) -> AsyncIterator[Session]:
    async with Session(FileStorage(base)) as session:
        yield session


async def ask(person: BlockingKernelClient, code: str) -> object:
    return await asyncio.to_thread(shown, person, code)


WORKFLOW = "async def run(n: int) -> int:\\n    return {factor} * n\\n"


async def test_workflows_go_both_ways(agent, person):
    await ask(person, f"workflows.create('times', '{WORKFLOW.format(factor=2)}', 'Times two'); 1")
    assert (await agent.run("workflows.times(n=4)")).value == 8
    await agent.run(f"workflows.create('times', '{WORKFLOW.format(factor=3)}', 'Times three')")
    assert await ask(person, "workflows.times(n=4)") == 12
    await agent.remove_workflow("times")
    assert await ask(person, "[w['name'] for w in workflows.list()]") == []


async def test_a_workflow_that_is_edited_in_an_editor_is_seen_by_both(agent, person, base):
    await agent.add_workflow("edited", "async def run() -> int:\n    return 1\n", "One")
    assert (await agent.run("workflows.edited()")).value == await ask(person, "workflows.edited()") == 1
    path = base / "workflows" / "edited.py"
    path.write_text(path.read_text().replace("return 1", "return 22"))
    assert (await agent.run("workflows.edited()")).value == await ask(person, "workflows.edited()") == 22


async def test_artifacts_go_both_ways(agent, person):
    await ask(person, "artifacts.save('shared', {'by': 'person'}); 1")
    assert (await agent.run("artifacts.load('shared')")).value == {"by": "person"}
    await agent.save_artifact("shared", {"by": "agent"})
    assert await ask(person, "artifacts.load('shared')") == {"by": "agent"}
    await ask(person, "artifacts.delete('shared'); 1")
    assert (await agent.run("artifacts.exists('shared')")).value is False


async def test_a_tool_that_is_defined_meanwhile_can_be_called_by_both(agent, person, base):
    (base / "tools").mkdir(exist_ok=True)
    (base / "tools" / "echoed.yaml").write_text(TOOL.format(name="echoed"))
    assert (await agent.run("tools.echoed(text='a')")).value == "a"
    assert await ask(person, "tools.echoed(text='p')") == "p"
    (base / "tools" / "echoed.yaml").unlink()
    assert (await agent.run("tools.list()")).value == []
    assert await ask(person, "list(tools.list())") == []


async def test_dependencies_go_both_ways(agent, person):
    await ask(person, "deps.add('alpha')['installed']")
    assert (await agent.run("import alpha; alpha.VERSION")).value == "1.0"
    assert await agent.list_deps() == ["alpha"]
    await agent.add_dep("beta")
    assert await ask(person, "__import__('beta').VERSION") == "1.0"
    assert await ask(person, "list(deps.list())") == ["alpha", "beta"]
    await ask(person, "deps.remove('alpha')['removed']")
    assert await agent.list_deps() == ["beta"]
