"""Kills writers of a workspace: run by test_storage_processes, in a process that can fork.

    python -m tests.storage_crash each FOLDER save|delete   a kill at every step of one call
    python -m tests.storage_crash random FOLDER COUNT       COUNT kills at random moments

Prints the steps or kills that were survived; fails with a traceback when an artifact was torn.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from py_code_mode import FileStorage

from .storage_writer import check, save

NAME = "reports/shared"
STEPS = ("open", "os.", "shutil.")
"""Audit events that stand before each system call by which a store changes files."""


def kill_at(step: int, folder: Path, action: str) -> bool:
    """Do ``action`` in a child that is killed before its ``step``-th system call; False: it ended before."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL), status
        return status != 0
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event.startswith(STEPS) and event != "os.kill":
            seen += 1
            if seen > step:
                os.kill(os.getpid(), signal.SIGKILL)

    store = FileStorage(folder).get_artifact_store()
    sys.addaudithook(hook)
    if action == "save":
        save(store, NAME, "new")
    else:
        store.delete(NAME)
    os._exit(0)


def each(folder: Path, action: str) -> int:
    step = 0
    while True:
        store = FileStorage(folder / str(step)).get_artifact_store()
        save(store, NAME, "old")
        killed = kill_at(step, folder / str(step), action)
        found = check(store, NAME)
        assert found in ({"old", "new"} if action == "save" else {"old", None}), (step, found)
        assert [artifact.name for artifact in store.list()] == ([NAME] if found else []), step
        save(store, NAME, "later")
        assert check(store, NAME) == "later", step
        if not killed:
            assert found == ("new" if action == "save" else None)
            return step
        step += 1


def randomly(folder: Path, count: int) -> int:
    store = FileStorage(folder).get_artifact_store()
    save(store, NAME, "0")
    for turn in range(count):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            done = 0
            while True:
                done += 1
                save(store, NAME, f"{turn} {done}")
                os.write(writer, b"%d %d\n" % (turn, done))
        os.close(writer)
        os.read(reader, 100)  # it is at work
        time.sleep(random.random() / 50)  # the moment of the kill, nothing is waited for
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reader, "rb") as acknowledged:
            last = acknowledged.read().splitlines()[-1:]
        found = check(store, NAME)
        assert found is not None
        assert found.split()[0] == str(turn)
        assert not last or int(found.split()[1]) - int(last[0].split()[1]) in (0, 1), (found, last)
    return count


if __name__ == "__main__":
    mode, where, what = sys.argv[1:]
    print(each(Path(where), what) if mode == "each" else randomly(Path(where), int(what)))
