"""Artifacts that are too large for one message: memory, and everything that can happen half-way."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from py_code_mode import FileStorage
from py_code_mode.errors import ArtifactFormatError, CodeModeError
from py_code_mode.session import Session

from .memory import MB, Peaks, linux_only
from .sessions import open_files, open_session

PERIOD = 999_983

DATA = f"part = __import__('os').urandom({PERIOD})\ndata = part * {{count}}"
"""``count`` megabytes that tell when a piece of them is missing or at another place."""


SAVES = "while True: artifacts.save('large', data)"


@pytest.fixture(params=["kernel", "in-process"])
async def either(request, tmp_path: Path) -> AsyncIterator[Session]:
    """An open session of both kinds."""
    session = open_session(tmp_path) if request.param == "kernel" else Session.inprocess(tmp_path)
    async with session:
        yield session


async def value(session: Session, code: str):
    return (await session.run(code)).raise_for_error().value


async def begun(folder: Path) -> Path:
    """The temporary file of a save that has begun."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for path in folder.glob("artifacts/.meta/tmp/*"):
            if path.stat().st_size:
                return path
        await asyncio.sleep(0)
    raise AssertionError("no save has begun")


async def nothing_left(folder: Path) -> None:
    """Wait until no save is under way."""
    deadline = time.monotonic() + 10
    while list(folder.glob("artifacts/.meta/tmp/*")):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def is_whole(folder: Path) -> bool:
    """Whether the artifact is what DATA made: a save that is ended may just have come to its own end."""
    _, data = FileStorage(folder).get_artifact_store().read("large")
    return len(data) == 100 * PERIOD and data[PERIOD:] == data[:-PERIOD]


@linux_only
async def test_neither_side_holds_more_of_a_large_artifact_than_its_value(session: Session):
    kernel = await value(session, "import os; os.getpid()")
    await value(
        session, DATA.format(count=256) + "; artifacts.save('small', data[:3_000_000]); n = artifacts.load('small')"
    )
    peaks = Peaks(os.getpid(), kernel)
    await value(session, "saved = artifacts.save('large', data)")
    assert peaks.of(os.getpid()) < 48 * MB
    assert peaks.of(kernel) < 48 * MB
    peaks = Peaks(os.getpid(), kernel)
    await value(session, "back = artifacts.load('large')")
    assert peaks.of(os.getpid()) < 48 * MB
    assert peaks.of(kernel) < (256 + 48) * MB
    assert await value(session, "back == data, saved['size']") == (True, 256 * 999_983)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 2 << 20, (2 << 20) + 1, 13_000_001])
async def test_bytes_of_every_size_come_back(shared: Session, size):
    code = f"data = __import__('random').Random({size}).randbytes({size}); artifacts.save('sized', data)\n"
    assert await value(shared, code + "artifacts.load('sized') == data") is True


async def test_large_values_of_every_kind_come_back(either: Session):
    code = "values = {'text': 'é' * 900_000, 'bytes': b'x' * 2_000_000, 'json': list(range(300_000)),"
    code += " 'codec': {1: b'y' * 3_000_000, 'z': 'text' * 500_000}}\n"
    code += "for kind, one in values.items(): artifacts.save(kind, one)\n"
    assert (
        await value(
            either, code + "[(artifacts.load(k), type(artifacts.load(k))) == (v, type(v)) for k, v in values.items()]"
        )
        == [True] * 4
    )


async def test_an_array_in_process_is_saved_without_a_copy_and_loaded_into_its_own_memory(tmp_path: Path):
    async with Session.inprocess(tmp_path) as session:
        code = "import numpy as np, tracemalloc\na = np.asfortranarray(np.arange(6_000_000.0).reshape(2_000, 3_000))\n"
        code += "artifacts.save('a', a[:200])\ntracemalloc.start()\nsaved = artifacts.save('a', a)\n"
        code += "saving = tracemalloc.get_traced_memory()[1]\ntracemalloc.reset_peak()\nb = artifacts.load('a')\n"
        code += "loading = tracemalloc.get_traced_memory()[1]\ntracemalloc.stop()\n"
        code += "saving, loading - b.nbytes, b.dtype == a.dtype and b.flags.owndata and b.flags.f_contiguous and (a == b).all()"
        saving, loading, same = await value(session, code)
    assert same
    assert saving < 8 * MB
    assert loading < 8 * MB


async def test_the_session_itself_copies_a_large_value_on_the_way_back_only(shared: Session):
    array = np.arange(8_000_000.0)
    tracemalloc.start()
    try:
        await shared.save_artifact("array", array, "An array")
        assert tracemalloc.get_traced_memory()[1] < 8 * MB
        tracemalloc.reset_peak()
        back = await shared.load_artifact("array")
        assert tracemalloc.get_traced_memory()[1] < array.nbytes + 8 * MB
    finally:
        tracemalloc.stop()
    assert np.array_equal(back, array)


async def test_a_large_artifact_is_saved_and_loaded_by_several_threads_at_once(shared: Session):
    code = """
import os, threading
same = []
def one(number):
    data = os.urandom(100_003) * 50
    for turn in range(3):
        artifacts.save(f"thread {number}", data)
        same.append(artifacts.load(f"thread {number}") == data)
threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
same
"""
    assert await value(shared, code) == [True] * 18


async def test_a_large_artifact_is_saved_and_loaded_inside_a_coroutine(either: Session):
    code = "async def work():\n    artifacts.save('c', bytes(3_000_000))\n    return len(artifacts.load('c'))\nawait work()"
    assert await value(either, code) == 3_000_000


async def test_a_bytearray_can_grow_as_soon_as_it_is_saved(shared: Session):
    code = "data = bytearray(3_000_000)\nfor n in range(40):\n    saved = artifacts.save('grows', data)\n    data.append(n)\n"
    assert await value(shared, code + "saved['size'], len(data)") == (3_000_039, 3_000_040)


async def test_a_disk_that_is_full_half_way_is_a_storage_error_and_the_old_value_stays(either: Session, tmp_path: Path):
    await value(either, DATA.format(count=60) + "; artifacts.save('kept', 'old')")
    # A limit for the size of files stands in for the full disk; it is this process that writes.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30 * MB, before[1]))
    try:
        failed = await either.run("artifacts.save('kept', data)")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert failed.error_name == "StorageError"
    assert "File too large" in failed.error
    await nothing_left(tmp_path)
    assert await value(either, "artifacts.load('kept')") == "old"
    assert await value(either, "artifacts.save('kept', data); artifacts.load('kept') == data") is True


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("artifacts.save('../out', data)", "ArtifactNameError"),
        ("artifacts.save('large', data, metadata={1: 2})", "ArtifactFormatError"),
        ("artifacts.save('folder', data)", "ArtifactNameError"),
        ("artifacts.save('large', data, nonsense=1)", "TypeError"),
    ],
)
async def test_a_large_value_that_is_refused_is_the_error_of_a_small_one(either: Session, tmp_path: Path, call, error):
    await value(either, "data = bytes(5_000_000); artifacts.save('folder/below', 1)")
    for _ in range(3):
        assert (await either.run(call)).error_name == error
    await nothing_left(tmp_path)
    assert [item["name"] for item in await value(either, "artifacts.list()")] == ["folder/below"]


async def test_an_interrupted_save_leaves_nothing(either: Session, tmp_path: Path):
    await value(either, DATA.format(count=100))
    run = asyncio.ensure_future(either.run(SAVES))
    await begun(tmp_path)
    either.interrupt()
    assert (await run).error_name == "KeyboardInterrupt"
    await nothing_left(tmp_path)
    assert not (tmp_path / "artifacts/large").exists() or is_whole(tmp_path)
    assert (
        await value(either, "artifacts.save('next', data[:5_000_000]); artifacts.load('next') == data[:5_000_000]")
        is True
    )


async def test_a_save_that_is_out_of_time_leaves_nothing(session: Session, tmp_path: Path):
    await value(session, DATA.format(count=20))
    result = await session.run("n = 0\nwhile True:\n    n += 1\n    artifacts.save(f'large {n}', data)", timeout=1)
    assert result.timed_out
    assert not result.kernel_restarted
    await nothing_left(tmp_path)
    names = {item["name"] for item in await value(session, "artifacts.list()")}
    assert await value(session, "{f'large {done}' for done in range(1, n)}") <= names
    assert await value(session, "all(artifacts.load(item['name']) == data for item in artifacts.list())") is True


async def test_an_interrupted_load_frees_what_it_held(either: Session):
    before = open_files()
    await value(either, DATA.format(count=30) + "; artifacts.save('large', data)")
    for _ in range(3):
        run = asyncio.ensure_future(either.run("began = True\nwhile True: artifacts.load('large')"))
        while not any("artifacts/large" in item for item in open_files()):
            await asyncio.sleep(0)
        either.interrupt()
        assert (await run).error_name == "KeyboardInterrupt"
        assert await value(either, "artifacts.load('large') == data") is True
    deadline = time.monotonic() + 10
    while any("artifacts" in item for item in open_files() - before):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_kernel_that_is_killed_during_a_save_leaves_nothing(session: Session, tmp_path: Path):
    kernel = await value(session, "import os; os.getpid()")
    await value(session, DATA.format(count=100))
    run = asyncio.ensure_future(session.run(SAVES))
    await begun(tmp_path)
    os.kill(kernel, signal.SIGKILL)
    assert (await run).error_name == "KernelDiedError"
    await nothing_left(tmp_path)
    assert not (tmp_path / "artifacts/large").exists() or is_whole(tmp_path)
    assert await value(session, "artifacts.save('large', b'x' * 3_000_000)['size']") == 3_000_000


async def test_a_session_that_is_closed_during_a_save_leaves_nothing(either: Session, tmp_path: Path):
    await value(either, DATA.format(count=100))
    run = asyncio.ensure_future(either.run(SAVES))
    await begun(tmp_path)
    await either.close()
    assert list(tmp_path.glob("artifacts/.meta/tmp/*")) == []
    with pytest.raises(CodeModeError):
        (await run).raise_for_error()
    assert not (tmp_path / "artifacts/large").exists() or is_whole(tmp_path)


async def test_a_save_of_the_session_that_is_cancelled_leaves_nothing(session: Session, tmp_path: Path):
    data = os.urandom(PERIOD) * 100

    async def saves() -> None:
        while True:
            await session.save_artifact("large", data)

    save = asyncio.ensure_future(saves())
    await begun(tmp_path)
    save.cancel()
    with pytest.raises(asyncio.CancelledError):
        await save
    assert list(tmp_path.glob("artifacts/.meta/tmp/*")) == []
    assert not (tmp_path / "artifacts/large").exists() or is_whole(tmp_path)


async def test_a_damaged_large_artifact_is_a_format_error_and_the_next_request_is_answered(
    either: Session, tmp_path: Path
):
    await value(either, "artifacts.list()")
    (tmp_path / "artifacts").mkdir(exist_ok=True)
    (tmp_path / "artifacts/spoiled.npy").write_bytes(b"\x93NUMPY\x01\x00" + bytes(5_000_000))
    (tmp_path / "artifacts/spoiled.json").write_text("[1, 2" + " " * 3_000_000)
    with pytest.raises(ArtifactFormatError):
        await either.load_artifact("spoiled.json")
    for _ in range(3):
        assert (await either.run("artifacts.load('spoiled.json')")).error_name == "ArtifactFormatError"
        assert (await either.run("artifacts.load('spoiled.npy')")).error_name == "ArtifactFormatError"
        assert await value(either, "artifacts.exists('spoiled.npy')") is True
    while any("spoiled" in item for item in open_files()):
        await asyncio.sleep(0.01)
