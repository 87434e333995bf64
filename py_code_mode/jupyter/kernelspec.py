"""The kernelspecs by which any Jupyter front end finds a workspace: made, installed, listed, removed.

Where jupyter_client starts the kernel, the provisioner that is named in the metadata serves it from the front
end's own process. Front ends that start ``argv`` themselves get a process that does the same.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from py_code_mode.errors import CodeModeError
from py_code_mode.storage.bases import PASSED_ON, is_url, label, shown, variables, without_secret
from py_code_mode.watch.notebook import spec_name, spec_title

if TYPE_CHECKING:
    from jupyter_client.kernelspec import KernelSpecManager

PROVISIONER = "py-code-mode-provisioner"
"""The entry point of ``WorkspaceProvisioner``."""

_OURS = "py-code-mode"
"""The key in a kernelspec's metadata that says which workspace it is for."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
"""As jupyter_client's, but never ``.`` or ``..``: an installation replaces the directory of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceSpec:
    """An installed kernelspec for the workspace ``base``, a directory or a URL; ``path`` is its own directory."""

    name: str
    display_name: str
    base: Path | str
    path: Path

    @property
    def workspace(self) -> str:
        """``base`` for people."""
        return shown(self.base)

    @property
    def workspace_gone(self) -> bool:
        """Whether the workspace's directory is not there any more; a Redis is not asked."""
        return isinstance(self.base, Path) and not self.base.is_dir()


def default_name(base: Path | str) -> str:
    """The name of a kernelspec for ``base``, made from the directory's name or the prefix."""
    return spec_name(label(base))


def default_display_name(base: Path | str) -> str:
    """What people see in front ends for ``base``."""
    return spec_title(label(base))


def write(
    directory: Path, base: Path | str, display_name: str, *, provisioned: bool = True, tools: Path | None = None
) -> None:
    """Make ``directory`` a kernelspec for the workspace ``base``, with the tools in the directory ``tools``.

    Without ``provisioned`` every front end starts ``argv``, also one that lives in another environment.
    """
    config = {"base": str(base)} | ({"tools": str(tools)} if tools else {})
    metadata: dict[str, Any] = {_OURS: config, "debugger": False}
    if provisioned:
        metadata["kernel_provisioner"] = {"provisioner_name": PROVISIONER, "config": config}
    options = [word for name, value in config.items() for word in (f"--{name}", value)]
    spec = {
        # -P: a file in the notebook's directory must not take the place of a module of this process.
        "argv": [sys.executable, "-P", "-m", "py_code_mode.jupyter", *options, "-f", "{connection_file}"],
        "display_name": display_name,
        "language": "python",
        "interrupt_mode": "message",
        "metadata": metadata,
    }
    directory.mkdir(parents=True)
    (directory / "kernel.json").write_text(json.dumps(spec, indent=1) + "\n", encoding="utf-8")
    logo = Path(__file__).with_name("logo-svg.svg")
    (directory / logo.name).write_bytes(logo.read_bytes())


def install(
    base: Path | str,
    *,
    name: str | None = None,
    display_name: str | None = None,
    prefix: str | None = None,
    provisioned: bool = True,
    tools: Path | None = None,
) -> WorkspaceSpec:
    """Install a kernelspec for the workspace ``base``, below ``prefix`` or (None) for this user.

    One for the same workspace is replaced. Raises CodeModeError when the workspace is not there, when its URL has a
    password in it, or when ``name`` cannot be one or is taken; OSError when the place cannot be written to.
    """
    base = _usable(base)
    name = default_name(base) if name is None else name.lower()
    if not _NAME.fullmatch(name):
        raise CodeModeError(f"{name!r} cannot be the name of a kernelspec: use letters, digits, '-', '_' and '.'")
    manager = _manager()
    kernels = Path(prefix, "share/jupyter/kernels") if prefix is not None else Path(manager.user_kernel_dir)
    for path in {Path(manager.find_kernel_specs().get(name, kernels / name)), kernels / name}:
        _check_free(name, path, base)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, name)  # not the scratch directory itself, whose mode would be copied
        write(source, base, display_name or default_display_name(base), provisioned=provisioned, tools=tools)
        manager.install_kernel_spec(str(source), name, user=prefix is None, prefix=prefix)
    spec = _read(name, kernels.absolute() / name)
    assert spec is not None
    return spec


def installed() -> list[WorkspaceSpec]:
    """The kernelspecs for workspaces that Jupyter finds, by name."""
    found = (_read(name, Path(path)) for name, path in sorted(_manager().find_kernel_specs().items()))
    return [spec for spec in found if spec is not None]


def remove(names: Iterable[str]) -> list[WorkspaceSpec]:
    """Remove the kernelspecs of these names; returns them.

    Raises CodeModeError, and removes nothing, when one of them is not there or not for a workspace.
    """
    manager = _manager()
    everything = manager.find_kernel_specs()
    specs = []
    for name in dict.fromkeys(name.lower() for name in names):
        if name not in everything:
            ours = ", ".join(spec.name for spec in installed()) or "none"
            raise CodeModeError(f"there is no kernelspec {name!r}; of py-code-mode there are: {ours}")
        spec = _read(name, Path(everything[name]))
        if spec is None:
            raise CodeModeError(
                f"the kernelspec {name!r} is not of py-code-mode; `jupyter kernelspec remove {name}` removes any"
            )
        specs.append(spec)
    for spec in specs:
        manager.remove_kernel_spec(spec.name)
    return specs


def _usable(base: Path | str) -> Path | str:
    if not is_url(base):
        base = Path(base).expanduser().resolve()
        if not base.is_dir():
            raise CodeModeError(f"the workspace {base} does not exist: make it with `py-code-mode init {base}`")
        return base
    url, secret = without_secret(str(base), "REDIS_PASSWORD")
    if secret is not None or any(name.startswith(PASSED_ON) for name in variables(url)):
        raise CodeModeError(
            "a password in the URL would stand in the kernelspec and in lists of processes: write the name of an "
            "environment variable of the front end in its place, as in 'redis://:${REDIS_PASSWORD}@host'"
        )
    return url


def _check_free(name: str, path: Path, base: Path | str) -> None:
    if not (path / "kernel.json").exists():
        return
    other = _read(name, path)
    if other is None:
        raise CodeModeError(f"there is a kernelspec {name!r} that is not of py-code-mode ({path}): give --name another")
    if other.base != base:
        raise CodeModeError(
            f"the kernelspec {name!r} is for another workspace, {other.workspace}: give another --name, "
            f"or remove that one with `py-code-mode jupyter remove {name}`"
        )


def _read(name: str, path: Path) -> WorkspaceSpec | None:
    """The kernelspec in ``path``, None if it is not for a workspace."""
    try:
        spec = json.loads((path / "kernel.json").read_text(encoding="utf-8"))
        written = str(spec["metadata"][_OURS]["base"])
        base = written if is_url(written) else Path(written)
        return WorkspaceSpec(name=name, display_name=str(spec["display_name"]), base=base, path=path)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _manager() -> KernelSpecManager:
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_core.paths import jupyter_path

    quiet = logging.getLogger(f"{__name__}.jupyter_client")
    quiet.setLevel(logging.ERROR)  # it warns of what other kernelspecs lack
    # Without the folder of old IPythons, for which it would import and ask IPython.
    return KernelSpecManager(log=quiet, ensure_native_kernel=False, kernel_dirs=jupyter_path("kernels"))
