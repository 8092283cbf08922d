"""The bodies of /v1/embeddings: what comes, and what is sent back."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from specdec_server.schemas import BodyRequest, ResponseModel

MAX_TEXTS = 2048
"""OpenAI's own."""

Text = Annotated[str, Field(min_length=1)]


class EmbeddingsRequest(BodyRequest):
    """As OpenAI's, but for token ids: they are of another tokenizer than the encoder's."""

    form = "embeddings"
    input: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    """The first so many, as encoders made for it allow."""
    input_type: Literal["query", "document"] | None = None
    """What the encoder's own words before a text depend on."""
    user: str | None = None


class EmbeddingVector(ResponseModel):
    object: Literal["embedding"]
    index: int
    embedding: tuple[float, ...] | str


class EmbeddingsUsage(ResponseModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingsList(ResponseModel):
    object: Literal["list"]
    data: list[EmbeddingVector]
    model: str
    usage: EmbeddingsUsage
