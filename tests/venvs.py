"""Helpers for tests about virtualenvs and packages: wheels made on the spot, environments to try them in."""

from __future__ import annotations

import asyncio
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from py_code_mode.kernel.venv import Venv, VenvSpec, ensure_venv


def make_wheel(
    directory: Path, name: str, version: str = "1.0", *, requires: Sequence[str] = (), body: str = ""
) -> Path:
    """A pure wheel with one module ``name``, whose ``VERSION`` is ``version``, and its requirements."""
    directory.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    headers = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    headers += [f"Requires-Dist: {requirement}" for requirement in requires]
    files = {
        f"{name}.py": f"VERSION = {version!r}\n{body}",
        f"{info}/METADATA": "\n".join(headers) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    wheel = directory / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)
    return wheel


def use_only(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on uv finds packages in ``wheels`` and in its cache only; no network is used."""
    wheels.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
    monkeypatch.setenv("UV_OFFLINE", "1")


def make_venv(cache: Path, identity: str = "workspace") -> Venv:
    """A cached environment, for fixtures that many tests share. It also fills uv's cache with ipykernel."""
    return asyncio.run(ensure_venv(VenvSpec(identity=identity, cache_dir=cache)))


def run_in(venv: Venv, code: str) -> str:
    """What ``code`` prints in the Python of ``venv``."""
    return run_python(venv.python, code)


def run_python(python: Path | str, code: str) -> str:
    """What ``code`` prints in ``python``."""
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()
