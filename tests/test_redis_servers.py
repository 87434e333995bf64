"""Other ways to Redis: a cluster, TLS."""

from __future__ import annotations

import select
import socket
import ssl
import subprocess
import threading
import time
from contextlib import closing, suppress

import pytest
import redis

from py_code_mode import RedisStorage
from py_code_mode.artifacts.store import load_value, save_value
from py_code_mode.errors import StorageError

from .redis_servers import RedisServer, shared_server

SOURCE = "async def run() -> int:\n    return 1\n"


def use_all_of(storage):
    """Write, list, read and delete in each store."""
    artifacts, library = storage.get_artifact_store(), storage.get_workflow_library()
    save_value(artifacts, "a/b", b"x" * (3 << 20))
    save_value(artifacts, "c", 1)
    assert load_value(artifacts, "a/b") == b"x" * (3 << 20)
    assert [artifact.name for artifact in artifacts.list()] == ["a/b", "c"]
    assert artifacts.delete("c") is True
    library.create("one", SOURCE, "One")
    library.create("two", SOURCE, "Two")
    assert [workflow.name for workflow in library.list()] == ["one", "two"]
    assert library.delete("one") is True
    assert [workflow.name for workflow in library.list()] == ["two"]
    tools = storage.get_tool_store()
    tools.write("a", b"name: a")
    tools.write("b", b"name: b")
    assert tools.read(tools.stamps()) == {"a": b"name: a", "b": b"name: b"}
    assert tools.delete("a") is True
    storage.get_dependency_store().add("pandas")
    assert storage.get_dependency_store().read() == ["pandas"]


def test_a_cluster_is_used_through_its_client():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = 20_000 + free.getsockname()[1] % 10_000  # the port of the cluster's bus is 10,000 higher
    server = RedisServer("--bind", "127.0.0.1", "--port", str(port), "--cluster-enabled", "yes")
    with closing(server), redis.Redis.from_url(server.url) as client:
        client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384))
        deadline = time.monotonic() + 20
        while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            assert time.monotonic() < deadline
        with closing(redis.RedisCluster(host="127.0.0.1", port=port)) as cluster:
            use_all_of(RedisStorage(redis=cluster, prefix="team"))


class TLSDoor:
    """A port at which TLS is spoken, before the Redis that the tests share."""

    def __init__(self, folder) -> None:
        self.certificate = f"{folder}/cert.pem"
        command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -out {self.certificate}"
        command += f" -addext subjectAltName=DNS:localhost -keyout {folder}/key.pem"
        subprocess.run(command.split(), check=True, capture_output=True, timeout=30)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, f"{folder}/key.pem")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            with suppress(ssl.SSLError, ConnectionError), accepted:
                accepted.settimeout(20)
                with self._context.wrap_socket(accepted, server_side=True) as visitor:
                    self._serve(visitor)

    def _serve(self, visitor: ssl.SSLSocket) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(shared_server().path)
            while True:
                ready = [visitor] if visitor.pending() else select.select([visitor, server], [], [])[0]
                for source, target in ((visitor, server), (server, visitor)):
                    if source in ready:
                        data = source.recv(1 << 16)
                        if not data:
                            return
                        target.sendall(data)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


def test_tls_works_and_a_certificate_that_is_not_trusted_is_an_error(tmp_path):
    with closing(TLSDoor(tmp_path)) as door:
        url = f"rediss://localhost:{door.port}/0"
        with redis.Redis.from_url(f"{url}?ssl_ca_certs={door.certificate}") as client:
            use_all_of(RedisStorage(redis=client, prefix=f"tls-{tmp_path}"))
        storage = RedisStorage(url, prefix="tls")
        with pytest.raises(StorageError, match=f"at {url}/tls: Redis cannot be reached .*certificate"):
            storage.get_artifact_store().list()
