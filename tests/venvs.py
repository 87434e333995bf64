"""Helpers for tests about virtualenvs and packages: wheels made on the spot, environments to try them in."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from py_code_mode.deps.uv import UvInstaller
from py_code_mode.kernel.venv import Venv, VenvSpec, ensure_venv
from py_code_mode.kernel.venv_layout import MARKER


def make_wheel(
    directory: Path,
    name: str,
    version: str = "1.0",
    *,
    requires: Sequence[str] = (),
    body: str = "",
    script: str | None = None,
) -> Path:
    """A pure wheel with one module ``name``, whose ``VERSION`` is ``version``, and its requirements.

    ``script`` is a command that calls the module's ``main``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    headers = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    headers += [f"Requires-Dist: {requirement}" for requirement in requires]
    files = {
        f"{name}.py": f"VERSION = {version!r}\n{body}",
        f"{info}/METADATA": "\n".join(headers) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if script is not None:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{script} = {name}:main\n"
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


def output_of(*command: Path | str) -> str:
    """What ``command`` prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def run_python(python: Path | str, code: str) -> str:
    """What ``code`` prints in ``python``."""
    return output_of(python, "-I", "-c", code).strip()


def copy_cache(source: Path, venv: Venv, target: Path) -> Path:
    """A copy of the cache ``source`` that has ``venv`` in it, by hard links: a test has to replace what it changes."""
    shutil.copytree(source, target, symlinks=True, copy_function=os.link)
    for directory in (venv.path, venv.base):
        marker = target / directory.relative_to(source) / MARKER
        text = marker.read_text()
        marker.unlink()  # locks belong to the file itself, they would reach the other links
        marker.write_text(text)
    return target


def leftovers(cache: Path) -> list[Path]:
    """What makers and removers left behind in ``cache``."""
    return [path for pattern in ("*/.build-*", "*/.trash-*") for path in cache.glob(pattern)]


def age(directory: Path) -> Path:
    """Make the environment in ``directory`` look as if an older version of py-code-mode had made it; it moves."""
    marker = json.loads((directory / MARKER).read_text())
    marker["key"] = "0" * 16
    (directory / MARKER).write_text(json.dumps(marker))
    return directory.rename(directory.with_name(f"{directory.name.partition('-')[0]}-{'0' * 16}"))


def installer(venv: Venv) -> UvInstaller:
    """What installs into ``venv``."""
    return UvInstaller(venv.python, venv.site_packages(), venv.base)
