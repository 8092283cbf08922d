"""A hub on this machine that has two models, and cuts a file off as often as a test wants."""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

NAME, COMMIT = "owner/model", "a" * 40
FILES = {"config.json": b'{"model_type": "llama"}', "model.safetensors": random.Random(0).randbytes(24 * 2**20)}
LARGE = "model.safetensors"
GGUF_NAME = "owner/tiny-GGUF"
GGUF = {"config.json": b"{}", "Tiny-Q4_K_M.gguf": b"GGUF four", "Tiny-Q8_0.gguf": b"GGUF eight"}
_MODELS = {NAME: FILES, GGUF_NAME: GGUF}


class Hub(ThreadingHTTPServer):
    """`cuts`: how many more downloads of the large file end in their middle; `held`: the others wait there while this
    is not set; `ranges`: from where it was asked for; `searched`: for which words; `gone`: there is no model."""

    daemon_threads = True
    cuts = 0
    gone = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ranges: list[int] = []
        self.searched: list[str] = []
        self.held = threading.Event()
        self.held.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def hub() -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@contextmanager
def on_this_machine(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """One with an empty cache, for other processes; this one has read its variables already."""
    with hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(cache))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield server


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        path, _, query = self.path.partition("?")
        name = path.rpartition("/")[2]
        model = next((model for model in _MODELS if f"/{model}" in path), NAME)
        files = _MODELS[model]
        if self.server.gone:
            self.send_error(404)
        elif path == "/api/models":
            self.server.searched += parse_qs(query)["search"]
            self._json([{"id": NAME, "downloads": 1234}])
        elif "/tree/" in path:
            self._json([{"type": "file", "path": n, "size": len(b), "oid": n} for n, b in files.items()])
        elif path.startswith("/api/models"):
            siblings = [{"rfilename": n, "size": len(b)} for n, b in files.items()]
            self._json({"id": model, "sha": COMMIT, "siblings": siblings})
        elif name in files:
            self._file(name, files[name], body=body)
        else:
            self.send_error(404)

    def _json(self, value: Any) -> None:
        self._send(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _file(self, name: str, data: bytes, *, body: bool) -> None:
        begin = 0
        if found := self.headers.get("Range"):
            begin = int(found.removeprefix("bytes=").partition("-")[0])
        told = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
        told |= {"Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"} if found else {}
        cut = body and name == LARGE and self.server.cuts > 0
        if body and name == LARGE:
            self.server.ranges.append(begin)
            self.server.cuts -= cut
        self._send(data[begin:], told, status=206 if found else 200, body=body, cut=cut)

    def _send(
        self, data: bytes, told: dict[str, str], *, status: int = 200, body: bool = True, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in {**told, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            if not cut:
                if len(data) > 2**20:
                    self.server.held.wait(60)
                self.wfile.write(data[len(data) // 2 :])
        self.close_connection = cut
