"""The notebooks of the documentation. They are stored without outputs: ``python -m tests.notebooks`` sees to it."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "notebooks"

MADE = {"artifacts", "left-by-an-agent", "requirements.txt", ".requirements.lock", ".history"}
"""Where notebooks may leave files: notebooks/.gitignore names the same."""


def paths() -> list[Path]:
    """The notebooks, by name."""
    return sorted(FOLDER.glob("*.ipynb"))


def stripped(text: str) -> str:
    """A notebook as it is stored: the cells with their ids and tags, the kernel, and nothing of a run."""
    notebook = json.loads(text)
    content = {
        "cells": [_cell(cell) for cell in notebook["cells"]],
        "metadata": {"kernelspec": notebook["metadata"]["kernelspec"]},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _cell(cell: dict[str, Any]) -> dict[str, Any]:
    tags = cell["metadata"].get("tags")
    kept = {
        "cell_type": cell["cell_type"],
        "id": cell.get("id") or secrets.token_hex(4),
        "metadata": {"tags": tags} if tags else {},
        "source": "".join(cell["source"]).splitlines(keepends=True),
    }
    if cell["cell_type"] == "code":
        kept |= {"execution_count": None, "outputs": []}
    return dict(sorted(kept.items()))


if __name__ == "__main__":
    for path in paths():
        before = path.read_text("utf-8")
        if (after := stripped(before)) != before:
            path.write_text(after, "utf-8")
            print(f"stripped {path.name}")
