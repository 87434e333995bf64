"""Every name of the reference, with its parameters and defaults."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from py_code_mode import FileStorage, MemoryStorage
from py_code_mode.executors.inprocess import InProcessConfig, InProcessExecutor
from py_code_mode.executors.kernel import SubprocessConfig, SubprocessExecutor
from py_code_mode.session import Session

from .sessions import open_session

COMMON = "extra_deps=None, allow_runtime_deps=True, sync_deps_on_start=False"
RECORD = "record=None"  # beyond the reference, as is the next
OWN = f"{RECORD}, tools_path=None"


def shape(function: Callable[..., Any]) -> str:
    """The parameters and their defaults, without annotations and ``self``."""
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name != "self"
    ]
    return str(inspect.Signature(parameters))


@pytest.mark.parametrize("timeout", [0, -1, "5", True, float("nan")])
async def test_a_timeout_that_is_no_time_is_refused_wherever_it_is_given(tmp_path, timeout):
    for make in (Session.from_base, Session.subprocess, Session.inprocess):
        with pytest.raises((TypeError, ValueError), match=r"timeout .* number of seconds"):
            make(tmp_path, timeout=timeout)
    async with Session.inprocess(tmp_path) as session:
        with pytest.raises((TypeError, ValueError), match=r"timeout .* number of seconds"):
            await session.run("1", timeout)


def test_one_requirement_is_not_taken_for_many(tmp_path):
    for make in (Session.from_base, Session.inprocess):
        with pytest.raises(TypeError, match=r"extra_deps is a tuple of requirements, such as \('six',\)"):
            make(tmp_path, extra_deps="six")


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (Session, f"(storage, executor=None, sync_deps_on_start=False, *, {RECORD})"),
        (Session.from_base, f"(base, *, timeout=30.0, {COMMON}, {OWN})"),
        (Session.subprocess, f"(base_path, *, timeout=60.0, {COMMON}, python_version=None, cache_venv=True, {OWN})"),
        (Session.inprocess, f"(base_path, *, timeout=30.0, {COMMON}, {OWN})"),
        (Session.close, "()"),
        (Session.reset, "()"),
        (Session.supports, "(capability)"),
        (Session.supported_capabilities, "()"),
        (Session.list_tools, "()"),
        (Session.search_tools, "(query, limit=10)"),
        (Session.list_workflows, "()"),
        (Session.search_workflows, "(query, limit=5)"),
        (Session.get_workflow, "(name, version=None)"),
        (Session.add_workflow, "(name, source, description, *, tags=None, test=False)"),
        (Session.remove_workflow, "(name)"),
        (Session.list_artifacts, "()"),
        (Session.save_artifact, "(name, data, description='', metadata=None)"),
        (Session.load_artifact, "(name)"),
        (Session.delete_artifact, "(name)"),
        (Session.list_deps, "()"),
        (Session.add_dep, "(package)"),
        (Session.remove_dep, "(package)"),
        (Session.sync_deps, "()"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_call_of_the_reference_has_its_parameters_and_defaults(call, expected):
    assert shape(call) == expected


@pytest.mark.parametrize("name", ["list_tools", "run", "start", "close", "reset", "save_artifact", "sync_deps"])
def test_what_the_reference_calls_async_is(name):
    assert inspect.iscoroutinefunction(getattr(Session, name))


def test_what_a_constructor_is_given_reaches_its_executor(tmp_path):
    options: dict[str, Any] = {"timeout": 5.0, "extra_deps": ("rich",), "allow_runtime_deps": False}
    for made, kind in (
        (Session.from_base(tmp_path, **options), SubprocessExecutor),
        (Session.subprocess(str(tmp_path), **options, python_version="3.11", cache_venv=False), SubprocessExecutor),
        (Session.inprocess(tmp_path, **options), InProcessExecutor),
    ):
        config = made._executor.config
        assert isinstance(made._executor, kind)
        assert (config.timeout, config.extra_deps, config.allow_runtime_deps) == (5.0, ("rich",), False)
        assert made.storage.base_path == tmp_path
    kernel = Session.subprocess(tmp_path, python_version="3.11", cache_venv=False)._executor.config
    assert (kernel.python_version, kernel.cache_venv) == ("3.11", False)


def test_the_limits_have_the_defaults_that_are_promised():
    assert (SubprocessConfig().max_output_bytes, SubprocessConfig().max_value_bytes) == (10 * 1024**2, 100 * 1000**2)
    assert InProcessConfig().max_output_bytes == 10 * 1024**2


async def test_limits_of_a_search_through_the_session_are_kept(tmp_path: Path):
    async with Session(MemoryStorage(), InProcessExecutor()) as session:
        for number in range(7):
            await session.add_workflow(f"count_{number}", "async def run():\n    return 1\n", "Count something")
        assert len(await session.search_workflows("count")) == 5
        assert len(await session.search_workflows("count", limit=2)) == 2
    (tmp_path / "tools").mkdir()
    for number in range(12):
        text = f"name: say{number}\ndescription: Say something\ncommand: echo\n"
        (tmp_path / "tools" / f"say{number}.yaml").write_text(text)
    async with Session(FileStorage(tmp_path), InProcessExecutor()) as session:
        assert len(await session.search_tools("say something")) == 10
        assert len(await session.search_tools("say something", 3)) == 3


async def test_the_namespaces_in_the_kernel_have_the_names_of_the_reference(tmp_path: Path):
    async with open_session(tmp_path) as session:
        code = (
            "wanted = {tools: 'list search', workflows: 'list search get create delete invoke',\n"
            "          artifacts: 'save load list exists get delete', deps: 'add list remove sync'}\n"
            "[(type(space).__name__, name) for space, names in wanted.items() for name in names.split()\n"
            " if not callable(getattr(type(space), name, None))]"
        )
        assert (await session.run(code)).raise_for_error().value == []
        assert (await session.run("import inspect; str(inspect.signature(artifacts.save))")).value == (
            "(name: 'str', data: 'Any', description: 'str' = '', metadata: 'dict[str, Any] | None' = None) "
            "-> 'dict[str, Any]'"
        )
