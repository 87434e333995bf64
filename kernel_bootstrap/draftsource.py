"""The parts of a workflow put together as a file: docstring, declared packages, imports, definitions, ``run``."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Sequence

_LONGEST_LINE = 120
_ALWAYS_THERE = {"IPython", "ipykernel", "kernel_bootstrap", "zmq"}


def write(
    description: str, imports: Iterable[str], definitions: Sequence[str], head: tuple[Sequence[str], str], body: str
) -> tuple[str, list[str]]:
    """The source, and what a person should know of its packages.

    ``head`` are the parameters of ``run`` and what follows its closing parenthesis; ``body`` is indented already.
    """
    imported = "\n".join(_sorted(imports))
    parts = [imported, *definitions, f"{_signature(*head)}\n{body}"]
    code = "\n\n\n".join(part for part in parts if part) + "\n"
    requirements, notes = _requirements(ast.parse(code))
    block = ""
    if requirements:
        listed = ", ".join(f'"{name}"' for name in requirements)
        block = f"# /// script\n# dependencies = [{listed}]\n# ///\n\n"
    return f"{_docstring(description)}\n\n{block}{'' if imported or block else chr(10)}{code}", notes


def _sorted(imports: Iterable[str]) -> list[str]:
    """Those of ``__future__`` first, all others in their order, none twice."""
    once = list(dict.fromkeys(imports))
    return sorted(once, key=lambda text: not text.startswith("from __future__ "))


def _signature(parameters: Sequence[str], returns: str) -> str:
    line = f"async def run({', '.join(parameters)}){returns}:"
    if len(line) <= _LONGEST_LINE or not parameters:
        return line
    listed = "".join(f"    {parameter},\n" for parameter in parameters)
    return f"async def run(\n{listed}){returns}:"


def _docstring(text: str) -> str:
    escaped = text.strip().replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    if escaped.endswith('"'):
        escaped = f'{escaped[:-1]}\\"'
    literal = f'"""{escaped}"""'
    plain = all(character.isprintable() or character == "\n" for character in text)
    return literal if plain else repr(text.strip())


def _requirements(tree: ast.Module) -> tuple[list[str], list[str]]:
    """The distributions of what a source imports and Python does not bring."""
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0]: None for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found[node.module.partition(".")[0]] = None
    packages = sorted(found.keys() - sys.stdlib_module_names - _ALWAYS_THERE)
    if not packages:
        return [], []
    from importlib import metadata  # with the look at what is installed 20 ms and more

    known = metadata.packages_distributions()
    requirements: set[str] = set()
    notes: list[str] = []
    for package in packages:
        names = sorted(set(known.get(package, ())))
        if len(names) == 1 and metadata.distribution(names[0]).read_text("direct_url.json") is None:
            requirements.add(names[0])
        elif names:
            notes.append(f"{package!r} is of {' or '.join(names)}, which is not declared: add what it needs by hand")
        else:
            notes.append(f"{package!r} is of no installed package: the workflow runs only where it can be imported")
    return sorted(requirements, key=str.casefold), notes
