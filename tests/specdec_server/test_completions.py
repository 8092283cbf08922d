"""/v1/completions against a scripted engine."""

from __future__ import annotations

import pytest

from specdec_server.completions.schemas import TextCompletion
from tests.fakes import SCRIPT, ScriptedEngine
from tests.specdec_server.client import AppClient

PATH = "/v1/completions"
TEXT = "".join(SCRIPT)


async def test_whole_answer(ask: AppClient) -> None:
    answer = await ask.answer(PATH, {"prompt": "Once"})
    TextCompletion.model_validate(answer)
    assert answer["object"] == "text_completion"
    assert answer["choices"] == [{"index": 0, "text": TEXT, "logprobs": None, "finish_reason": "stop"}]
    assert answer["usage"]["completion_tokens"] == len(SCRIPT)


async def test_streamed(ask: AppClient) -> None:
    chunks = await ask.chunks(PATH, {"prompt": "Once", "stream_options": {"include_usage": True}})
    for chunk in chunks:
        TextCompletion.model_validate(chunk)
    *texts, last = chunks
    assert "".join(c["choices"][0]["text"] for c in texts) == TEXT
    assert [c["choices"][0]["finish_reason"] for c in texts] == [None] * (len(texts) - 1) + ["stop"]
    assert last["choices"] == [] and last["usage"]["completion_tokens"] == len(SCRIPT)


async def test_several_prompts_times_several_choices(ask: AppClient, engine: ScriptedEngine) -> None:
    answer = await ask.answer(PATH, {"prompt": ["a", "b"], "n": 2, "seed": 1})
    assert [c["index"] for c in answer["choices"]] == [0, 1, 2, 3]
    assert [(r.prompt, r.sampling.seed) for r in engine.requests] == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert answer["usage"]["prompt_tokens"] == 2, "each prompt counts once"


@pytest.mark.parametrize(("prompt", "expected"), [([1, 2], [(1, 2)]), ([[1, 2], [3]], [(1, 2), (3,)]), (["x"], ["x"])])
async def test_prompts_of_every_kind(
    ask: AppClient, engine: ScriptedEngine, prompt: object, expected: list[object]
) -> None:
    await ask.answer(PATH, {"prompt": prompt})
    assert [r.prompt for r in engine.requests] == expected


async def test_sixteen_tokens_are_the_default(ask: AppClient, engine: ScriptedEngine) -> None:
    await ask.answer(PATH, {"prompt": "a"})
    await ask.answer(PATH, {"prompt": "a", "max_tokens": None})
    assert [r.sampling.max_tokens for r in engine.requests] == [16, None]


async def test_offsets_of_logprobs(ask: AppClient) -> None:
    chunks = await ask.chunks(PATH, {"prompt": "Once", "logprobs": 0})
    parts = [c["choices"][0]["logprobs"] for c in chunks]
    tokens = [t for p in parts for t in p["tokens"]]
    offsets = [o for p in parts for o in p["text_offset"]]
    assert tokens == list(SCRIPT)
    assert [TEXT[o : o + len(t)] for o, t in zip(offsets, tokens, strict=True)] == tokens


async def test_a_suffix_reaches_the_engine(ask: AppClient, engine: ScriptedEngine) -> None:
    await ask.answer(PATH, {"prompt": ["a", "b"], "suffix": "c"})
    await ask.answer(PATH, {"prompt": "a", "suffix": ""})
    assert [(r.prompt, r.suffix) for r in engine.requests] == [("a", "c"), ("b", "c"), ("a", None)]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": ["a"] * 9}, "n"),
        ({"prompt": "a", "best_of": 2}, "best_of"),
        ({"prompt": "a", "echo": True}, "echo"),
        ({"prompt": [1, 2], "suffix": "b"}, "suffix"),
        ({"prompt": "a", "logprobs": 21}, "logprobs"),
        ({}, "prompt"),
    ],
)
async def test_what_is_wrong_is_named(
    ask: AppClient, engine: ScriptedEngine, fields: dict[str, object], param: str
) -> None:
    error = await ask.refused(PATH, fields)
    assert str(error["param"]).startswith(param), error
    assert not engine.requests


@pytest.mark.parametrize(
    ("prompt", "param", "message"),
    [
        (["a", 1], "prompt.1", "Input should be text"),
        ([1, "a"], "prompt.1", "Input should be a whole number"),
        ([[1], [2, "a"]], "prompt.1.1", "Input should be a whole number"),
        ([None], "prompt.0", "Input should be a whole number or text or a list"),
        ([[]], "prompt.0", "List should have at least 1 item after validation, not 0"),
        ({}, "prompt", "Input should be text or a list"),
    ],
)
async def test_of_a_union_the_part_that_is_wrong_is_named(
    ask: AppClient, prompt: object, param: str, message: str
) -> None:
    error = await ask.refused(PATH, {"prompt": prompt})
    assert (error["param"], error["message"]) == (param, f"{param}: {message}")
