"""What servers offer beside completions, at their root."""

from __future__ import annotations

import httpx

from specdec.errors import InvalidRequest
from specdec.remote import errors
from specdec.remote.dialects import Fields
from specdec.remote.metrics import Speculated
from specdec.remote.requests import http_request, message
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
    """The ids of a prompt, as the server tells them."""
    prompt, body = request.prompt, Fields(model=server.model)
    if prompt and isinstance(prompt[0], int):
        return tuple(i for i in prompt if isinstance(i, int))
    if server.dialect.tells_ids:
        http = http_request(request, server)
        return await _ids(client, f"{server.base}{http.path}/input_tokens", http.body, "token_ids")
    if isinstance(prompt, str):
        body |= {"prompt": prompt, "content": prompt}
    else:
        body["messages"] = [message(m) for m in prompt if isinstance(m, Message)]
        if request.tools:
            body["tools"] = [dict(t) for t in request.tools]
    return await _ids(client, f"{server.root}/tokenize", body, "tokens")


async def _ids(client: httpx.AsyncClient, url: str, body: Fields, name: str) -> tuple[int, ...]:
    """Raises InvalidRequest where the server tells none."""
    try:
        response = await client.post(url, json=body, timeout=_PATIENCE)
    except httpx.HTTPError as error:
        raise errors.of_transport(error, url) from error
    answer = response.json() if response.status_code == 200 else None
    if not isinstance(answer, dict) or name not in answer:
        raise InvalidRequest("target", url, f"a server that tells the tokens of a prompt ({response.status_code})")
    return tuple(answer[name])
