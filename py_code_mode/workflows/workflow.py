"""One workflow: a Python file with an ``async def run``, read and checked here and never executed."""

from __future__ import annotations

import ast
import hashlib
import inspect
import keyword
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from py_code_mode.errors import WorkflowInvalidError

from .analysis import MetadataError, Requires, analyse
from .docstrings import examples, literal, module_doc, module_doc_node, parameter_docs, told

MAX_SOURCE_BYTES = 1 << 20
"""Longer sources are refused: nobody reads them, and parsing them would stop everything else."""

RESERVED = frozenset(
    {"list", "search", "get", "create", "delete", "invoke"}
    | {"history", "diff", "rollback", "stats", "test", "promote", "stubs"}
)
"""Names that the ``workflows`` namespace has for itself."""

_MAX_NAME_BYTES = 252  # with ".py" the 255 bytes of a file name
_EXPECTED = "expected 'async def run(<parameters>): ...' at the top level of the source"

_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "positional_only",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "positional_or_keyword",
    inspect.Parameter.VAR_POSITIONAL: "var_positional",
    inspect.Parameter.KEYWORD_ONLY: "keyword_only",
    inspect.Parameter.VAR_KEYWORD: "var_keyword",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of ``run``. ``annotation`` and ``default`` are source text, None where there is none.

    ``kind`` is the name of the ``inspect.Parameter`` kind in lower case; ``doc`` its line in the docstring.
    """

    name: str
    annotation: str | None = None
    default: str | None = None
    kind: str = "positional_or_keyword"
    doc: str = ""

    @property
    def required(self) -> bool:
        """Whether a call has to give it."""
        return self.default is None and not self.kind.startswith("var_")

    def to_dict(self) -> dict[str, Any]:
        """``name``, ``type``, ``required``, and ``default`` and ``description`` where there are such."""
        found: dict[str, Any] = {
            "name": self.name,
            "type": self.annotation or "Any",
            "required": self.required,
        }
        if self.default is not None:
            found["default"] = self.default
        if self.doc:
            found["description"] = self.doc
        return found

    def __str__(self) -> str:
        stars = {"var_positional": "*", "var_keyword": "**"}.get(self.kind, "")
        text = f"{stars}{self.name}"
        if self.annotation is not None:
            text += f": {self.annotation}"
        if self.default is not None:
            text += f" = {self.default}" if self.annotation is not None else f"={self.default}"
        return text


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow as it was parsed. ``broken`` says why it cannot be invoked; None: it can.

    ``path`` is the name of its file for tracebacks ("workflows/fetch_json.py"), ``digest`` the SHA-256 of
    ``source`` in hexadecimal, ``requires`` what its source uses. A broken one has no parameters, and no source when it
    could not be read.
    """

    name: str
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    returns: str | None = None
    source: str = ""
    path: str = ""
    digest: str = ""
    broken: str | None = None
    requires: Requires = field(default=Requires(), repr=False)

    def signature(self) -> str:
        """One line, as in ``fetch_json(url: str, limit: int = 10) -> dict``."""
        parts: list[str] = []
        kinds = [parameter.kind for parameter in self.parameters]
        for index, parameter in enumerate(self.parameters):
            if parameter.kind == "keyword_only" and not {"keyword_only", "var_positional"} & set(kinds[:index]):
                parts.append("*")
            parts.append(str(parameter))
            if parameter.kind == "positional_only" and kinds[index + 1 : index + 2] != ["positional_only"]:
                parts.append("/")
        returns = f" -> {self.returns}" if self.returns is not None else ""
        return f"{self.name}({', '.join(parts)}){returns}"

    def call(self) -> str:
        """``signature()``; of a broken one its name."""
        return self.name if self.broken is not None else self.signature()

    def summary(self) -> dict[str, Any]:
        """``name``, ``description``, ``parameters`` (a dict each), and ``broken`` only when it is."""
        found: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "parameters": [parameter.to_dict() for parameter in self.parameters],
        }
        if self.broken is not None:
            found["broken"] = self.broken
        return found

    def to_dict(self) -> dict[str, Any]:
        """``summary()`` with ``source``, ``returns`` (source text, or None), ``tags``, and what it ``requires``:
        ``tools``, ``workflows``, imported ``packages`` and declared ``dependencies``, a list each."""
        requires = self.requires
        return self.summary() | {
            "source": self.source,
            "returns": self.returns,
            "tags": [*requires.tags],
            "requires": {
                "tools": [*requires.tools],
                "workflows": [*requires.workflows],
                "packages": [*requires.packages],
                "dependencies": [*requires.dependencies],
            },
        }


def workflow_path(name: str) -> str:
    """The path of a workflow inside its workspace, with ``/``; the same whatever the storage."""
    return f"workflows/{name}.py"


def check_name(name: str) -> None:
    """Raises WorkflowInvalidError, with the reason and a better name, unless a workflow can have ``name``."""
    if not isinstance(name, str):
        raise WorkflowInvalidError(f"the name of a workflow is a string, not {type(name).__name__}")
    reason = _name_problem(name)
    if reason is not None:
        raise WorkflowInvalidError(
            f"{name!r} cannot be the name of a workflow: {reason}; try {_suggest(name)!r}", workflow=name
        )


def _name_problem(name: str) -> str | None:
    if not name.isidentifier():
        return "it is not a Python identifier (letters, digits and _, no digit first)"
    if keyword.iskeyword(name):
        return "it is a keyword of Python"
    if name in RESERVED:
        return f"workflows.{name} is a method"
    if name.startswith("_"):
        return "names that begin with _ are private"
    if unicodedata.normalize("NFKC", name) != name:
        return "Python would read it as another identifier"
    if len(name.encode()) > _MAX_NAME_BYTES:
        return f"it is longer than {_MAX_NAME_BYTES} bytes"
    return None


def _suggest(name: str) -> str:
    stem = re.sub(r"\W+", "_", unicodedata.normalize("NFKC", name)).strip("_")[:60]
    for candidate in (stem, f"{stem}_workflow", f"run_{stem}") if stem else ():
        if _name_problem(candidate) is None:
            return candidate
    return "my_workflow"


def parse(name: str, source: str) -> Workflow:
    """The workflow of a source. Raises WorkflowInvalidError with the line and what was expected.

    The source is parsed and compiled, never run.
    """
    check_name(name)
    path = workflow_path(name)
    data = _encode(name, source)
    tree = _tree(name, source)
    run = _find_run(name, tree)
    doc = module_doc(tree)
    try:
        parameters = tuple(_parameters(run))
        returns = ast.unparse(run.returns) if run.returns else None
        requires = analyse(tree, source)
    except MetadataError as error:
        raise _invalid(name, error.reason, error.line) from None
    except RecursionError:
        raise _invalid(name, "its annotations are nested too deeply", run.lineno) from None
    return Workflow(
        name=name,
        description=told(doc if doc is not None else ast.get_docstring(run) or ""),
        parameters=parameters,
        returns=returns,
        source=source,
        path=path,
        digest=hashlib.sha256(data).hexdigest(),
        requires=requires,
    )


def describe(name: str, source: str, description: str) -> str:
    """``source`` with ``description`` as its module docstring, in place of the one it has.

    Examples in that stay, unless ``description`` has some.
    """
    first = next(iter(_tree(name, source).body), None)
    known = module_doc_node(first)
    kept = "" if known is None or examples(description) else examples(str(known.value))
    text = literal(f"{description}\n\n{kept}" if kept else description)
    if known is None:
        # Before everything else, __future__ imports included; a "#!" line only counts where it is the first.
        head = re.match(r"(?:#!.*(?:\r\n|\r|\n))?", source)
        end = head.end() if head else 0
        return f"{source[:end]}{text}\n\n{source[end:]}"
    assert first is not None
    assert first.end_lineno is not None
    assert first.end_col_offset is not None
    data = source.encode()
    starts = [0, *(match.end() for match in re.finditer(rb"\r\n|\r|\n", data))]
    begin = starts[first.lineno - 1] + first.col_offset
    end = starts[first.end_lineno - 1] + first.end_col_offset
    return (data[:begin] + text.encode() + data[end:]).decode()


def _encode(name: str, source: str) -> bytes:
    if not isinstance(source, str):
        raise _invalid(name, f"its source is a string, not {type(source).__name__}")
    try:
        data = source.encode()
    except UnicodeEncodeError as error:
        line = source.count("\n", 0, error.start) + 1
        raise _invalid(name, "it has a lone surrogate, which no file can hold", line) from None
    if len(data) > MAX_SOURCE_BYTES:
        raise _invalid(name, f"it has {len(data):,} bytes, more than {MAX_SOURCE_BYTES:,}")
    if "\0" in source:
        raise _invalid(name, "it has a NUL character", source.count("\n", 0, source.index("\0")) + 1)
    return data


def _tree(name: str, source: str) -> ast.Module:
    try:
        tree = ast.parse(source, workflow_path(name))
        # Parsing alone lets a "return" outside a function pass, and the like.
        compile(tree, workflow_path(name), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise _invalid(name, f"it does not parse: {error.msg}", error.lineno) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise _invalid(name, f"it does not parse: {str(error) or 'it is nested too deeply'}") from None
    return tree


def _find_run(name: str, tree: ast.Module) -> ast.AsyncFunctionDef:
    found = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == "run"
    ]
    if not found:
        raise _invalid(name, f"it has no 'async def run': {_EXPECTED}")
    run = found[-1]
    if not isinstance(run, ast.AsyncFunctionDef):
        what = "a class" if isinstance(run, ast.ClassDef) else "a plain function"
        raise _invalid(name, f"'run' is {what}: {_EXPECTED}", run.lineno)
    for node in _own_nodes(run):
        if isinstance(node, ast.Yield | ast.YieldFrom):
            raise _invalid(name, "'run' yields: collect the values and return them", node.lineno)
    return run


def _own_nodes(function: ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            waiting.extend(ast.iter_child_nodes(node))


def _parameters(run: ast.AsyncFunctionDef) -> Iterator[Parameter]:
    docs = parameter_docs(ast.get_docstring(run) or "")
    arguments = run.args
    positional = [*arguments.posonlyargs, *arguments.args]
    missing: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    defaults = [*missing, *arguments.defaults]

    def parameter(argument: ast.arg, default: ast.expr | None, kind: Any) -> Parameter:
        annotation = ast.unparse(argument.annotation) if argument.annotation else None
        text = ast.unparse(default) if default is not None else None
        return Parameter(argument.arg, annotation, text, _KINDS[kind], docs.get(argument.arg, ""))

    for index, (argument, default) in enumerate(zip(positional, defaults, strict=True)):
        only = index < len(arguments.posonlyargs)
        kind = inspect.Parameter.POSITIONAL_ONLY if only else inspect.Parameter.POSITIONAL_OR_KEYWORD
        yield parameter(argument, default, kind)
    if arguments.vararg:
        yield parameter(arguments.vararg, None, inspect.Parameter.VAR_POSITIONAL)
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield parameter(argument, default, inspect.Parameter.KEYWORD_ONLY)
    if arguments.kwarg:
        yield parameter(arguments.kwarg, None, inspect.Parameter.VAR_KEYWORD)


def _invalid(name: str, reason: str, line: int | None = None) -> WorkflowInvalidError:
    where = workflow_path(name) if line is None else f"{workflow_path(name)}:{line}"
    return WorkflowInvalidError(f"{where}: {reason}", workflow=name)
