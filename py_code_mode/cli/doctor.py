"""``py-code-mode doctor``: whether this machine has what sessions need."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click

from py_code_mode.errors import CodeModeError

from .app import FAILED
from .options import IN_REDIS, Base, any_workspace, json_option
from .output import Progress, print_json, print_rows

_SANDBOXES = ("bwrap", "podman", "docker")
_PYTHON = re.compile(r"python3\.(\d+)")


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: ``text`` for a person, ``facts`` for a program, ``advice`` only where it failed."""

    name: str
    ok: bool
    text: str
    facts: dict[str, Any] = field(default_factory=dict)
    advice: str = ""


@click.command("doctor")
@click.option("--redis", callback=any_workspace, metavar="URL", help="Check this Redis as well.")
@json_option
def command(redis: Base | None, as_json: bool) -> None:
    """Check that everything needed is there: uv, a Python, the cache, and a kernel that answers.

    The exit status is 1 when something is missing; what to do about it is said.
    """
    if isinstance(redis, Path):
        raise click.UsageError(f"--redis takes a URL such as {IN_REDIS}")
    findings = asyncio.run(_examine(redis))
    ok = all(finding.ok for finding in findings)
    if as_json:
        print_json({"ok": ok, "checks": [asdict(finding) for finding in findings]})
    else:
        rows = [(item.name, "ok" if item.ok else "FAILED", item.text) for item in findings]
        print_rows(("Check", "Result", "What was found"), rows)
        for finding in findings:
            if finding.advice:
                print(f"\n{finding.name}: {finding.advice}")
    if not ok:
        raise click.exceptions.Exit(FAILED)


async def _examine(redis: str | None) -> list[Finding]:
    """The checks in order; a kernel is not tried without what it needs."""
    checks: list[tuple[str, Callable[[], Awaitable[Finding]], str]] = [
        ("uv", _uv, "install it into this environment: pip install --force-reinstall uv"),
        ("python", _python, "run py-code-mode with an installed Python 3.11 or newer"),
        ("cache", _cache, "free some space or permit writing, or choose a place with PY_CODE_MODE_CACHE"),
    ]
    findings = [await _tried(*check) for check in checks]
    if all(finding.ok for finding in findings):
        advice = "a first virtualenv needs a package index (network, or UV_INDEX_URL)"
        findings.append(await _tried("kernel", _kernel, advice))
    else:
        findings.append(Finding("kernel", False, "not tried, since the above is missing"))
    if redis is not None:
        advice = "begin with `redis-cli -u URL ping`; README: One workspace for many machines"
        findings.append(await _tried("redis", partial(asyncio.to_thread, _redis, redis), advice))
    return [*findings, _forking(), _isolation()]


async def _tried(name: str, check: Callable[[], Awaitable[Finding]], advice: str) -> Finding:
    try:
        return await check()
    except (CodeModeError, OSError, TimeoutError) as error:
        text = error.message if isinstance(error, CodeModeError) else str(error)
        return Finding(name, False, text, advice=advice)


async def _uv() -> Finding:
    from py_code_mode.deps.uvtool import find_uv, run_process

    path = find_uv()
    done = await run_process([path, "--version"], timeout=10.0)
    if not done.ok:
        raise CodeModeError(f"{path} does not run: {done.reason()}")
    version = done.stdout.split()[1]
    return Finding("uv", True, f"{version} at {path}", {"path": path, "version": version})


async def _python() -> Finding:
    from py_code_mode.kernel.interpreters import find_interpreter

    used = await find_interpreter(None)
    others = await asyncio.to_thread(_others, used.path)
    text = f"{used.version} at {used.path}" + (f"; also on PATH: {', '.join(others)}" if others else "")
    return Finding("python", True, text, {"path": str(used.path), "version": used.version, "others": others})


def _others(used: Path) -> list[str]:
    """The other Pythons on PATH that ``python_version`` may name."""
    found = [path for part in os.get_exec_path() for path in Path(part).glob("python3.*")]
    return [
        str(path)
        for path in dict.fromkeys(found)
        if (match := _PYTHON.fullmatch(path.name)) and int(match[1]) >= 11 and path.resolve() != used
    ]


async def _cache() -> Finding:
    from py_code_mode.kernel.venv_cache import cached_venvs
    from py_code_mode.kernel.venv_layout import cache_root

    root = cache_root(None)
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=root):
        pass
    venvs = cached_venvs()
    size = sum(venv.size for venv in venvs)
    text = f"{root} is writable; virtualenvs: {len(venvs)}, {size / 1e6:.0f} MB"
    return Finding("cache", True, text, {"path": str(root), "virtualenvs": len(venvs), "bytes": size})


async def _kernel() -> Finding:
    """A temporary workspace with a temporary virtualenv: started, asked, closed, removed."""
    from py_code_mode.session import Session

    times: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="py-code-mode-doctor-") as base, Progress() as progress:
        session = Session.subprocess(base, cache_venv=False)
        began = time.monotonic()
        await session.start(progress=progress)
        try:
            times["start_s"] = time.monotonic() - began
            for name in ("first_run_ms", "run_ms", "link_ms"):
                code = "tools.list()" if name == "link_ms" else "6 * 7"
                began = time.monotonic()
                result = await session.run(code)
                times[name] = (time.monotonic() - began) * 1000
                result.raise_for_error()
        finally:
            began = time.monotonic()
            await session.close()
            times["close_s"] = time.monotonic() - began
    facts = {name: round(value, 3) for name, value in times.items()}
    text = (
        f"virtualenv and kernel {times['start_s']:.1f} s, first run {times['first_run_ms']:.0f} ms, "
        f"next run {times['run_ms']:.0f} ms, run with a question to the host {times['link_ms']:.0f} ms, "
        f"close {times['close_s']:.1f} s"
    )
    return Finding("kernel", True, text, facts)


def _redis(url: str) -> Finding:
    from py_code_mode.storage.redis import RedisStorage

    storage = RedisStorage(url)
    facts = {"place": storage.place, **storage.server_facts()}
    text = f"{facts['version']} at {storage.place}"
    if facts["role"] != "master":
        return Finding("redis", False, f"{text} is a replica", facts, "give the address of its primary")
    if facts["evicts"]:
        advice = "set maxmemory-policy noeviction: a server that evicts keys loses artifacts"
        return Finding("redis", False, f"{text} evicts keys ({facts['policy']})", facts, advice)
    return Finding("redis", True, text, facts)


def _forking() -> Finding:
    from py_code_mode.kernel.pool import why_no_fork

    why = why_no_fork()
    text = f"not used: {why}; every kernel starts from scratch" if why else "kernels are forked, and spares kept ready"
    return Finding("fork server", True, text, {"used": not why})


def _isolation() -> Finding:
    found = {name: path for name in _SANDBOXES if (path := shutil.which(name))}
    text = "each kernel is a process of its own"
    if found:
        text += f"; on PATH, but used by nothing yet: {', '.join(found.values())}"
    return Finding("isolation", True, text, {"process": True, "on_path": found})
