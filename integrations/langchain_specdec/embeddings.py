"""`SpecDecEmbeddings`: texts as vectors, for LangChain's stores and retrievers."""

from __future__ import annotations

from langchain_core.embeddings import Embeddings
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from langchain_specdec.errors import translated
from specdec.embeddings import TextKind, shared_embedder


class SpecDecEmbeddings(BaseModel, Embeddings):
    """An encoder of this process, or one of a server: `specdec serve --embed`, or any in OpenAI's form.

        store = InMemoryVectorStore(SpecDecEmbeddings(model="BAAI/bge-small-en-v1.5"))

    All objects that name the same encoder share it.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    model: str
    """A folder, a hub id, or the server's name for it."""
    base_url: str | None = None
    """Of a server: http://host:8000/v1."""
    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)
    """Of a server; default SPECDEC_API_KEY."""
    device: str = "auto"
    """Of an encoder in this process."""
    dimensions: int | None = None
    """None: as many as the encoder has."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._vectors(texts, "document")

    def embed_query(self, text: str) -> list[float]:
        return self._vectors([text], "query")[0]

    def _vectors(self, texts: list[str], kind: TextKind) -> list[list[float]]:
        key = self.api_key.get_secret_value() if self.api_key else None
        with translated():
            embedder = shared_embedder(self.model, self.base_url, key, self.device)
            vectors = embedder.embed(texts, kind, self.dimensions).vectors if texts else ()
        return [list(vector) for vector in vectors]
