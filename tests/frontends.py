"""What Jupyter's front ends are to the tests: kernelspecs of ours, and clients that use them as any other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

PROVISIONER = "py-code-mode-provisioner"


def add_kernelspec(directory: Path, name: str, **config: Any) -> None:
    """A kernelspec below ``directory``, which is an entry of JUPYTER_PATH; ``config`` is the provisioner's."""
    home = directory / "kernels" / name
    home.mkdir(parents=True)
    spec = {
        "argv": ["py-code-mode"],
        "display_name": name,
        "language": "python",
        "interrupt_mode": "message",
        "metadata": {"kernel_provisioner": {"provisioner_name": PROVISIONER, "config": config}},
    }
    (home / "kernel.json").write_text(json.dumps(spec))


@contextmanager
def jupyter_path(directory: Path) -> Iterator[None]:
    """Front ends find the kernelspecs of ``directory``, and write what they write below it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(directory))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(directory / "runtime"))
        patch.setenv("JUPYTER_CONFIG_DIR", str(directory / "config"))
        yield


@contextmanager
def kernel_of(name: str) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    """A kernel as a front end starts it, ready, and its client."""
    manager = KernelManager(kernel_name=name)
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=30)
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run(client: BlockingKernelClient, code: str, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The content of the reply, and the messages of the outputs."""
    outputs: list[dict[str, Any]] = []
    reply = client.execute_interactive(code, output_hook=outputs.append, timeout=30, **options)
    kept = [message for message in outputs if message["msg_type"] not in ("status", "execute_input")]
    return reply["content"], kept


def shown(client: BlockingKernelClient, code: str) -> Any:
    """The value that ``code`` shows, for values whose repr is a literal."""
    reply, outputs = run(client, code)
    assert reply["status"] == "ok", reply
    return eval(outputs[-1]["content"]["data"]["text/plain"], {})
