"""A server's /v1/embeddings: ours, or any in OpenAI's form."""

from __future__ import annotations

import os
from collections.abc import Sequence

import httpx
from pydantic import BaseModel, ValidationError

from specdec.embeddings.base import Embedded, TextKind
from specdec.errors import EngineFailed

_PATIENCE = 300.0
API_KEY = "SPECDEC_API_KEY"


class _Vector(BaseModel):
    index: int
    embedding: tuple[float, ...]


class _Usage(BaseModel):
    prompt_tokens: int = 0


class _Answer(BaseModel):
    data: list[_Vector]
    usage: _Usage = _Usage()


class RemoteEmbedder:
    """`url`: http://host:8000/v1. `api_key`: default SPECDEC_API_KEY. A `kind` is sent to servers that are asked for
    queries only: others than ours may not know the field, and documents are what they take texts for."""

    def __init__(self, url: str, model: str, api_key: str | None = None) -> None:
        self.model, self._url = model, url.rstrip("/")
        key = os.environ.get(API_KEY) if api_key is None else api_key
        self._client = httpx.Client(timeout=_PATIENCE, headers={"Authorization": f"Bearer {key}"} if key else {})

    def embed(self, texts: Sequence[str], kind: TextKind = "document", dimensions: int | None = None) -> Embedded:
        body: dict[str, object] = {"model": self.model, "input": list(texts), "encoding_format": "float"}
        body |= {} if dimensions is None else {"dimensions": dimensions}
        body |= {} if kind == "document" else {"input_type": kind}
        try:
            response = self._client.post(f"{self._url}/embeddings", json=body)
            response.raise_for_status()
            answer = _Answer.model_validate_json(response.content)
        except httpx.HTTPStatusError as error:
            said = " ".join(error.response.text.split())[:200]
            raise EngineFailed(f"{self._url} answers {error.response.status_code}: {said}") from error
        except (httpx.HTTPError, ValidationError) as error:
            raise EngineFailed(f"{self._url}/embeddings gives no vectors: {error}") from error
        rows = sorted(answer.data, key=lambda row: row.index)
        if len(rows) != len(texts):
            raise EngineFailed(f"{self._url} gave {len(rows)} vectors for {len(texts)} texts")
        return Embedded(tuple(row.embedding for row in rows), answer.usage.prompt_tokens)

    def close(self) -> None:
        self._client.close()
