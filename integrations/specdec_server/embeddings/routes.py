"""The route of /v1/embeddings."""

from __future__ import annotations

import asyncio
import base64
import sys
from array import array
from pathlib import Path

from fastapi import APIRouter
from fastapi import Request as HttpRequest

from specdec.embeddings import Embedder
from specdec_server.bodies import received
from specdec_server.embeddings.schemas import EmbeddingsList, EmbeddingsRequest, EmbeddingsUsage, EmbeddingVector
from specdec_server.errors import Refusal, busy
from specdec_server.openapi import body_of
from specdec_server.settings import Settings


def embedding_routes(embedder: Embedder, settings: Settings) -> APIRouter:
    router = APIRouter()
    name = Path(embedder.model).resolve().name if Path(embedder.model).exists() else embedder.model
    waiting = 0

    @router.post("/v1/embeddings", **body_of(EmbeddingsRequest))
    async def embeddings(http: HttpRequest) -> EmbeddingsList:
        """Texts as vectors of length 1."""
        nonlocal waiting
        body = await received(http, EmbeddingsRequest, settings)
        if body.model not in (None, name) and not settings.any_name:
            message = f"there is no such encoder; this server has {name!r}"
            raise Refusal(404, message, code="model_not_found", param="model")
        if waiting > settings.queue:
            raise busy(1)
        texts = [body.input] if isinstance(body.input, str) else body.input
        waiting += 1
        try:
            embedded = await asyncio.to_thread(embedder.embed, texts, body.input_type or "document", body.dimensions)
        finally:
            waiting -= 1
        data = [
            EmbeddingVector(object="embedding", index=index, embedding=_encoded(vector, body.encoding_format))
            for index, vector in enumerate(embedded.vectors)
        ]
        usage = EmbeddingsUsage(prompt_tokens=embedded.tokens, total_tokens=embedded.tokens)
        http.state.facts |= {"texts": len(texts), "prompt_tokens": embedded.tokens}
        return EmbeddingsList(object="list", data=data, model=name, usage=usage)

    return router


def refusing_routes() -> APIRouter:
    """Where there is no encoder."""
    router = APIRouter()

    @router.post("/v1/embeddings", include_in_schema=False)
    async def embeddings() -> None:
        raise Refusal(404, "this server has no encoder; expected one that was started with --embed", code="no_encoder")

    return router


def _encoded(vector: tuple[float, ...], form: str | None) -> tuple[float, ...] | str:
    """base64 is of 32-bit floats, little-endian."""
    if form != "base64":
        return vector
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()
