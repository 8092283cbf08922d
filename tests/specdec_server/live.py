"""A real server on loopback, in a thread, for what only a real connection shows."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from specdec.embeddings import Embedder
from specdec.engine import Engine
from specdec_server import ModelPool, Settings, create_app
from specdec_server.serving import SpecDecServer, bound

PATIENCE = 20.0


class LiveServer:
    """Runs until `stop()`; `client` talks to it, `connect()` is a bare connection."""

    def __init__(
        self, engine: Engine | ModelPool, settings: Settings | None = None, embedder: Embedder | None = None
    ) -> None:
        settings = settings or (engine.settings if isinstance(engine, ModelPool) else Settings(grace=0.2))
        self.app = create_app(engine, settings, embedder)
        self.socket = bound("127.0.0.1", 0)
        self.port = self.socket.getsockname()[1]
        self.server = SpecDecServer(self.app, settings)
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],))
        self.thread.start()
        wait_until(lambda: self.server.started)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE)

    def stop(self) -> None:
        self.client.close()
        self.server.should_exit = True
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "the server did not stop"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def send(self, raw: bytes) -> socket.socket:
        connection = self.connect()
        connection.sendall(raw)
        return connection

    def ask(self, path: str, body: object) -> socket.socket:
        """A request whose answer is left unread for now."""
        return self.send(request(path, body))

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.client.post(path, json=body)


@contextmanager
def live(
    engine: Engine | ModelPool, settings: Settings | None = None, embedder: Embedder | None = None
) -> Iterator[LiveServer]:
    server = LiveServer(engine, settings, embedder)
    try:
        yield server
    finally:
        server.stop()


def request(path: str, body: object, host: str = "127.0.0.1", **headers: str) -> bytes:
    """The bytes of a POST."""
    data = json.dumps(body).encode()
    fields = {"Host": host, "Content-Type": "application/json", "Content-Length": str(len(data))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + data


def read_all(connection: socket.socket) -> bytes:
    """Until the server closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def read_until(connection: socket.socket, mark: bytes) -> bytes:
    read = bytearray()
    while mark not in read[-65536 - len(mark) :]:
        part = connection.recv(65536)
        assert part, f"the connection ended before {mark!r}: {read!r}"
        read += part
    return bytes(read)


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)
