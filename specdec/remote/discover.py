"""Connecting: is this an OpenAI-compatible server, of which kind, with which model, and does it speculate?"""

from __future__ import annotations

from dataclasses import replace

import httpx
from pydantic import BaseModel, Field, ValidationError

from specdec.errors import InvalidRequest, LoadError
from specdec.remote import errors
from specdec.remote.dialects import of_owner
from specdec.remote.metrics import DRAFTS, counters
from specdec.remote.server import Address, ServerInfo

_PATIENCE = 10.0
"""Seconds for each of these small questions."""


class ServedModel(BaseModel):
    id: str
    owned_by: str = ""
    max_model_len: int | None = None


class ServedModels(BaseModel):
    data: list[ServedModel] = Field(min_length=1)


class Version(BaseModel):
    version: str


async def discover(client: httpx.AsyncClient, address: Address) -> ServerInfo:
    """Raises LoadError, or InvalidRequest for the model's name."""
    base, models = address.base, await _models(client, address.base)
    names = [m.id for m in models]
    if address.model is None and len(models) > 1:
        several = f"one model of several, such as {base}#{names[0]}; it has {', '.join(names)}"
        raise InvalidRequest("target", base, several)
    if address.model is not None and address.model not in names:
        raise InvalidRequest("model", address.model, f"one that {base} has: {', '.join(names)}")
    model = models[0 if address.model is None else names.index(address.model)]
    dialect = of_owner(model.owned_by)
    server = ServerInfo(base, model.id, dialect, context=model.max_model_len)
    try:
        version = Version.model_validate_json(await _get(client, f"{server.root}/version")).version
    except ValidationError:
        version = None
    page = await _get(client, f"{server.root}/metrics") if dialect.metrics else ""
    return replace(server, version=version, speculates=DRAFTS in counters(page) if page else None)


async def _models(client: httpx.AsyncClient, base: str) -> list[ServedModel]:
    advice = "is this an OpenAI-compatible server?"
    if not base.endswith("/v1"):
        advice = f"the base URL of most servers ends in /v1: {base}/v1"
    try:
        response = await client.get(f"{base}/models", timeout=_PATIENCE)
    except httpx.HTTPError as error:
        raise LoadError(str(errors.of_transport(error, base))) from error
    if response.status_code == 404:
        raise LoadError(f"{base}/models answers 404; {advice}")
    if response.status_code != 200:
        raise LoadError(str(errors.of_response(response, base, {})))
    try:
        return ServedModels.model_validate_json(response.content).data
    except ValidationError:
        said = errors.words(response)[:80]
        raise LoadError(f"{base}/models is no list of models but {said!r}; {advice}") from None


async def _get(client: httpx.AsyncClient, url: str) -> str:
    """What not every server has, nor every proxy lets through; else nothing."""
    try:
        response = await client.get(url, timeout=_PATIENCE)
    except httpx.HTTPError:
        return ""
    return response.text if response.status_code == 200 else ""
