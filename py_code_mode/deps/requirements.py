"""requirements.txt as people write it: read, changed in one line, and otherwise kept to the byte.

A line is a requirement (PEP 508), or blank, or a comment, or something that is kept but not handled here
(an option, a path, what does not parse), which ``problems`` reports. A backslash at the end of a line
joins it with the next one, as pip does it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from py_code_mode.errors import RequirementError

MAX_LENGTH = 500
"""Characters of a requirement given at run time."""

_PHYSICAL = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_COMMENT = re.compile(r"(?:^|[ \t]+)#.*$")
_OPTIONS = re.compile(r"[ \t]+-")
_PATH = re.compile(r"^(?:[.~/\\]|[A-Za-z]:[\\/])|\.(?:whl|zip|tar\.gz|tar\.bz2|tgz)$|^[^@\s]*[/\\]")
_SEVERAL = re.compile(r"^[A-Za-z0-9][\w.\-]*(?:\[[^\]]*\])?[^;@#]*?[\s,]+[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that is kept but not installed: where it is ("requirements.txt:3"), its text, and why."""

    where: str
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Line:
    """A logical line. ``raw`` is all of it, line ends included; ``text`` what it says, without a comment."""

    raw: str
    number: int
    text: str
    comment: str = ""
    name: str | None = None
    problem: str | None = None


def parse_runtime(text: str) -> Requirement:
    """The requirement in ``text``, given at run time. Raises RequirementError, which says why.

    A name with extras and versions is accepted; a direct URL, a path, an option and an environment marker
    are not, nor are several requirements in one string.
    """
    if not isinstance(text, str):
        raise RequirementError(f"a requirement is a string such as 'pandas>=2', not {type(text).__name__}")
    stripped = text.strip()
    reason = _refusal(stripped)
    if reason is None:
        try:
            requirement = Requirement(stripped)
        except InvalidRequirement as error:
            reason = _explain(stripped, error)
        else:
            reason = _beyond_runtime(requirement)
            if reason is None:
                return requirement
    shown = text if len(text) <= MAX_LENGTH else text[:40] + "..."
    raise RequirementError(f"{shown!r} is refused: {reason}", requirement=text)


def _refusal(text: str) -> str | None:
    if not text:
        return "it is empty; name a package, such as 'pandas>=2'"
    if len(text) > MAX_LENGTH:
        return f"it has {len(text):,} characters, more than {MAX_LENGTH}"
    if not text.isprintable():
        return "it has line breaks or control characters; give one requirement at a time"
    if text.startswith("-"):
        return "options are not accepted at run time; write them into requirements.txt"
    if "://" in text or re.match(r"(?:git|hg|svn|bzr)\+", text):
        return "direct URLs are not accepted at run time; write them into requirements.txt"
    if _PATH.search(text):
        return "paths are not accepted at run time; write them into requirements.txt"
    return None


def _explain(text: str, error: InvalidRequirement) -> str:
    if _SEVERAL.match(text):
        return "it looks like several requirements; give one at a time"
    return f"it is not a requirement (PEP 508): {str(error).splitlines()[0]}"


def _beyond_runtime(requirement: Requirement) -> str | None:
    if requirement.url is not None:
        return "direct URLs are not accepted at run time; write them into requirements.txt"
    if requirement.marker is not None:
        return "environment markers are not accepted at run time; write them into requirements.txt"
    for specifier in requirement.specifier:
        if specifier.operator == "===":  # would let any text into the file, a "#" or a "\" included
            try:
                Version(specifier.version)
            except InvalidVersion:
                return f"{specifier.version!r} is not a version (PEP 440)"
    return None


def canonical(text: str) -> str:
    """The canonical name (PEP 503) that the requirement ``text`` is about. Raises InvalidRequirement."""
    return str(canonicalize_name(Requirement(text).name))


class RequirementsText:
    """The content of a requirements.txt. Immutable: changes give a new one."""

    def __init__(self, text: str = "") -> None:
        self._bom = "\ufeff" if text.startswith("\ufeff") else ""
        self._lines = list(_logical_lines(text.removeprefix("\ufeff")))

    def __str__(self) -> str:
        return self._bom + "".join(line.raw for line in self._lines)

    def requirements(self) -> list[str]:
        """The requirements in order, as they were written, without their comments."""
        return [line.text for line in self._lines if line.name is not None and line.problem is None]

    def problems(self) -> list[Problem]:
        """The lines that are kept but not installed."""
        return [
            Problem(f"requirements.txt:{line.number}", line.text, line.problem)
            for line in self._lines
            if line.problem is not None
        ]

    def with_requirement(self, requirement: str) -> RequirementsText:
        """``requirement`` in the place of the first line about the same package, else as the last line.

        The line keeps its comment; further lines about that package go.
        """
        name = canonical(requirement)
        found = [line for line in self._lines if line.name == name]
        if len(found) == 1 and found[0].text == requirement and found[0].problem is None:
            return self
        if not found:
            return self._appended(requirement)
        first = found[0]
        raw = f"{requirement}{first.comment}{_ending(first.raw)}"
        parts = [raw if line is first else line.raw for line in self._lines if line is first or line.name != name]
        return RequirementsText(self._bom + "".join(parts))

    def without(self, name: str) -> RequirementsText:
        """No line about the package ``name`` (any spelling) any more."""
        wanted = canonicalize_name(name)
        return RequirementsText(self._bom + "".join(line.raw for line in self._lines if line.name != wanted))

    def _appended(self, requirement: str) -> RequirementsText:
        text = str(self)
        newline = next((ending for line in self._lines if (ending := _ending(line.raw))), "\n")
        last = self._lines[-1].raw if self._lines else ""
        if last and not _ending(last):
            text += newline
        if last and _continues(_PHYSICAL.findall(last)[-1]):
            text += newline  # a blank line ends the continuation, which would swallow the new one
        return RequirementsText(text + requirement + newline)


def _logical_lines(text: str) -> Iterator[_Line]:
    raw, said, first = "", "", 1
    for number, physical in enumerate(_PHYSICAL.findall(text), 1):
        if not raw:
            first = number
        raw += physical
        content = physical.rstrip("\r\n")
        if _continues(physical):
            said += content[:-1]
            continue
        yield _line(raw, first, said + (f" {content}" if content.lstrip().startswith("#") else content))
        raw, said = "", ""
    if raw:
        yield _line(raw, first, said)


def _continues(physical: str) -> bool:
    # A line that is a comment is never continued, but it ends what is.
    return physical.rstrip("\r\n").endswith("\\") and not physical.lstrip().startswith("#")


def _line(raw: str, number: int, said: str) -> _Line:
    match = _COMMENT.search(said)
    comment = match[0] if match else ""
    text = said[: match.start()].strip() if match else said.strip()
    if not text:
        return _Line(raw, number, "", comment)
    name, problem = _read(text)
    return _Line(raw, number, text, comment, name, problem)


def _read(text: str) -> tuple[str | None, str | None]:
    """The canonical name that a line is about, and why it is not handled; either can be None."""
    if text.startswith(("-r", "--requirement", "-c", "--constraint")):
        return None, "other files are not followed; write their requirements here"
    if text.startswith("-"):
        return None, "options of pip are not applied"
    options = _OPTIONS.search(text)
    try:
        name = canonical(text[: options.start()] if options else text)
    except InvalidRequirement as error:
        if _PATH.search(text) or "://" in text:
            return None, "a path or URL without a name; write 'name @ URL'"
        return None, f"not a requirement (PEP 508): {str(error).splitlines()[0]}"
    if options:
        return name, "options of a requirement (such as --hash) are not applied"
    return name, None


def _ending(raw: str) -> str:
    return raw[len(raw.rstrip("\r\n")) :]
