"""/health, /ready, /metrics and /v1/models."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

from fastapi import APIRouter, Response

from specdec_server.openapi import ERRORS
from specdec_server.pool import HostedModel, ModelPool, ModelState
from specdec_server.schemas import ResponseModel


class Health(ResponseModel):
    status: Literal["ok", "ready"]


class ModelCard(ResponseModel):
    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["specdec"]
    max_model_len: int | None
    """Tokens that prompt and answer may fill; null until the model is loaded."""
    state: ModelState
    aliases: tuple[str, ...]


class ModelList(ResponseModel):
    object: Literal["list"]
    data: list[ModelCard]


def status_routes(pool: ModelPool) -> APIRouter:
    router = APIRouter()
    created = int(time.time())

    def card(model: HostedModel) -> ModelCard:
        info = model.runs.engine.info if model.runs else None
        return ModelCard(
            id=model.name,
            object="model",
            created=created,
            owned_by="specdec",
            max_model_len=info.context if info and info.context_known else None,
            state=model.state,
            aliases=model.aliases,
        )

    @router.get("/health")
    async def health() -> Health:
        """The server is alive."""
        return Health(status="ok")

    @router.get("/ready", responses=ERRORS)
    async def ready() -> Health:
        """The server takes requests: its engine is alive, and it is not shutting down."""
        pool.check_ready()
        return Health(status="ready")

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """For Prometheus."""
        stats, slots = await asyncio.to_thread(pool.stats)
        return Response(pool.metrics.exposition(stats, slots), media_type="text/plain; version=0.0.4")

    @router.get("/v1/models")
    async def models() -> ModelList:
        """What can be asked."""
        return ModelList(object="list", data=[card(model) for model in pool.models])

    @router.get("/v1/models/{name:path}", responses=ERRORS)
    async def one_model(name: str) -> ModelCard:
        return card(pool.find(name))

    return router
