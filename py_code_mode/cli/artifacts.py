"""``py-code-mode artifacts``: the artifacts of a workspace, without a kernel."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from .options import Base, base_option, json_option
from .output import print_json, print_rows

if TYPE_CHECKING:
    from py_code_mode.artifacts.artifact import Artifact
    from py_code_mode.artifacts.store import ArtifactStore


@click.group("artifacts")
def command() -> None:
    """The artifacts of a workspace: values that code has saved. They lie in artifacts/."""


@command.command("list")
@base_option()
@json_option
def list_artifacts(base: Base, as_json: bool) -> None:
    """List the artifacts."""
    found = _store(base).list()
    if as_json:
        print_json([artifact.to_dict() for artifact in found])
        return
    rows = [(item.name, item.format, f"{item.size:,}", item.created_at, item.description) for item in found]
    print_rows(("Artifact", "Format", "Bytes", "Created", "Description"), rows)


@command.command()
@click.argument("name")
@base_option()
@json_option
def show(name: str, base: Base, as_json: bool) -> None:
    """Describe the artifact NAME."""
    artifact = _require(_store(base), name)
    if as_json:
        print_json(artifact.to_dict())
        return
    for key, value in artifact.to_dict().items():
        if value not in ("", {}):
            print(f"{key}: {value if isinstance(value, str) else json.dumps(value)}")


@command.command()
@click.argument("name")
@click.argument("file", type=click.File("rb"))
@click.option("--description", default="", help="What it is.")
@base_option(new=True)
@json_option
def add(name: str, file: BinaryIO, description: str, base: Base, as_json: bool) -> None:
    """Save the content of FILE (- is the standard input) as the artifact NAME, in place of an older one.

    Code loads it as text, JSON, an array or a table where it is that, by its content and the suffix of
    NAME; else as bytes.
    """
    from kernel_bootstrap.formats import Payload, guess

    data = file.read()
    artifact = _store(base).save(name, Payload(guess(name, data), data), description)
    if as_json:
        print_json(artifact.to_dict())
    else:
        print(f"{artifact.name}: {artifact.format}, {artifact.size:,} bytes")


@command.command()
@click.argument("name")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), default="-")
@base_option()
@json_option
def get(name: str, file: str, base: Base, as_json: bool) -> None:
    """Write the stored bytes of the artifact NAME to FILE, by default to the standard output.

    With --json an object that describes the artifact goes to the standard output. Without FILE it has the content
    as `data`, and as `encoding` what that is: json (the value), text, or base64 (of any other bytes).
    With FILE the bytes go there, which is better for large ones, and the object has its path as `file`.
    """
    artifact, data = _store(base).read(name)
    to_file = file != "-"
    if to_file and Path(file).exists() and isinstance(base, Path) and Path(file).samefile(artifact.path):
        raise click.UsageError(f"{file!r} is the artifact itself; give another FILE")
    if to_file or not as_json:
        with click.open_file(file, "wb", lazy=True) as stream:
            stream.write(data)
    if as_json:
        content = {"file": str(Path(file).absolute())} if to_file else _content(artifact.format, bytes(data))
        print_json(artifact.to_dict() | content)


def _content(form: str, data: bytes) -> dict[str, Any]:
    """``data`` as JSON can hold it. A file that a person put there may be less than its name says."""
    if form == "json":
        try:
            value = json.loads(data)
            json.dumps(value, allow_nan=False, indent=2)  # as it is going to be printed
            return {"encoding": "json", "data": value}
        except (ValueError, RecursionError):
            pass
    if form in ("json", "text"):
        try:
            return {"encoding": "text", "data": data.decode("utf-8", "surrogatepass")}
        except UnicodeDecodeError:
            pass
    return {"encoding": "base64", "data": base64.b64encode(data).decode("ascii")}


@command.command("rm")
@click.argument("name")
@base_option()
@json_option
def remove(name: str, base: Base, as_json: bool) -> None:
    """Remove the artifact NAME."""
    store = _store(base)
    if not store.delete(name):
        _require(store, name)  # raises, with the nearest names
    if as_json:
        print_json({"name": name, "removed": True})
    else:
        print(f"removed {name}")


def _store(base: Base) -> ArtifactStore:
    from py_code_mode.storage.bases import storage_at

    return storage_at(base).get_artifact_store()


def _require(store: ArtifactStore, name: str) -> Artifact:
    artifact = store.get(name)
    if artifact is None:
        from py_code_mode.artifacts.store import not_found

        raise not_found(name, (found.name for found in store.list()))
    return artifact
