"""SpecDecEmbedding under an index: documents and queries are told apart, sync and async."""

from __future__ import annotations

import pytest
from llama_index.core import Document, VectorStoreIndex

from llama_index.embeddings.specdec import SpecDecEmbedding
from tests.embeddings.encoders import CountingEmbedder


@pytest.fixture(autouse=True)
def embedder(monkeypatch: pytest.MonkeyPatch) -> CountingEmbedder:
    embedder = CountingEmbedder()
    monkeypatch.setattr("llama_index.embeddings.specdec.base.shared_embedder", lambda *_: embedder)
    return embedder


async def test_an_index_finds_what_is_asked_for(embedder: CountingEmbedder) -> None:
    texts = ["the fox in the wood", "the ferry leaves at noon"]
    index = VectorStoreIndex.from_documents(
        [Document(text=text) for text in texts], embed_model=SpecDecEmbedding("counting")
    )
    retriever = index.as_retriever(similarity_top_k=1)
    for found in (retriever.retrieve("when does the ferry leave"), await retriever.aretrieve("a ferry")):
        assert [node.text for node in found] == [texts[1]]
    assert [kind for _, kind in embedder.seen] == ["document", "query", "query"]


async def test_all_its_forms_agree() -> None:
    embedding = SpecDecEmbedding("counting", dimensions=5)
    one = embedding.get_text_embedding("the fox")
    assert len(one) == 5
    assert await embedding.aget_text_embedding("the fox") == one
    assert embedding.get_text_embedding_batch(["the fox"]) == [one]
    assert await embedding.aget_text_embedding_batch(["the fox"]) == [one]
    assert embedding.class_name() == "specdec_embedding"
