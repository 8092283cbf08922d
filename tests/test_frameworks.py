"""What the frameworks' classes share: parameters that are the engine's own, and one engine for all."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pydantic import SecretStr

from langchain_specdec import ChatSpecDec, SpecDecLLM
from langchain_specdec import base as langchain_base
from llama_index.llms.specdec import SpecDec
from llama_index.llms.specdec import base as llama_index_base
from specdec.frameworks import Parameters
from specdec.loading import SharedEngines
from specdec.types import LoadOptions, Request, SamplingParams
from tests.fakes import ScriptedEngine


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> SharedEngines:
    engines = SharedEngines(lambda _: ScriptedEngine())
    monkeypatch.setattr(langchain_base, "engines", engines)
    monkeypatch.setattr(llama_index_base, "engines", engines)
    return engines


def test_parameters_are_options_of_the_engine() -> None:
    known = {f.name for kind in (LoadOptions, SamplingParams, Request) for f in dataclasses.fields(kind)}
    assert Parameters.model_fields.keys() - known == {"model", "base_url"}
    loading = {f.name for f in dataclasses.fields(LoadOptions)}
    others = {"target", "queue_limit", "prefix_cache_bytes", "remember", "memory_share"}
    assert loading - Parameters.model_fields.keys() == others


@pytest.mark.parametrize("kind", [ChatSpecDec, SpecDecLLM, SpecDec])
def test_defaults_are_those_of_load(engines: SharedEngines, kind: type[Parameters]) -> None:
    assert kind()._load_options() == LoadOptions()


@pytest.mark.parametrize("kind", [ChatSpecDec, SpecDecLLM, SpecDec])
def test_every_parameter_reaches_its_place(engines: SharedEngines, kind: type[Parameters]) -> None:
    loading: dict[str, Any] = {
        "draft": "lookup",
        "device": "cpu",
        "dtype": "float32",
        "context": 100,
        "slots": 2,
        "accept_rule": "rejection",
        "tool_format": "hermes",
        "quantize": "int8",
        "quantize_head": True,
        "kv_dtype": "fp8",
        "trust_remote_code": True,
    }
    request: dict[str, Any] = {"temperature": 0.5, "min_tokens": 2, "seed": 3, "speculative": 4, "timeout": 5.0}
    request |= {"reasoning": False, "max_reasoning_tokens": 9}
    made = kind(model="a", api_key=SecretStr("secret"), **loading, **request)
    assert made._load_options() == LoadOptions("a", **loading)
    assert made._request_options().items() >= request.items()
    there = kind(base_url="http://there/v1", model="a", api_key=SecretStr("secret"))
    assert there._load_options() == LoadOptions("http://there/v1#a", api_key="secret")


async def test_a_closed_engine_is_loaded_anew(engines: SharedEngines) -> None:
    llm = SpecDec("a")
    for _ in range(2):
        engine = llm.engine
        assert llm.complete("Hello").text
        engine.close()
        assert (await llm.acomplete("Hello")).text
        assert llm.engine is not engine
        llm.engine.close()
        assert [r async for r in await llm.astream_complete("Hello")]
    assert ChatSpecDec(model="a")._engine({}) is llm.engine


def test_reasoning_of_a_call_goes_before_that_of_the_class(engines: SharedEngines) -> None:
    chat, llm = ChatSpecDec(reasoning=False), SpecDec(reasoning="high")
    assert [chat._request("x", None, options).reasoning for options in ({}, {"reasoning": "low"})] == ["off", "low"]
    assert [llm._request("x", options).reasoning for options in ({}, {"reasoning": True})] == ["high", "on"]
