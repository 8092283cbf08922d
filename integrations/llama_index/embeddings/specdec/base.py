"""`SpecDecEmbedding`, the embedding class: an encoder of this process, or a server's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from pydantic import Field, SecretStr

from specdec.embeddings import TextKind, shared_embedder


class SpecDecEmbedding(BaseEmbedding):
    """An encoder that sentence-transformers loads, by folder or hub id; or with a `base_url` one of a server:
    `specdec serve --embed`, or any in OpenAI's form. All objects that name the same encoder share it."""

    base_url: str | None = None
    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)
    device: str = "auto"
    dimensions: int | None = None

    def __init__(self, model_name: str, **fields: Any) -> None:
        super().__init__(model_name=model_name, **fields)

    @classmethod
    def class_name(cls) -> str:
        return "specdec_embedding"

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._vectors([text], "document")[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._vectors(texts, "document")

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._vectors([query], "query")[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    def _vectors(self, texts: Sequence[str], kind: TextKind) -> list[list[float]]:
        key = self.api_key.get_secret_value() if self.api_key else None
        embedder = shared_embedder(self.model_name, self.base_url, key, self.device)
        return [list(vector) for vector in embedder.embed(texts, kind, self.dimensions).vectors]
