"""Asks an application in this process, over httpx's ASGI transport, and reads what comes."""

from __future__ import annotations

import json
from typing import Any

import httpx

from specdec.embeddings import Embedder
from specdec.engine import Engine
from specdec_server import ModelPool, Settings, create_app

CHAT = {"messages": [{"role": "user", "content": "Tell me a story."}]}
JSON = dict[str, Any]


class AppClient:
    """One application and its client."""

    def __init__(
        self, engine: Engine | ModelPool, settings: Settings | None = None, embedder: Embedder | None = None
    ) -> None:
        self.app = create_app(engine, settings, embedder)
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")

    async def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        return await self.client.post(path, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    async def answer(self, path: str, body: object) -> JSON:
        """The body of a request that must succeed."""
        response = await self.post(path, body)
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def chat(self, **fields: Any) -> JSON:
        return await self.answer("/v1/chat/completions", CHAT | fields)

    async def chunks(self, path: str, body: JSON) -> list[JSON]:
        """The data of a stream, which must end with [DONE]."""
        response = await self.post(path, body | {"stream": True})
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        *data, done = [text for _, text in events(response.text)]
        assert done == "[DONE]"
        return [json.loads(text) for text in data]

    async def chat_chunks(self, **fields: Any) -> list[JSON]:
        return await self.chunks("/v1/chat/completions", CHAT | fields)

    async def refused(self, path: str, body: object, status: int = 400) -> JSON:
        """The error object of a request that must be refused."""
        response = await self.post(path, body)
        assert response.status_code == status, response.text
        return error_of(response)


def error_of(response: httpx.Response) -> JSON:
    assert set(response.json()) == {"error"}
    error = dict(response.json()["error"])
    assert set(error) == {"message", "type", "param", "code"}
    return error


def events(text: str) -> list[tuple[str | None, str]]:
    """Name and data of each event, read as the specification of server-sent events says."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if "data" in fields:
            found.append((fields.get("event"), fields["data"]))
    return found


def deltas(chunks: list[JSON], index: int = 0) -> list[JSON]:
    """The deltas of one choice."""
    return [c["delta"] for chunk in chunks for c in chunk["choices"] if c["index"] == index]


def content(chunks: list[JSON], index: int = 0) -> str:
    return "".join(d.get("content") or "" for d in deltas(chunks, index))
