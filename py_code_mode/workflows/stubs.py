"""The workflows of a library as a typed stub, for a model to read and for editors and type checkers."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import kernel_bootstrap
from kernel_bootstrap.plaintext import clean, cut, one_line

from .annotations import Annotations, ImportedNames
from .workflow import Parameter, Workflow, parse

_LONGEST_DESCRIPTION = 2_000
_LONGEST_DEFAULT = 60

_HEAD = '''\
"""The workflows of this workspace: ``workflows.<name>(...)``, or ``workflows.<name>.call_async(...)`` for gather."""

# mypy: disable-error-code="{codes}"
{imports}

_P = {ParamSpec}("_P")
_R = {TypeVar}("_R", covariant=True)

class Workflow({Generic}[_P, _R]):
    """One workflow, callable."""

    source: {str}
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R: ...
    def call_async(self, *args: _P.args, **kwargs: _P.kwargs) -> {Coroutine}[{Any}, {Any}, _R]:
        """The same as an awaitable, for ``asyncio.gather``."""

def _workflow(run: {Callable}[{Concatenate}[{Any}, _P], _R], /) -> Workflow[_P, _R]: ...

class Workflows:
'''
_CODES = (
    "assignment",
    "attr-defined",
    "import-not-found",
    "import-untyped",
    "misc",
    "name-defined",
    "type-arg",
    "valid-type",
)
"""What annotations and defaults that people have written can be wrong in: they are then ``Any`` to the checker."""

_OWN_TYPES = {"Listing": "list[dict[str, Any]]", "Record": "dict[str, Any]", "Names": "list[str]"}
"""What the methods of the namespace give, by the names that they have in the kernel."""


def stubs(workflows: Sequence[Workflow]) -> str:
    """The text of a stub (.pyi) with ``workflows: Workflows``, which has a method for each workflow.

    It passes ``mypy --strict``. Types come from the sources, with the imports that they need; what is defined in a
    workflow, or cannot be resolved, is ``Any``. Broken workflows are named in comments.
    """
    own = _own_methods()
    names = ImportedNames(
        {*own, *(workflow.name for workflow in workflows), "workflows", "Workflow", "Workflows", "run"}
    )
    head = {name: names.get("typing", name) for name in ("Any", "Concatenate", "Generic", "ParamSpec", "TypeVar")}
    head |= {name: names.get("collections.abc", name) for name in ("Callable", "Coroutine")}
    plain = Annotations("from typing import Any", names)
    types = {name: plain.text(text) for name, text in _OWN_TYPES.items()}
    own_types = Annotations("from typing import Any", names, types)
    body = [_method(method, own_types) for method in own.values()]
    for workflow in sorted(workflows, key=lambda workflow: workflow.name):
        if workflow.broken is not None:
            body.append(f"    # {workflow.name} is broken: {one_line(workflow.broken, 1000)}\n")
        else:
            body.append(f"    @_workflow\n{_method(workflow, Annotations(workflow.source, names))}")
    text = _HEAD.format(codes=",".join(_CODES), imports="\n".join(names.lines()), str=names.builtin("str"), **head)
    return f"{text}{chr(10).join(body)}\nworkflows: Workflows\n"


@cache
def _own_methods() -> dict[str, Workflow]:
    """The methods that ``workflows`` has for itself, as the part in the kernel defines them, read as workflows are."""
    source = Path(kernel_bootstrap.__file__).with_name("workflows.py").read_text("utf-8")
    found: dict[str, Workflow] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and node.name == "Workflows":
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                    found[method.name] = _as_workflow(method)
    return found


def _as_workflow(method: ast.FunctionDef) -> Workflow:
    first = method.args.posonlyargs or method.args.args
    del first[0]  # self
    returns = ast.unparse(method.returns) if method.returns else "Any"
    text = f"async def run({ast.unparse(method.args)}) -> {returns}: {ast.get_docstring(method)!r}"
    return replace(parse("own", text), name=method.name)


def _method(workflow: Workflow, types: Annotations) -> str:
    line = f"    def {workflow.name}({_parameters(workflow, types)}) -> {types.text(workflow.returns)}:"
    told = [f"{p.name}: {one_line(p.doc)}" for p in workflow.parameters if p.doc]
    lines = [cut(workflow.description.strip(), _LONGEST_DESCRIPTION), *([""] if told else []), *told]
    return f"{line}\n{_docstring(chr(10).join(lines).strip())}"


def _parameters(workflow: Workflow, types: Annotations) -> str:
    taken = {parameter.name for parameter in workflow.parameters}
    if any(name.startswith("__") for name in taken):  # which a class would give other names
        return f"self, *args: {types.text(None)}, **kwargs: {types.text(None)}"
    written = [Parameter(_free("self", taken)), *(_typed(parameter, types) for parameter in workflow.parameters)]
    # With *args or **kwargs mypy would see that self can be given by name as well, and refuse the decorator.
    if any(parameter.kind in ("positional_only", "var_positional", "var_keyword") for parameter in workflow.parameters):
        written[0] = Parameter(written[0].name, kind="positional_only")
    # Workflow.signature knows where the stars and slashes go.
    return Workflow("", parameters=tuple(written)).signature()[1:-1]


def _free(name: str, taken: set[str]) -> str:
    return name if name not in taken else _free(f"_{name}", taken)


def _typed(parameter: Parameter, types: Annotations) -> Parameter:
    default = None if parameter.default is None else _default(parameter.default)
    annotation = types.optional(parameter.annotation) if default == "None" else types.text(parameter.annotation)
    return Parameter(parameter.name, annotation, default, parameter.kind)


def _default(text: str) -> str:
    """A default as it is to be read: itself where it is a plain value, ``...`` elsewhere."""
    if len(text) > _LONGEST_DEFAULT:
        return "..."
    match ast.parse(text, mode="eval").body:
        case ast.Constant(None | bool() | int() | float() | str() | bytes()):
            return text
        case ast.UnaryOp(ast.USub(), ast.Constant(int() | float())):
            return text
    return "..."


def _docstring(text: str) -> str:
    if not text:
        return "        ...\n"
    escaped = clean(text).replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    if escaped.endswith('"'):
        escaped = f'{escaped[:-1]}\\"'
    closing = '\n"""' if "\n" in escaped else '"""'
    return textwrap.indent(f'"""{escaped}{closing}', "        ") + "\n"
