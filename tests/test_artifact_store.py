"""Artifacts, whatever keeps them."""

from __future__ import annotations

import os
import string
import tempfile
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_bootstrap.formats import Payload
from py_code_mode.artifacts.store import load_value, save_value
from py_code_mode.errors import ArtifactFormatError, ArtifactNameError, ArtifactNotFoundError

from .storages import BACKENDS


@pytest.fixture(params=BACKENDS)
def store(request, tmp_path):
    return BACKENDS[request.param](tmp_path).get_artifact_store()


def test_a_value_comes_back_with_its_type_and_its_description(store):
    value = {"a": [1, 2.5, None, True], "b": "ü\ud800\0"}
    saved = save_value(store, "reports/q1", value, "first quarter", {"source": "test", "n": [1]})
    assert load_value(store, "reports/q1") == value
    assert store.get("reports/q1") == saved
    assert (
        saved.to_dict().items()
        >= {
            "name": "reports/q1",
            "description": "first quarter",
            "metadata": {"source": "test", "n": [1]},
            "format": "json",
            "size": saved.size,
            "path": saved.path,
        }.items()
    )


def test_times_are_iso_8601_in_utc_and_replacing_keeps_the_time_of_creation(store):
    first = save_value(store, "a", "one")
    second = save_value(store, "a", b"two", "other", {"k": 1})
    created = datetime.fromisoformat(second.created_at)
    assert created.tzinfo == UTC
    assert datetime.now(UTC) - created < timedelta(seconds=30)
    assert second.created_at == first.created_at
    assert second.updated_at > first.updated_at
    assert [second] == store.list()
    assert load_value(store, "a") == b"two"


def test_artifacts_are_listed_by_name(store):
    for name in ("b", "a/z", "a/b/c", "c.txt", "ä"):
        save_value(store, name, name)
    assert [artifact.name for artifact in store.list()] == ["a/b/c", "a/z", "b", "c.txt", "ä"]


def test_deleting_says_whether_there_was_something(store):
    save_value(store, "a/b", 1)
    save_value(store, "a/c", 2)
    assert [store.exists(name) for name in ("a/b", "a", "a/b/c", "b", "b/c")] == [True, False, False, False, False]
    assert store.delete("a/b") is True
    assert store.exists("a/b") is False
    assert store.delete("a/b") is False
    assert store.get("a/b") is None
    assert load_value(store, "a/c") == 2
    assert store.delete("a/c") is True
    assert save_value(store, "a", 3).name == "a"  # no folder is left in the way


def test_a_missing_artifact_is_an_error_that_names_the_nearest(store):
    save_value(store, "report", 1)
    with pytest.raises(ArtifactNotFoundError, match=r"'reprot'.*did you mean 'report'") as caught:
        store.read("reprot")
    assert caught.value.artifact == "reprot"
    with pytest.raises(LookupError):
        store.read("report/below")


def test_an_empty_value_and_a_large_one_come_back(store):
    large = os.urandom(3 << 20)
    save_value(store, "empty", b"")
    save_value(store, "large", large)
    assert load_value(store, "empty") == b""
    artifact, data = store.read("large")
    assert (artifact.size, bytes(data)) == (3 << 20, large)


def test_what_was_read_stays_as_it_was_when_the_artifact_is_replaced_and_deleted(store):
    save_value(store, "large", b"a" * (2 << 20))
    _, data = store.read("large")
    save_value(store, "large", b"b" * (1 << 20))
    store.delete("large")
    assert bytes(data) == b"a" * (2 << 20)


def test_what_is_written_bit_by_bit_is_there_when_it_is_committed_and_not_before(store):
    save_value(store, "a", "old")
    with closing(store.create("a", "bytes", {"d": 1}, "new one", {"k": 1})) as writer:
        for part in (b"one ", bytearray(b"two "), memoryview(b"three"), b""):
            writer.write(part)
        assert (load_value(store, "a"), len(store.list())) == ("old", 1)
        saved = writer.commit()
    assert (saved.size, saved.format, saved.details, saved.description, saved.metadata) == (
        13,
        "bytes",
        {"d": 1},
        "new one",
        {"k": 1},
    )
    assert store.get("a") == saved
    assert load_value(store, "a") == b"one two three"


def test_what_is_closed_before_it_is_committed_was_never_there(store):
    writer = store.create("given up", "bytes", {})
    writer.write(b"x" * 100_000)
    writer.close()
    writer.close()
    assert store.list() == []


def test_what_was_opened_can_be_read_to_its_end_when_the_artifact_is_replaced_and_deleted(store):
    save_value(store, "large", b"a" * (2 << 20))
    artifact, source = store.open("large")
    with closing(source):
        begin = source.read(1 << 20)
        save_value(store, "large", b"b" * (1 << 20))
        store.delete("large")
        rest = bytearray(artifact.size)
        count = source.readinto(memoryview(rest))
        assert begin + rest[:count] == b"a" * (2 << 20)
        assert source.read(1) == b""
    with pytest.raises(ArtifactNotFoundError):
        store.open("large")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("a//b", "empty part"),
        ("a/", "empty part"),
        ("../x", "'..'"),
        ("a/../b", "'..'"),
        ("./a", "'.'"),
        ("a/.", "'.'"),
        ("a\0b", "NUL"),
        ("x" * 256, "255 bytes"),
        ("a/" + "ü" * 128, "255 bytes"),
        ("/".join(["y" * 250] * 13), "3000 bytes"),
        ("\ud800", "surrogate"),
        (".meta", "reserved"),
        (".meta/x", "reserved"),
        (3, "int"),
        (None, "NoneType"),
    ],
)
def test_a_name_that_artifacts_cannot_have_is_refused_with_the_reason(store, name, reason):
    for use in (
        lambda: save_value(store, name, 1),
        *(partial(ask, name) for ask in (store.read, store.get, store.exists)),
    ):
        with pytest.raises(ArtifactNameError, match=reason):
            use()
    with pytest.raises(ArtifactNameError, match=reason):
        store.delete(name)
    assert store.list() == []


@pytest.mark.parametrize(
    "name", ["x" * 255, "ü" * 127, "-rf", "a b", "a\\b", "new\nline", "index.json", ".hidden", "a/.meta"]
)
def test_an_unusual_name_that_is_allowed_works(store, name):
    save_value(store, name, "value", "described")
    assert load_value(store, name) == "value"
    assert [(artifact.name, artifact.description) for artifact in store.list()] == [(name, "described")]
    assert store.delete(name) is True


def test_a_name_cannot_be_an_artifact_and_a_folder_of_artifacts(store):
    save_value(store, "a", 1)
    with pytest.raises(ArtifactNameError, match=r"'a' is an artifact"):
        save_value(store, "a/b/c", 2)
    save_value(store, "d/e/f", 3)
    with pytest.raises(ArtifactNameError, match="holds other artifacts"):
        save_value(store, "d/e", 4)
    assert [artifact.name for artifact in store.list()] == ["a", "d/e/f"]
    assert (load_value(store, "a"), load_value(store, "d/e/f")) == (1, 3)


@pytest.mark.parametrize("metadata", [[1], "text", {1: 2}, {"a": {2: 3}}, {"a": object()}, {"a": float("nan")}])
def test_metadata_that_is_not_a_json_object_is_refused_and_nothing_is_saved(store, metadata):
    with pytest.raises(ArtifactFormatError, match=r"metadata of 'a'"):
        save_value(store, "a", 1, metadata=metadata)
    assert store.list() == []


def test_a_description_that_is_not_a_string_is_refused(store):
    with pytest.raises(ArtifactFormatError, match="description of 'a' is a string"):
        save_value(store, "a", 1, description=7)


def test_a_payload_of_an_unknown_format_is_refused(store):
    with pytest.raises(ArtifactFormatError, match="unknown format 'pickle'"):
        store.save("a", Payload("pickle", b""))
    with pytest.raises(ArtifactFormatError, match="details"):
        store.save("a", Payload("text", b"", {1: 2}))


def test_metadata_is_kept_as_it_was_when_it_was_saved(store):
    metadata = {"tags": ["a"]}
    save_value(store, "a", 1, metadata=metadata)
    metadata["tags"].append("b")
    found = store.get("a")
    assert found is not None
    assert found.metadata == {"tags": ["a"]}


def test_threads_that_save_one_name_never_mix_a_value_with_the_metadata_of_another(store):
    wrong: list[object] = []

    def work(me: int) -> None:
        try:
            for turn in range(25):
                save_value(store, f"shared/{turn % 3}", f"{me} {turn}", metadata={"me": me, "turn": turn})
                artifact, data = store.read(f"shared/{turn % 3}")
                if bytes(data).decode() != f"{artifact.metadata['me']} {artifact.metadata['turn']}":
                    wrong.append((artifact, bytes(data)))
        except Exception as error:  # noqa: BLE001 - reported by the assertion below
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


PARTS = st.text(st.sampled_from(string.printable + "ÄΩ漢\u0301\U0001f600\udc80\ud800"), max_size=12)
NAMES = st.lists(PARTS, max_size=4).map("/".join) | st.sampled_from(["..", "../..", "a/../..", "/", "~", ".meta"])


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=150, deadline=None)
@given(names=st.lists(NAMES, min_size=1, max_size=4))
def test_any_name_is_either_refused_or_saved_listed_and_read_back_inside_the_workspace(backend, names):
    with tempfile.TemporaryDirectory() as folder:
        store = BACKENDS[backend](Path(folder)).get_artifact_store()
        expected: dict[str, str] = {}
        for turn, name in enumerate(names):
            try:
                save_value(store, name, f"value {turn}")
            except ArtifactNameError:
                continue
            expected[name] = f"value {turn}"
        assert {artifact.name: load_value(store, artifact.name) for artifact in store.list()} == expected
        assert {path.name for path in Path(folder).iterdir()} <= {"workspace"}
        workspace = Path(folder, "workspace")
        assert not workspace.exists() or {path.name for path in workspace.iterdir()} <= {"artifacts"}
