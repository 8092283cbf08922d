"""/health, /ready, /metrics and /v1/models."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

from fastapi import APIRouter, Response

from specdec_server.errors import Refusal
from specdec_server.openapi import ERRORS
from specdec_server.runs import Runs
from specdec_server.schemas import ResponseModel


class Health(ResponseModel):
    status: Literal["ok", "ready"]


class ModelCard(ResponseModel):
    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["specdec"]
    max_model_len: int
    """Tokens that prompt and answer may fill."""


class ModelList(ResponseModel):
    object: Literal["list"]
    data: list[ModelCard]


def status_routes(runs: Runs, model: str) -> APIRouter:
    router = APIRouter()
    card = ModelCard(
        id=model,
        object="model",
        created=int(time.time()),
        owned_by="specdec",
        max_model_len=runs.engine.info.context,
    )

    @router.get("/health")
    async def health() -> Health:
        """The server is alive."""
        return Health(status="ok")

    @router.get("/ready", responses=ERRORS)
    async def ready() -> Health:
        """The server takes requests: its engine is alive, and it is not shutting down."""
        runs.check_ready()
        return Health(status="ready")

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """For Prometheus."""
        stats = await asyncio.to_thread(runs.engine.stats)
        text = runs.metrics.exposition(stats, runs.engine.info.slots)
        return Response(text, media_type="text/plain; version=0.0.4")

    @router.get("/v1/models")
    async def models() -> ModelList:
        """What can be asked."""
        return ModelList(object="list", data=[card])

    @router.get("/v1/models/{name:path}", responses=ERRORS)
    async def one_model(name: str) -> ModelCard:
        check_model(name, model)
        return card

    return router


def check_model(asked: str | None, served: str) -> None:
    """Raises Refusal unless the client asks for the model that there is, or for none in particular."""
    if asked not in (None, served):
        raise Refusal(404, f"there is no such model; this server has {served!r}", code="model_not_found", param="model")
