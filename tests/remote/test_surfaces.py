"""The frameworks' classes, told where a server is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.exceptions import LangChainException
from langchain_core.messages import HumanMessage
from pydantic import SecretStr

from langchain_specdec import ChatSpecDec, InvalidInput, SpecDecLLM
from llama_index.llms.specdec import SpecDec
from specdec.errors import InvalidRequest
from specdec.loading import served
from tests.remote.scripted import ScriptedServer, untold

URL = "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    ("model", "target"), [("bundled", URL), ("qwen", f"{URL}#qwen"), ("org/qwen", f"{URL}#org/qwen")]
)
def test_a_server_s_model_is_a_target(model: str, target: str) -> None:
    assert served(URL, model) == target


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"base_url is 'localhost:8000'; expected .*http://host:8000/v1"):
        served("localhost:8000", "qwen")
    with pytest.raises(ValueError, match="base_url"):
        ChatSpecDec(base_url="localhost:8000").invoke("Hello")
    with pytest.raises(InvalidRequest, match="base_url"):
        SpecDec(base_url="localhost:8000")


async def test_a_model_that_the_server_lacks_is_refused_as_the_framework_refuses() -> None:
    with ScriptedServer(models=[{"id": "small"}]) as server:
        expected = f"model is 'huge'; expected one that {server.url} has: small"
        chat, llm = (kind(base_url=server.url, model="huge") for kind in (ChatSpecDec, SpecDecLLM))
        asks: list[Callable[[], Any]] = [
            lambda: chat.invoke("Hello"),
            lambda: list(chat.stream("Hello")),
            lambda: chat.get_num_tokens("Hello"),
            lambda: llm.invoke("Hello"),
            lambda: list(llm.stream("Hello")),
        ]
        for ask in asks:
            with pytest.raises(InvalidInput, match=expected) as caught:
                ask()
            assert isinstance(caught.value, LangChainException)
        for answer in (chat.ainvoke("Hello"), llm.ainvoke("Hello")):
            with pytest.raises(InvalidInput, match=expected):
                await answer
        with pytest.raises(InvalidRequest, match=expected):
            SpecDec("huge", base_url=server.url)


def test_langchain_asks_the_server() -> None:
    with ScriptedServer(models=[{"id": "small"}, {"id": "large"}]) as server:
        model = ChatSpecDec(base_url=server.url, model="large", api_key=SecretStr("secret"), max_tokens=5)
        assert model.invoke([HumanMessage("Hello")]).content
        assert server.seen[-1].body["model"] == "large"
        assert server.seen[-1].headers["authorization"] == "Bearer secret"


def test_llama_index_asks_the_server() -> None:
    with ScriptedServer(models=[{"id": "small"}, {"id": "large"}]) as server:
        llm = SpecDec("large", base_url=server.url, api_key="secret", max_tokens=5)
        assert llm.complete("Hello").text
        assert llm.metadata.model_name == "large"
        assert server.seen[-1].body["model"] == "large"
        assert server.seen[-1].headers["authorization"] == "Bearer secret"
        assert "secret" not in repr(llm) + llm.to_json()


def test_frameworks_are_told_no_count_that_the_server_did_not_tell() -> None:
    with ScriptedServer("unknown") as server:
        server.answers.extend([untold, untold])
        message = ChatSpecDec(base_url=server.url, model="story").invoke("Hello")
        assert (message.content, message.usage_metadata) == ("two words", None)
        answer = SpecDec("story", base_url=server.url).complete("Hello")
        assert answer.raw["usage"].keys() == {"prompt_tokens_details"}
        for found in (message.response_metadata, answer.additional_kwargs):
            assert set(found["speculative"].values()) == {None}
            assert (found["timing"]["queued"], found["timing"]["tokens_per_second"]) == (None, None)
