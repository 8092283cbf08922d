"""Connecting: is this an OpenAI-compatible server, of which kind, with which model, and does it speculate?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
from pydantic import BaseModel, Field, ValidationError

from specdec.errors import InvalidRequest, LoadError
from specdec.remote import failures
from specdec.remote.address import Address
from specdec.remote.dialects import VLLM, of_owner
from specdec.remote.metrics import DRAFTS, counters
from specdec.remote.server import Server

_PATIENCE = 10.0
"""Seconds for each of these small questions."""


class Model(BaseModel):
    id: str
    owned_by: str = ""
    max_model_len: int | None = None


class Models(BaseModel):
    data: list[Model] = Field(min_length=1)


async def discover(client: httpx.AsyncClient, address: Address) -> Server:
    """Raises LoadError, or InvalidRequest for the model's name."""
    model = _chosen(await _models(client, address), address)
    dialect = of_owner(model.owned_by)
    server = Server(address.base, model.id, dialect, context=model.max_model_len)
    version = await _get(client, f"{server.root}/version")
    page = await _get(client, f"{server.root}/metrics") if dialect is VLLM else None
    speculates = None if page is None else DRAFTS in counters(page.text)
    return replace(server, version=_version(version), speculates=speculates)


async def _models(client: httpx.AsyncClient, address: Address) -> list[Model]:
    base = address.base
    try:
        response = await client.get(f"{base}/models", timeout=_PATIENCE)
    except httpx.HTTPError as error:
        raise failures.of_load(failures.of_transport(error, base, 0)) from error
    if response.status_code == 404:
        raise LoadError(f"{base}/models answers 404; {_path_advice(address)}")
    if response.status_code != 200:
        answer = failures.of_answer(response, base, {})
        raise failures.of_load(answer.error if isinstance(answer, failures.TryAgain) else answer)
    try:
        return Models.model_validate_json(response.content).data
    except ValidationError:
        said = failures.words(response)[:80]
        raise LoadError(f"{base}/models is no list of models but {said!r}; {_path_advice(address)}") from None


def _path_advice(address: Address) -> str:
    if address.base.endswith("/v1"):
        return "is this an OpenAI-compatible server?"
    return f"the base URL of most servers ends in /v1: {address.base}/v1"


def _chosen(models: list[Model], address: Address) -> Model:
    names = [m.id for m in models]
    if address.model is None and len(models) > 1:
        raise InvalidRequest("target", address.base, f"one model of several, such as {address.base}#{names[0]}; "
                             f"it has {', '.join(names)}")  # fmt: skip
    for model in models:
        if address.model in (None, model.id):
            return model
    raise InvalidRequest("model", address.model, f"one that {address.base} has: {', '.join(names)}")


async def _get(client: httpx.AsyncClient, url: str) -> httpx.Response | None:
    """What not every server has, nor every proxy lets through."""
    try:
        response = await client.get(url, timeout=_PATIENCE)
    except httpx.HTTPError:
        return None
    return response if response.status_code == 200 else None


def _version(response: httpx.Response | None) -> str | None:
    try:
        body: Any = response.json() if response else None
    except ValueError:
        return None
    version = body.get("version") if isinstance(body, dict) else None
    return version if isinstance(version, str) else None
