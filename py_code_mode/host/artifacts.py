"""What ``artifacts`` asks for."""

from __future__ import annotations

from asyncio import to_thread
from typing import Any

from kernel_bootstrap.formats import Payload
from py_code_mode.artifacts.store import ArtifactStore
from py_code_mode.errors import ArtifactError, ArtifactNotFoundError
from py_code_mode.tools.hints import nearest

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
        if not isinstance(data, bytes | bytearray | memoryview) or not isinstance(details or {}, dict):
            raise ArtifactError("the data of an artifact is sent as bytes with details", artifact=str(name))
        payload = Payload(format, data, details or {})
        return (await to_thread(store.save, name, payload, description, metadata)).to_dict()

    async def load(name: str) -> dict[str, Any]:
        artifact, data = await to_thread(store.read, name)
        return {"format": artifact.format, "data": data, "details": artifact.details}

    async def get(name: str) -> dict[str, Any] | None:
        artifact = await to_thread(store.get, name)
        return None if artifact is None else artifact.to_dict()

    async def exists(name: str) -> bool:
        return await to_thread(store.get, name) is not None

    async def list_() -> list[dict[str, Any]]:
        return [artifact.to_dict() for artifact in await to_thread(store.list)]

    async def delete(name: str) -> None:
        if not await to_thread(store.delete, name):
            names = [found.name for found in await to_thread(store.list)]
            raise ArtifactNotFoundError(f"no artifact {name!r}{nearest(name, names)}", artifact=name)

    return {
        "artifacts.save": save,
        "artifacts.load": load,
        "artifacts.get": get,
        "artifacts.exists": exists,
        "artifacts.list": list_,
        "artifacts.delete": delete,
    }
