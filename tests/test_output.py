"""Floods, odd characters and large values: nothing is lost below the limit, and the host is not hurt above it."""

from __future__ import annotations

import resource
import time

import pytest

from py_code_mode.session import Session

from .sessions import open_session


async def test_every_line_of_a_fast_flood_arrives_in_order(shared: Session):
    result = await shared.run("for n in range(200_000): print(n)")
    assert result.stdout == "".join(f"{n}\n" for n in range(200_000))
    assert not result.truncated


async def test_eight_thousand_flushed_lines_arrive(shared: Session):
    result = await shared.run("for n in range(2_000): print('x' * 5_000, flush=True)", timeout=30)
    assert result.truncated is False
    assert len(result.stdout) == 2_000 * 5_001


async def test_two_hundred_megabytes_keep_head_and_tail(session: Session):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    result = await session.run("print('first')\nfor n in range(2_000): print('x' * 100_000)\nprint('last')", timeout=55)
    seconds = time.monotonic() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert result.is_ok
    assert result.truncated
    assert result.stdout.startswith("first\n")
    assert result.stdout.endswith("x\nlast\n")
    assert "bytes left out" in result.stdout
    assert len(result.stdout) < 11 * 1024 * 1024
    assert grown < 250 * 1024, f"the host grew by {grown} KiB"
    assert seconds < 30


@pytest.mark.parametrize(
    ("limit", "size", "truncated"), [(1000, 1000, False), (1000, 1001, True), (None, 20_000_000, False)]
)
async def test_output_is_cut_above_the_limit_only(tmp_path, limit, size, truncated):
    async with open_session(tmp_path, max_output_bytes=limit) as session:
        result = await session.run(f"import sys; n = sys.stdout.write('y' * {size})")
        assert result.truncated is truncated
        assert (len(result.stdout) == size) is not truncated


async def test_a_cut_never_splits_a_character(tmp_path):
    async with open_session(tmp_path, max_output_bytes=1001) as session:
        result = await session.run("print('é' * 5000)")
        assert set(result.stdout.split("\n")[0]) == {"é"}
        assert "\ufffd" not in result.stdout


async def test_a_value_above_its_limit_is_cut_and_marked(tmp_path):
    async with open_session(tmp_path, max_value_bytes=1000) as session:
        result = await session.run("'x' * 1_000_000")
        assert result.truncated
        assert set(result.value) == {"x"}
        assert len(result.value) < 1_000_000
        assert not (await session.run("'x' * 900")).truncated


async def test_odd_characters_are_printed_and_not_lost(shared: Session):
    result = await shared.run(r"print('a\ud800b'); print('\x00\U0001f600\r\x1b[1m')")
    assert result.stdout == "a\\ud800b\n\x00\U0001f600\r\x1b[1m\n"


async def test_odd_characters_in_errors_and_displays_are_not_lost(shared: Session):
    result = await shared.run(r"raise ValueError('bad \ud800')")
    assert result.error == "ValueError: bad \ud800"
    result = await shared.run(r"display({'text/plain': 'd \ud800'}, raw=True)")
    assert result.outputs[0].data["text/plain"] == "d \ud800"


async def test_an_enormous_error_message_is_bounded(shared: Session):
    result = await shared.run("raise ValueError('x' * 50_000_000)")
    assert result.error_name == "ValueError"
    assert len(result.error or "") < 1_000_000
    assert len(result.traceback or "") < 1_000_000


async def test_many_rich_outputs_above_the_limit_are_left_out_and_marked(tmp_path):
    async with open_session(tmp_path, max_output_bytes=10_000) as session:
        result = await session.run("for n in range(100): display({'text/plain': 'z' * 1000}, raw=True)")
        assert result.truncated
        assert 5 <= len(result.outputs) <= 10


async def test_a_thread_that_floods_after_its_cell_does_not_disturb_the_next(shared: Session):
    await shared.run(
        "import threading\nstop = threading.Event()\ndef flood():\n    while not stop.is_set(): print('noise')\n"
        "thread = threading.Thread(target=flood, daemon=True); thread.start()"
    )
    result = await shared.run("print('quiet'); 5")
    assert (result.stdout, result.value) == ("quiet\n", 5)
    await shared.run("stop.set(); thread.join()")


async def test_a_carriage_return_and_partial_lines_are_kept_as_written(shared: Session):
    result = await shared.run("import sys\nfor n in range(3): sys.stdout.write(f'\\r{n}')")
    assert result.stdout == "\r0\r1\r2"
