"""A process that saves, reads, lists and deletes artifacts whose value and metadata have to agree.

python -m tests.storage_writer FOLDER ID OPERATIONS
"""

from __future__ import annotations

import random
import sys

from kernel_bootstrap.formats import Payload
from py_code_mode import FileStorage
from py_code_mode.artifacts.store import ArtifactStore
from py_code_mode.errors import ArtifactNotFoundError

NAMES = ("shared/a", "shared/b", "shared/deep/c", "d")


def save(store: ArtifactStore, name: str, label: str) -> None:
    """Save a value that says ``label`` again and again, of a size that ``label`` decides."""
    size = random.Random(label).choice([0, 10, 5_000, 200_000])
    content = (f"{label};" * (size // (len(label) + 1) + 1)).encode()
    store.save(name, Payload("text", content), f"by {label}", {"label": label, "size": len(content)})


def check(store: ArtifactStore, name: str) -> str | None:
    """The label of the artifact, after its value, metadata and description were found to agree."""
    try:
        artifact, data = store.read(name)
    except ArtifactNotFoundError:
        return None
    label = artifact.metadata["label"]
    assert artifact.description == f"by {label}", artifact
    assert len(data) == artifact.size == artifact.metadata["size"], artifact
    assert bytes(data) == (f"{label};" * (len(data) // (len(label) + 1))).encode(), artifact
    return str(label)


def main(folder: str, me: str, operations: int) -> None:
    store = FileStorage(folder).get_artifact_store()
    choose = random.Random(me)
    saved = store.get("count/" + me)
    assert saved is None
    for turn in range(operations):
        name = choose.choice(NAMES)
        match choose.randrange(10):
            case 0:
                store.delete(name)
            case 1 | 2 | 3:
                check(store, name)
            case 4:
                for artifact in store.list():
                    assert artifact.description == f"by {artifact.metadata['label']}", artifact
            case _:
                save(store, name, f"{me} {turn}")
        save(store, f"own/{me}/{turn % 5}", f"{me} {turn}")
        assert check(store, f"own/{me}/{turn % 5}") == f"{me} {turn}"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
