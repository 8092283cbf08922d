"""What servers offer beside completions, at their root."""

from __future__ import annotations

import httpx

from specdec.errors import EngineError
from specdec.remote import errors
from specdec.remote.dialects import Fields
from specdec.remote.metrics import Speculated
from specdec.remote.requests import message
from specdec.remote.server import ServerInfo
from specdec.types import Message, Request

_PATIENCE = 30.0


async def speculated(client: httpx.AsyncClient, server: ServerInfo) -> Speculated | None:
    """The counters of its /metrics, if it has them."""
    try:
        page = await client.get(f"{server.root}/metrics", timeout=_PATIENCE)
    except httpx.HTTPError as error:
        raise errors.of_transport(error, server.base) from error
    return Speculated.of(page.text) if page.status_code == 200 else None


async def token_count(client: httpx.AsyncClient, server: ServerInfo, text: str) -> int:
    """How many tokens the server's tokenizer makes of a text, without those that it puts before every text."""
    counts = []
    for part in (text, ""):
        response = await client.post(f"{server.root}{server.dialect.recount}", json={"input": part}, timeout=_PATIENCE)
        counts.append(int(response.raise_for_status().json()["count"]))
    return counts[0] - counts[1]


async def tokenize(client: httpx.AsyncClient, server: ServerInfo, request: Request) -> tuple[int, ...]:
    """The ids of a prompt, by its /tokenize."""
    prompt, body = request.prompt, Fields(model=server.model)
    if prompt and isinstance(prompt[0], int):
        return tuple(i for i in prompt if isinstance(i, int))
    if isinstance(prompt, str):
        body |= {"prompt": prompt, "content": prompt}
    else:
        body["messages"] = [message(m) for m in prompt if isinstance(m, Message)]
        if request.tools:
            body["tools"] = [dict(t) for t in request.tools]
    try:
        response = await client.post(f"{server.root}/tokenize", json=body, timeout=_PATIENCE)
    except httpx.HTTPError as error:
        raise errors.of_transport(error, server.base) from error
    answer = response.json() if response.status_code == 200 else None
    if not isinstance(answer, dict) or "tokens" not in answer:
        raise EngineError(
            f"{server.root}/tokenize answers {response.status_code}: the server does not count tokens for clients"
        )
    return tuple(answer["tokens"])
