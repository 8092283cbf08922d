"""/v1/embeddings."""

from __future__ import annotations

import base64
from array import array
from pathlib import Path

import pytest

from specdec_server import Settings
from tests.embeddings.encoders import CountingEmbedder
from tests.fakes import ScriptedEngine
from tests.specdec_server.client import AppClient

PATH = "/v1/embeddings"


@pytest.fixture
def embedder() -> CountingEmbedder:
    return CountingEmbedder()


@pytest.fixture
def ask(engine: ScriptedEngine, embedder: CountingEmbedder) -> AppClient:
    return AppClient(engine, embedder=embedder)


async def test_texts(ask: AppClient, embedder: CountingEmbedder) -> None:
    texts = ["the fox", "a ferry"]
    answer = await ask.answer(PATH, {"model": "counting", "input": texts, "user": "ann"})
    assert (answer["object"], answer["model"]) == ("list", "counting")
    assert answer["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert [row["index"] for row in answer["data"]] == [0, 1]
    assert tuple(answer["data"][1]["embedding"]) == pytest.approx(embedder.embed(texts).vectors[1])
    one = await ask.answer(PATH, {"input": "the fox", "input_type": "query", "dimensions": 4.0})
    assert len(one["data"]) == 1 and len(one["data"][0]["embedding"]) == 4
    assert embedder.seen[-1] == (("the fox",), "query")


async def test_base64_is_what_openais_client_asks_for(ask: AppClient, embedder: CountingEmbedder) -> None:
    answer = await ask.answer(PATH, {"input": "the fox", "encoding_format": "base64"})
    numbers = array("f", base64.b64decode(answer["data"][0]["embedding"]))
    assert numbers.tolist() == pytest.approx(embedder.embed(["the fox"]).vectors[0])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": [1, 2]}, "input.0"),
        ({}, "input"),
        ({"input": "a", "dimensions": 99}, "dimensions"),
        ({"input": "a", "input_type": "answer"}, "input_type"),
        ({"input": "a", "truncate": True}, "truncate"),
    ],
)
async def test_what_is_wrong_is_named(ask: AppClient, body: object, param: str) -> None:
    assert (await ask.refused(PATH, body))["param"] == param


async def test_names(ask: AppClient, engine: ScriptedEngine, embedder: CountingEmbedder, tmp_path: Path) -> None:
    assert "'counting'" in (await ask.refused(PATH, {"model": "other", "input": "a"}, 404))["message"]
    any_name = AppClient(engine, Settings(any_name=True), embedder)
    assert (await any_name.answer(PATH, {"model": "text-embedding-3-small", "input": "a"}))["model"] == "counting"
    embedder.model = str(tmp_path)
    assert (await AppClient(engine, embedder=embedder).answer(PATH, {"input": "a"}))["model"] == tmp_path.name


async def test_without_an_encoder_it_says_how_there_is_one(engine: ScriptedEngine) -> None:
    error = await AppClient(engine).refused(PATH, {"input": "the fox"}, 404)
    assert (error["code"], "--embed" in error["message"]) == ("no_encoder", True)
    assert "--embed" not in (await AppClient(engine).get("/openapi.json")).text
