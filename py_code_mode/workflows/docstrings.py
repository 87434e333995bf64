"""The docstrings of a workflow: what they say of it and of its parameters, and how its description is put in."""

from __future__ import annotations

import ast
import re

_SPHINX = re.compile(r"^\s*:param\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:\s*(.+)$", re.MULTILINE)
_GOOGLE = re.compile(r"^[ \t]+\*{0,2}(\w+)[ \t]*(?:\([^)\n]*\))?:[ \t]+(.+)$", re.MULTILINE)


def parameter_docs(docstring: str) -> dict[str, str]:
    """What a docstring in the manner of Google or Sphinx says of each parameter, the first line of it."""
    docs = {match[1]: match[2].strip() for match in _SPHINX.finditer(docstring)}
    section = re.search(r"^(?:Args|Arguments|Parameters):[ \t]*\n((?:[ \t]+.*\n?|[ \t]*\n)+)", docstring, re.MULTILINE)
    if section:
        docs |= {match[1]: match[2].strip() for match in _GOOGLE.finditer(section[1])}
    return docs


_EXAMPLE = re.compile(r"^[ \t]*>>> ", re.MULTILINE)


def told(doc: str) -> str:
    """What a docstring says before its examples, which are tests; all of it where it begins with them."""
    first = _EXAMPLE.search(doc)
    return (doc[: first.start()].strip() if first else "") or doc.strip()


def examples(doc: str) -> str:
    """The rest."""
    first = _EXAMPLE.search(doc)
    return doc[first.start() :] if first else ""


def module_doc(tree: ast.Module) -> str | None:
    """The docstring of a module, None where there is none."""
    # Not cleaned as ast.get_docstring does it: a module's docstring has no indentation of its own to lose.
    node = module_doc_node(next(iter(tree.body), None))
    return None if node is None else str(node.value)


def module_doc_node(first: ast.stmt | None) -> ast.Constant | None:
    """The same as a node, given the first statement."""
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return first.value
    return None


def literal(text: str) -> str:
    """``text`` as a docstring is written."""
    escaped = text.replace("\\", "\\\\")
    if '"""' in text or text.endswith('"'):
        escaped = escaped.replace('"', '\\"')
    written = f'"""{escaped}"""'
    # repr() writes the rest: controls, and a carriage return that Python would read as a line feed.
    plain = all(character.isprintable() or character == "\n" for character in text)
    return written if plain and ast.literal_eval(written) == text else repr(text)
