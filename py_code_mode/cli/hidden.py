"""Passwords in the arguments of this process: every user of the machine can read those, but not its environment."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

_URL = re.compile(r"(?:--[a-z-]+=)?((?:redis|rediss|unix)://.+)", re.DOTALL)


def without_passwords(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The arguments with ``${NAME}`` in place of the passwords of URLs, and these variables."""
    from py_code_mode.storage.bases import PASSED_ON, is_sound, without_secret

    shown: list[str] = []
    secrets: dict[str, str] = {}
    for argument in arguments:
        found = _URL.fullmatch(argument)
        if found is not None and is_sound(found[1]):
            name = f"{PASSED_ON}{len(secrets) + 1}"
            url, secret = without_secret(found[1], name)
            if secret is not None:
                argument = argument.removesuffix(found[1]) + url
                secrets[name] = secret
        shown.append(argument)
    return shown, secrets


def hide_passwords() -> None:
    """Start this program again, in this very process, where its arguments have a password."""
    if not any("://" in argument and ("@" in argument or "password=" in argument) for argument in sys.argv[1:]):
        return
    try:
        arguments, secrets = without_passwords(sys.argv[1:])
    except ValueError:
        return  # the command says what is wrong with its arguments
    own = sys.orig_argv[1 : len(sys.orig_argv) - len(arguments)]
    if secrets and sys.orig_argv[1:] == [*own, *sys.argv[1:]]:  # else somebody calls this with arguments of their own
        os.environ.update(secrets)
        os.execv(sys.executable, [sys.executable, *own, *arguments])
