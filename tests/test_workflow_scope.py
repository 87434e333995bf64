"""What the source of a workflow can use, in a kernel and in-process."""

from __future__ import annotations

import pytest

from py_code_mode.session import Session

from .sessions import open_session

SAY = "name: say\ndescription: Say something\ncommand: echo\nschema: {positional: [{name: word}]}\n"

ALL_FOUR = '''async def run(word: str) -> dict:
    """Use everything."""
    import json

    try:
        tools.nothing()
    except ToolError as error:
        caught = type(error).__name__
    artifacts.save("said", {"word": tools.say(word=word)})
    return {
        "said": artifacts.load("said")["word"],
        "awaited": await tools.say(word=word),
        "twice": workflows.twice(word=word),
        "deps": json.loads(json.dumps(deps.list())),
        "caught": caught,
    }
'''


@pytest.mark.parametrize("kind", ["kernel", "inprocess"])
async def test_a_workflow_uses_the_four_names_without_await(tmp_path, kind):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "say.yaml").write_text(SAY)
    (tmp_path / "requirements.txt").write_text("six\n")
    async with open_session(tmp_path) if kind == "kernel" else Session.inprocess(tmp_path) as session:
        await session.add_workflow("twice", "async def run(word):\n    return word * 2\n", "Twice")
        await session.add_workflow("all_four", ALL_FOUR, "Use everything")
        assert (await session.run("workflows.all_four(word='hi')")).raise_for_error().value == {
            "said": "hi\n",
            "awaited": "hi\n",
            "twice": "hihi",
            "deps": ["six"],
            "caught": "ToolNotFoundError",
        }


async def test_a_workflow_of_one_session_is_there_in_the_next(tmp_path):
    source = "async def run() -> int:\n    return 7\n"
    async with Session.inprocess(tmp_path) as session:
        await session.add_workflow("seven", source, "Seven")
    assert (tmp_path / "workflows" / "seven.py").is_file()
    async with Session.inprocess(tmp_path) as session:
        assert (await session.run("workflows.seven()")).value == 7
