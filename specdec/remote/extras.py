"""What servers offer beside completions, at their root."""

from __future__ import annotations

import httpx

from specdec.errors import EngineError
from specdec.remote import failures
from specdec.remote.asking import message
from specdec.remote.dialects import Fields
from specdec.remote.metrics import Speculated
from specdec.remote.server import Server
from specdec.types import Message, Request

_PATIENCE = 30.0


async def speculated(client: httpx.AsyncClient, server: Server) -> Speculated | None:
    """The counters of its /metrics, if it has them."""
    try:
        page = await client.get(f"{server.root}/metrics", timeout=_PATIENCE)
    except httpx.HTTPError as error:
        raise failures.of_transport(error, server.base, 0) from error
    return Speculated.of(page.text) if page.status_code == 200 else None


async def recounted(client: httpx.AsyncClient, server: Server, text: str) -> int:
    """How many tokens the server's tokenizer makes of a text, without those that it puts before every text."""
    counts = []
    for part in (text, ""):
        response = await client.post(f"{server.root}{server.dialect.recount}", json={"input": part}, timeout=_PATIENCE)
        counts.append(int(response.raise_for_status().json()["count"]))
    return counts[0] - counts[1]


async def tokenized(client: httpx.AsyncClient, server: Server, request: Request) -> tuple[int, ...]:
    """The ids of a prompt, by its /tokenize."""
    if request.prompt and isinstance(request.prompt[0], int):
        return tuple(i for i in request.prompt if isinstance(i, int))
    try:
        response = await client.post(f"{server.root}/tokenize", json=_question(request, server), timeout=_PATIENCE)
    except httpx.HTTPError as error:
        raise failures.of_transport(error, server.base, 0) from error
    body = response.json() if response.status_code == 200 else None
    if not isinstance(body, dict) or "tokens" not in body:
        raise EngineError(
            f"{server.root}/tokenize answers {response.status_code}: the server does not count tokens for clients"
        )
    return tuple(body["tokens"])


def _question(request: Request, server: Server) -> Fields:
    if isinstance(request.prompt, str):
        return {"model": server.model, "prompt": request.prompt, "content": request.prompt}
    turns = [message(m) for m in request.prompt if isinstance(m, Message)]
    tools = {"tools": [dict(t) for t in request.tools]} if request.tools else {}
    return {"model": server.model, "messages": turns, **tools}
