"""LangChain finds our classes by name, once they are registered."""

from __future__ import annotations

import pytest
from langchain.chat_models import base as chat_models
from langchain.chat_models import init_chat_model
from langchain.embeddings import base as embeddings
from langchain.embeddings import init_embeddings

from langchain_specdec import ChatSpecDec, SpecDecEmbeddings, register
from specdec.errors import MissingExtra


@pytest.fixture(autouse=True)
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of their own for each test."""
    for module in (chat_models, embeddings):
        monkeypatch.setattr(module, "_BUILTIN_PROVIDERS", dict(module._BUILTIN_PROVIDERS))


def test_by_name() -> None:
    register()
    model = init_chat_model("specdec:http://there/v1#a", temperature=0.5)
    assert isinstance(model, ChatSpecDec)
    assert (model.model, model.temperature) == ("http://there/v1#a", 0.5)
    assert isinstance(init_chat_model("bundled", model_provider="specdec"), ChatSpecDec)
    encoder = init_embeddings("specdec:some/encoder", base_url="http://there/v1")
    assert isinstance(encoder, SpecDecEmbeddings)
    assert (encoder.model, encoder.base_url) == ("some/encoder", "http://there/v1")


def test_without_a_table_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(chat_models, "_BUILTIN_PROVIDERS")
    with pytest.raises(MissingExtra, match=r"langchain\.chat_models\.base has no table .*ChatSpecDec\(\.\.\.\)"):
        register()
