"""A process that changes a workspace and knows what has to be in it.

python -m tests.workspace_writer BASE ID OPERATIONS

Names that are its own it checks against a model, which it prints at the end; on those that all share, value and
metadata have to agree.
"""

from __future__ import annotations

import json
import random
import sys

from py_code_mode.errors import WorkflowNotFoundError
from py_code_mode.storage.bases import storage_at

from .storage_writer import check, save

SHARED = ("shared/a", "shared/deep/b", "c")


def source(label: str) -> str:
    return f"async def run() -> str:\n    return {label!r}\n"


def main(base: str, me: str, operations: int) -> None:
    storage = storage_at(base)
    artifacts, library, deps = (
        storage.get_artifact_store(),
        storage.get_workflow_library(),
        storage.get_dependency_store(),
    )
    model: dict[str, dict[str, str]] = {"artifacts": {}, "workflows": {}, "deps": {}}
    choose = random.Random(me)
    for turn in range(operations):
        label, number = f"{me} {turn}", choose.randrange(5)
        match choose.randrange(12):
            case 0 | 1:
                save(artifacts, f"own/{me}/{number}", label)
                model["artifacts"][f"own/{me}/{number}"] = label
            case 2:
                known = model["artifacts"].pop(f"own/{me}/{number}", None)
                assert artifacts.delete(f"own/{me}/{number}") is (known is not None)
            case 3 | 4:
                save(artifacts, choose.choice(SHARED), label)
            case 5:
                check(artifacts, choose.choice(SHARED))
                artifacts.delete(choose.choice(SHARED))
            case 6:
                listed = {artifact.name: artifact for artifact in artifacts.list()}
                assert all(found.description == f"by {found.metadata['label']}" for found in listed.values())
                own = {name: found.metadata["label"] for name, found in listed.items() if f"own/{me}/" in name}
                assert own == model["artifacts"], (own, model)
            case 7 | 8:
                library.create(f"w{me}_{number}", source(label), label)
                model["workflows"][f"w{me}_{number}"] = label
                library.create("shared", source(label), label)
            case 9:
                known = model["workflows"].pop(f"w{me}_{number}", None)
                assert library.delete(f"w{me}_{number}") is (known is not None)
            case 10:
                workflows = {workflow.name: workflow for workflow in library.list()}
                own = {name: found.description for name, found in workflows.items() if name.startswith(f"w{me}_")}
                assert own == model["workflows"], (own, model)
                try:
                    shared = library.require("shared")
                    assert repr(shared.description) in shared.source, shared
                except WorkflowNotFoundError:
                    pass
            case _:
                deps.add(f"p{me}-{number}=={turn}")
                model["deps"][f"p{me}-{number}"] = f"p{me}-{number}=={turn}"
                assert set(model["deps"].values()) <= set(deps.read())
    print(json.dumps(model))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
