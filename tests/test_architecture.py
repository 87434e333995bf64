"""Imports go one way, and the sources stay small."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

LAYERS = (
    (
        "py_code_mode.cli",
        "py_code_mode.jupyter",
        "py_code_mode.__main__",
        "py_code_mode",
    ),  # the last for its lazy exports
    (
        "py_code_mode.session",
        "py_code_mode.asking",
        "py_code_mode.trying",
        "py_code_mode.startedrun",
        "py_code_mode.watch",
    ),
    ("py_code_mode.workspace",),
    ("py_code_mode.executors",),
    ("py_code_mode.inprocess",),
    (
        "py_code_mode.kernel.pool",
        "py_code_mode.kernel.running",
        "py_code_mode.kernel.provisioner",
        "py_code_mode.kernel.execution",
        "py_code_mode.kernel.client",
        "py_code_mode.kernel.others",
        "py_code_mode.kernel.messages",
    ),
    ("py_code_mode.host",),
    ("py_code_mode.kernel",),  # the engine and virtualenvs, which know neither the session nor its namespaces
    ("py_code_mode.transfer",),
    ("py_code_mode.storage",),
    ("py_code_mode.tools",),
    ("py_code_mode.workflows", "py_code_mode.artifacts"),
    ("py_code_mode.kernel.commands", "py_code_mode.kernel.processes", "py_code_mode.kernel.channel"),
    ("py_code_mode.deps",),
    ("py_code_mode.tools.hints", "py_code_mode.ranking", "py_code_mode.search"),
    (
        "py_code_mode.results",
        "py_code_mode.resultview",
        "py_code_mode.errors",
        "py_code_mode.handover",
        "py_code_mode.live",
    ),
    ("kernel_bootstrap",),
)
"""From the top down. A module belongs to the layer that names most of it, and imports from its own and lower ones."""

SHARED = (
    "arguments",
    "codec",
    "errors",
    "faults",
    "formats",
    "headtail",
    "html",
    "look",
    "loops",
    "plaintext",
    "previews",
    "proctree",
    "render",
    "supervisor",
    "tracebacks",
    "views",
    "wire",
    "workflow_tests",
)
"""Modules of kernel_bootstrap that the host imports as well, for what both sides have to agree on."""

IN_PROCESS = ("link", "namespaces")
"""Those that only an in-process session imports beside them: there the host is the kernel."""


def sources() -> dict[str, Path]:
    """Every module of the two packages, by name."""
    files = [*ROOT.glob("py_code_mode/**/*.py"), *ROOT.glob("kernel_bootstrap/**/*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


SOURCES = sources()


def imports(module: str) -> Iterator[str]:
    """The modules of ours that ``module`` imports, anywhere in it and for type checkers as well."""
    package = module if SOURCES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(SOURCES[module].read_text("utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            # `from package import module` is about the module, `from module import name` about what precedes.
            names = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in SOURCES else base for alias in node.names]
        yield from (name for name in names if name in SOURCES)


def layer(module: str) -> int:
    """The layer of ``module``, 0 at the bottom."""
    fits = [
        (len(prefix), len(LAYERS) - height)
        for height, layer in enumerate(LAYERS)
        for prefix in layer
        if module == prefix or module.startswith(f"{prefix}.")
    ]
    return max(fits)[1]


def test_no_module_imports_from_a_layer_above_its_own():
    # What the package offers is imported lazily, so that every module may ask it for its version.
    upwards = [
        f"{module} imports {name}"
        for module in SOURCES
        for name in imports(module)
        if name != "py_code_mode" and layer(name) > layer(module)
    ]
    assert upwards == []


def test_the_part_in_the_kernel_never_imports_the_host():
    kernel = [module for module in SOURCES if module.startswith("kernel_bootstrap")]
    assert [(module, name) for module in kernel for name in imports(module) if name.startswith("py_code_mode")] == []


def test_the_host_imports_of_the_kernels_part_only_what_the_two_share():
    others = [
        f"{module} imports {name}"
        for module in SOURCES
        if module.startswith("py_code_mode.")
        for name in imports(module)
        if name.startswith("kernel_bootstrap.")
        and name.partition(".")[2] not in (*SHARED, *(IN_PROCESS if ".inprocess." in module else ()))
    ]
    assert others == []


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_module_imports_only_the_standard_library(name):
    # -S: there are no other packages than those of the standard library and ours.
    assert run(f"import kernel_bootstrap.{name}; print('imported')", "-S") == "imported"


def test_importing_the_package_imports_none_of_what_it_stands_on():
    heavy = "{'asyncio', 'click', 'jupyter_client', 'numpy', 'pandas', 'rich', 'yaml', 'zmq'}"
    assert run(f"import sys, py_code_mode; print({heavy} & set(sys.modules))") == "set()"


def test_modules_and_functions_stay_short():
    long_modules = {
        name: lines for name, path in SOURCES.items() if (lines := len(path.read_text().splitlines())) > 400
    }
    long_functions = {
        f"{name}.{node.name}": lines
        for name, path in SOURCES.items()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > 70
    }
    assert (long_modules, long_functions) == ({}, {})


@pytest.mark.parametrize("word", ["raise NotImplementedError", "TODO", "FIXME", "XXX"])
def test_nothing_is_left_for_later(word):
    assert [name for name, path in SOURCES.items() if word in path.read_text("utf-8")] == []


def run(code: str, *options: str) -> str:
    """What ``code`` prints in a Python of its own that finds our packages in the repository."""
    command = [sys.executable, *options, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
