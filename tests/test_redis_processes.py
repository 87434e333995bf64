"""Several processes in one workspace in Redis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid

from py_code_mode import RedisStorage

from .redis_servers import shared_server
from .storage_writer import check

OPERATIONS = os.environ.get("REDIS_WRITER_OPERATIONS", "100")


def test_eight_writers_on_one_prefix_tear_nothing_and_lose_nothing():
    prefix = f"test-{uuid.uuid4().hex}"
    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.redis_writer", shared_server().url, prefix, str(me), OPERATIONS],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for me in range(8)
    ]
    said = [writer.communicate(timeout=50) for writer in writers]
    assert [errors for _, errors in said] == [""] * 8
    models = [json.loads(text) for text, _ in said]
    wanted = {kind: {k: v for model in models for k, v in model[kind].items()} for kind in models[0]}

    storage = RedisStorage(shared_server().url, prefix=prefix)
    artifacts = storage.get_artifact_store()
    names = [artifact.name for artifact in artifacts.list()]
    assert {name: check(artifacts, name) for name in names if name.startswith("own/")} == wanted["artifacts"]
    workflows = storage.get_workflow_library().list()
    assert {flow.name: flow.description for flow in workflows if flow.name != "shared"} == wanted["workflows"]
    assert sorted(storage.get_dependency_store().read()) == sorted(wanted["deps"].values())
