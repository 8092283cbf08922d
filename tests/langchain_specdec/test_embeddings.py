"""SpecDecEmbeddings: LangChain's own suite, over an embedder that is no model, and a store."""

from __future__ import annotations

import pytest
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from pydantic import SecretStr

from langchain_specdec import InvalidInput, SpecDecEmbeddings
from tests.embeddings.encoders import CountingEmbedder


@pytest.fixture(autouse=True)
def embedder(monkeypatch: pytest.MonkeyPatch) -> CountingEmbedder:
    embedder = CountingEmbedder()
    monkeypatch.setattr("langchain_specdec.embeddings.shared_embedder", lambda *_: embedder)
    return embedder


class TestStandard(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[SpecDecEmbeddings]:
        return SpecDecEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, object]:
        return {"model": "counting"}


def test_a_store_finds_what_is_asked_for(embedder: CountingEmbedder) -> None:
    texts = ["the fox in the wood", "the ferry leaves at noon"]
    store = InMemoryVectorStore.from_texts(texts, SpecDecEmbeddings(model="counting"))
    (found,) = store.similarity_search("when does the ferry leave", k=1)
    assert found.page_content == texts[1]
    assert [kind for _, kind in embedder.seen] == ["document", "query"]
    assert SpecDecEmbeddings(model="counting").embed_documents([]) == []


def test_errors_are_langchains() -> None:
    with pytest.raises(InvalidInput, match="dimensions is 99"):
        SpecDecEmbeddings(model="counting", dimensions=99).embed_query("a")
    assert "s3cret" not in repr(
        SpecDecEmbeddings(model="counting", base_url="http://x/v1", api_key=SecretStr("s3cret"))
    )
