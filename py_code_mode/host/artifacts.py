"""What ``artifacts`` asks for."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import AsyncIterable
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from kernel_bootstrap.formats import Payload
from kernel_bootstrap.wire import ONE_MESSAGE
from py_code_mode.artifacts.store import ArtifactStore
from py_code_mode.errors import ArtifactError, ArtifactNotFoundError
from py_code_mode.tools.hints import nearest

from .transfer import Outgoing, finished

if TYPE_CHECKING:
    from .server import Handlers


def handlers(store: ArtifactStore) -> Handlers:
    """The methods of ``artifacts`` over one store. Values come as bytes in a format; none is unpacked here."""

    async def save(
        name: str,
        format: str,  # noqa: A002 - the name on the wire
        data: Any,
        details: Any = None,
        description: str = "",
        metadata: Any = None,
    ) -> dict[str, Any]:
        if isinstance(data, bytes | bytearray | memoryview):
            payload = Payload(format, data, details or {})
            return (await to_thread(store.save, name, payload, description, metadata)).to_dict()
        if not isinstance(data, AsyncIterable):
            raise ArtifactError("the data of an artifact is sent as bytes", artifact=str(name))
        create = partial(store.create, name, format, details or {}, description, metadata)
        writer = await finished(create, lambda writer: writer.close())
        try:
            async for part in data:
                await finished(partial(writer.write, part))
            return (await finished(writer.commit)).to_dict()
        finally:
            await finished(writer.close)

    async def load(name: str) -> dict[str, Any] | Outgoing:
        return await finished(partial(open_or_read, name), give_back)

    def open_or_read(name: str) -> dict[str, Any] | Outgoing:
        artifact, source = store.open(name)
        value = {"format": artifact.format, "details": artifact.details}
        if artifact.size > ONE_MESSAGE:
            return Outgoing(value, source, artifact.size)
        with closing(source):
            return {**value, "data": source.read(artifact.size)}

    def give_back(found: dict[str, Any] | Outgoing) -> None:
        if isinstance(found, Outgoing):
            found.close()

    async def head(name: str, size: int) -> dict[str, Any]:
        return await to_thread(_read_head, store, name, size)

    async def get(name: str) -> dict[str, Any] | None:
        artifact = await to_thread(store.get, name)
        return None if artifact is None else artifact.to_dict()

    async def exists(name: str) -> bool:
        return await to_thread(store.exists, name)

    async def list_() -> list[dict[str, Any]]:
        return [artifact.to_dict() for artifact in await to_thread(store.list)]

    async def delete(name: str) -> None:
        if not await to_thread(store.delete, name):
            names = [found.name for found in await to_thread(store.list)]
            raise ArtifactNotFoundError(f"no artifact {name!r}{nearest(name, names)}", artifact=name)

    return {
        "artifacts.save": save,
        "artifacts.load": load,
        "artifacts.head": head,
        "artifacts.get": get,
        "artifacts.exists": store.exists if store.is_near else exists,
        "artifacts.list": list_,
        "artifacts.delete": delete,
    }


def _read_head(store: ArtifactStore, name: str, size: int) -> dict[str, Any]:
    artifact, source = store.open(name)
    with closing(source):
        data = source.read(max(0, min(size, artifact.size, ONE_MESSAGE)))
    return {"format": artifact.format, "details": artifact.details, "size": artifact.size, "data": data}
