"""Eight processes that change one workspace at once, in a directory and in Redis, checked against a model.

CODE_MODE_WRITER_OPERATIONS=1000 runs the full size.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid

import pytest

from py_code_mode.storage.bases import storage_at

from .redis_servers import shared_server
from .storage_writer import check

FULL = os.environ.get("CODE_MODE_WRITER_OPERATIONS")
OPERATIONS = {"file": FULL or "80", "redis": FULL or "400"}
LIMIT = 500 if FULL else 50


@pytest.mark.timeout(LIMIT + 10)
@pytest.mark.parametrize("kind", ["file", "redis"])
def test_eight_writers_on_one_workspace_tear_nothing_and_lose_nothing(tmp_path, kind):
    base = str(tmp_path / "workspace") if kind == "file" else f"{shared_server().url}?prefix=test-{uuid.uuid4().hex}"
    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.workspace_writer", base, str(me), OPERATIONS[kind]],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for me in range(8)
    ]
    said = [writer.communicate(timeout=LIMIT) for writer in writers]
    assert [errors for _, errors in said] == [""] * 8
    models = [json.loads(text) for text, _ in said]
    wanted = {part: {k: v for model in models for k, v in model[part].items()} for part in models[0]}

    storage = storage_at(base)
    artifacts = storage.get_artifact_store()
    names = [artifact.name for artifact in artifacts.list()]
    assert {name: check(artifacts, name) for name in names if name.startswith("own/")} == wanted["artifacts"]
    workflows = storage.get_workflow_library().list()
    assert {flow.name: flow.description for flow in workflows if flow.name != "shared"} == wanted["workflows"]
    assert sorted(storage.get_dependency_store().read()) == sorted(wanted["deps"].values())
