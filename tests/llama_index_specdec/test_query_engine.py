"""RetrieverQueryEngine over local text, with a BM25 retriever: asked, streamed, and asked without waiting."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.base.response.schema import (
    AsyncStreamingResponse,
    PydanticResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import TextNode
from llama_index.retrievers.bm25 import BM25Retriever
from pydantic import BaseModel

from llama_index.llms.specdec import SpecDec
from tests.fakes import SCRIPTED_INFO
from tests.llama_index_specdec.scripts import SeveralScripts

FERRY = "Ferry GH-204 leaves from Porto. It goes to Gull Island. The departure of ferry GH-204 is at 6:40 am."
FAIR = "The science fair takes place on Friday. A ticket for the science fair costs 7 euros."
SHOP = "The Black Bookshop belongs to Mina Adeyemi. The Black Bookshop is closed on Wednesday."
PROMPT = PromptTemplate("{context_str}\n\nQuestion: {query_str}")
QUESTION = "How much is a ticket for the science fair?"
ANSWER = "A ticket for the science fair costs 7 euros."


def engine(llm: SpecDec, **options: Any) -> RetrieverQueryEngine:
    nodes = [TextNode(text=text) for text in (FERRY, FAIR, SHOP)]
    retriever = BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=1)
    return RetrieverQueryEngine.from_args(retriever, llm=llm, text_qa_template=PROMPT, **options)


async def test_an_answer_from_the_right_text(bundled: SpecDec) -> None:
    asked = engine(bundled)
    for response in (asked.query(QUESTION), await asked.aquery(QUESTION)):
        assert isinstance(response, Response)
        assert response.response == ANSWER
        assert response.source_nodes[0].text == FAIR


def test_a_streamed_answer(bundled: SpecDec) -> None:
    response = engine(bundled, streaming=True).query(QUESTION)
    assert isinstance(response, StreamingResponse)
    parts = list(response.response_gen)
    assert len(parts) > 1
    assert "".join(parts) == ANSWER


async def test_an_answer_streamed_to_a_task(bundled: SpecDec) -> None:
    response = await engine(bundled, streaming=True).aquery(QUESTION)
    assert isinstance(response, AsyncStreamingResponse)
    assert "".join([part async for part in response.async_response_gen()]) == ANSWER


@pytest.mark.parametrize("mode", [ResponseMode.REFINE, ResponseMode.TREE_SUMMARIZE, ResponseMode.COMPACT])
async def test_the_framework_s_ways_to_answer(mode: ResponseMode) -> None:
    info = replace(SCRIPTED_INFO, context=4096)
    llm = SpecDec(engine=SeveralScripts("7 euros.", "7 euros.", info=info))
    asked = engine(llm, response_mode=mode)
    for response in (asked.query(QUESTION), await asked.aquery(QUESTION)):
        assert str(response) == "7 euros."


class Shop(BaseModel):
    name: str
    owner: str
    closed_on: str


async def test_an_answer_in_a_form(bundled: SpecDec) -> None:
    asked = engine(bundled, output_cls=Shop, response_mode=ResponseMode.COMPACT)
    question = "Who does the Black Bookshop belong to?"
    for response in (asked.query(question), await asked.aquery(question)):
        assert isinstance(response, PydanticResponse)
        assert response.response == Shop(name="Black Bookshop", owner="Mina Adeyemi", closed_on="Wednesday")
