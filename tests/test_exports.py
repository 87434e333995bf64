"""What `import py_code_mode` offers, and what it costs."""

from __future__ import annotations

import ast
import subprocess
import sys
import typing
from importlib.metadata import version
from pathlib import Path

import pytest

import py_code_mode
from py_code_mode import errors

OTHERS = {
    "Capability",
    "BeginEvent",
    "ClearEvent",
    "DisplayEvent",
    "EndEvent",
    "ExecutionResult",
    "Executor",
    "FileStorage",
    "InProcessConfig",
    "InProcessExecutor",
    "MemoryStorage",
    "MissedEvents",
    "OutputEvent",
    "RedisStorage",
    "Session",
    "SessionEvent",
    "StartedRun",
    "StorageBackend",
    "StreamEvent",
    "SubprocessConfig",
    "SubprocessExecutor",
    "__version__",
}


def test_the_exports_are_the_decided_names_sorted_and_all_of_the_errors():
    assert set(py_code_mode.__all__) == OTHERS | set(errors.__all__)
    assert py_code_mode.__all__ == sorted(py_code_mode.__all__)


@pytest.mark.parametrize("name", py_code_mode.__all__)
def test_an_export_is_there_documented_and_of_a_public_module(name):
    found = getattr(py_code_mode, name)

    if isinstance(found, type):
        assert found.__doc__
        assert found.__module__.startswith(("py_code_mode.", "kernel_bootstrap."))
    else:
        assert isinstance(found, str) or typing.get_args(found)  # the version, the union of events


def test_type_checkers_see_exactly_what_is_exported():
    tree = ast.parse(Path(py_code_mode.__file__).read_text("utf-8"))
    (checking,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name for node in checking.body if isinstance(node, ast.ImportFrom) for alias in node.names}

    assert seen | {"__version__"} == set(py_code_mode.__all__)


def test_every_error_of_the_kernel_is_exported_by_the_host():
    from kernel_bootstrap.errors import BY_NAME

    assert set(BY_NAME) <= set(errors.__all__)


def test_the_version_is_that_of_the_installed_package():
    assert py_code_mode.__version__ == version("py-code-mode")


def test_dir_lists_the_exports_before_any_is_imported():
    listed = _run("import py_code_mode; print(set(py_code_mode.__all__) <= set(dir(py_code_mode)))")

    assert listed == "True"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Sesion'"):
        py_code_mode.Sesion  # noqa: B018


def test_importing_the_package_imports_nothing_slow():
    slow = "{'asyncio', 'click', 'jupyter_client', 'rich', 'yaml', 'zmq'}"

    assert _run(f"import sys, py_code_mode; print({slow} & set(sys.modules))") == "set()"


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()
