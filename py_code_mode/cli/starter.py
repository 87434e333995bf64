"""The files of a new workspace: small, and each says how its kind is written."""

from __future__ import annotations

from pathlib import Path

WC_TOOL = """\
# A command-line tool: code calls it as tools.wc(...) or, by a recipe, as tools.wc.lines(file=...).
# Arguments are checked, and passed to the command without a shell. One file holds one tool.
name: wc
description: Count the lines, words and bytes of a text file
command: wc                 # must be on PATH; runs in the workspace
timeout: 10                 # seconds
tags: [text, files]
schema:
  options:                  # tools.wc(file=..., lines=True) runs: wc -l FILE
    lines: {type: boolean, short: l, description: Count lines only}
    words: {type: boolean, short: w, description: Count words only}
    bytes: {type: boolean, short: c, description: Count bytes only}
  positional:
    - {name: file, type: string, required: true, description: "The file, relative to the workspace"}
recipes:                    # calls with some options set already
  lines:
    description: The number of lines, and the name of the file
    preset: {lines: true}
    params: {file: {}}
  words:
    description: The number of words, and the name of the file
    preset: {words: true}
    params: {file: {}}
"""

COUNT_WORKFLOW = '''\
"""Count the lines and words of a saved text."""


async def run(artifact: str) -> dict:
    """Count with the `wc` tool, which reads files.

    Args:
        artifact: the name of a text artifact
    """
    from tempfile import NamedTemporaryFile

    with NamedTemporaryFile("w", encoding="utf-8") as file:
        file.write(artifacts.load(artifact))
        file.flush()
        return {
            "lines": int(tools.wc.lines(file=file.name).split()[0]),
            "words": int(tools.wc.words(file=file.name).split()[0]),
        }
'''

REQUIREMENTS = """\
# Packages that code in this workspace can import, one requirement (PEP 508) a line, such as: pandas>=2
# `py-code-mode deps add pandas` adds one here and installs it, `py-code-mode deps sync` installs them all.
"""

FILES = {
    "tools/wc.yaml": WC_TOOL,
    "workflows/count.py": COUNT_WORKFLOW,
    "requirements.txt": REQUIREMENTS,
}
FOLDERS = ("tools", "workflows", "artifacts")


def create(base: Path, files: dict[str, str] = FILES) -> tuple[list[str], list[str]]:
    """Make what is missing of a workspace; returns what was made, and what was there and is kept.

    Raises OSError.
    """
    made: list[str] = []
    kept: list[str] = []
    for folder in FOLDERS:
        there = (base / folder).is_dir()
        (base / folder).mkdir(parents=True, exist_ok=True)
        if not any(name.startswith(f"{folder}/") for name in files):
            (kept if there else made).append(f"{folder}/")
    for name, text in files.items():
        try:
            with (base / name).open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            kept.append(name)
        else:
            made.append(name)
    return made, kept
