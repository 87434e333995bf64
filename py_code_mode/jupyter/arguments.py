"""Reading the arguments of magics: errors are IPython's UsageError, which shows one line and no traceback."""

from __future__ import annotations

import argparse
import keyword
import math
import shlex
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError


def parse(magic: Any, line: str, shown: str) -> argparse.Namespace:
    """The arguments in ``line`` of ``magic``, a function with ``magic_arguments``; quotes work as in a shell.

    ``shown`` is how users write the magic.
    """
    try:
        found: argparse.Namespace = magic.parser.parse_args(shlex.split(line))
    except (UsageError, ValueError) as error:
        raise UsageError(f"{error} ({shown}? shows how to use it)") from None
    return found


def seconds(text: str) -> float:
    """The type of an argument: a positive number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return value


def variable(text: str) -> str:
    """The type of an argument: what can be assigned to."""
    if not text.isidentifier() or keyword.iskeyword(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a variable")
    return text


def unquoted(text: str) -> str:
    """The rest of a line as a text, without the quotes that may be around all of it."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text


def directory(text: str) -> Path:
    """The type of an argument: a directory that is there."""
    path = Path(text).expanduser().absolute()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a directory")
    return path
