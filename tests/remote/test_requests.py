"""Every sampling parameter is mapped or refused by name, by kind of server."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import httpx
import pytest

from specdec.errors import InvalidRequest
from specdec.remote.dialects import LLAMA_CPP, LLAMA_CPP_PYTHON, OURS, SGLANG, UNKNOWN, VLLM, ServerDialect
from specdec.remote.endpoints import tokenize
from specdec.remote.requests import http_request
from specdec.remote.server import ServerInfo
from specdec.types import Grammar, Message, Request, SamplingParams, ToolCall

CHAT = [{"role": "user", "content": "Hi"}]
DIALECTS = (OURS, VLLM, SGLANG, LLAMA_CPP, LLAMA_CPP_PYTHON, UNKNOWN)
SCHEMA = Grammar.json_schema({"type": "object"})
# parameter: a value that is not neutral, and its field in vLLM's words
VALUES: dict[str, tuple[Any, str]] = {
    "temperature": (0.5, "temperature"),
    "top_k": (5, "top_k"),
    "top_p": (0.9, "top_p"),
    "min_p": (0.1, "min_p"),
    "repetition_penalty": (1.1, "repetition_penalty"),
    "presence_penalty": (0.2, "presence_penalty"),
    "frequency_penalty": (0.3, "frequency_penalty"),
    "logit_bias": ({3: 1.5}, "logit_bias"),
    "max_tokens": (9, "max_tokens"),
    "min_tokens": (2, "min_tokens"),
    "stop": (("x",), "stop"),
    "stop_token_ids": ((7,), "stop_token_ids"),
    "ignore_eos": (True, "ignore_eos"),
    "seed": (11, "seed"),
    "logprobs": (2, "logprobs"),
    "grammar": (SCHEMA, "response_format"),
}
REFUSED = {
    "SpecDec": set(),
    "vLLM": set(),
    "SGLang": set(),
    "llama.cpp": {"min_tokens", "stop_token_ids"},
    "llama-cpp-python": {"stop_token_ids", "ignore_eos"},
    "an OpenAI-compatible server": {
        "top_k",
        "min_p",
        "repetition_penalty",
        "min_tokens",
        "stop_token_ids",
        "ignore_eos",
    },
}


def _server(dialect: ServerDialect, speculates: bool | None = None) -> ServerInfo:
    return ServerInfo("http://h/v1", "story", dialect, speculates=speculates)


def _body(dialect: ServerDialect, prompt: Any = CHAT, speculates: bool | None = None, **options: Any) -> dict[str, Any]:
    return http_request(Request.of(prompt, **options), _server(dialect, speculates)).body


def test_every_parameter_has_a_value_here() -> None:
    assert set(VALUES) == {f.name for f in fields(SamplingParams)}


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
@pytest.mark.parametrize("name", VALUES)
def test_mapped_or_refused_by_name(dialect: ServerDialect, name: str) -> None:
    value, wire = VALUES[name]
    if name in REFUSED[dialect.name]:
        with pytest.raises(InvalidRequest, match=rf"^{name} is .*{dialect.name} at http://h/v1 takes no other"):
            _body(dialect, **{name: value})
        return
    wire = dialect.fields.get(name, wire)
    plain = _body(dialect, seed=0)
    assert _body(dialect, **({"seed": 0} | {name: value}))[wire] != plain.get(wire)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
def test_neutral_values_are_never_refused(dialect: ServerDialect) -> None:
    _body(dialect, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0, min_tokens=0, ignore_eos=False)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
def test_variables_of_the_template(dialect: ServerDialect) -> None:
    variables = {"enable_thinking": False}
    assert "chat_template_kwargs" not in _body(dialect)
    assert "chat_template_kwargs" not in _body(dialect, "text", template=variables)
    if dialect.template:
        assert _body(dialect, template=variables)["chat_template_kwargs"] == variables
    else:
        for options in ({"template": variables}, {"reasoning": "off"}):
            with pytest.raises(InvalidRequest, match=rf"^{next(iter(options))} is"):
                _body(dialect, **options)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
def test_reasoning(dialect: ServerDialect) -> None:
    if dialect.reasoning:
        body = _body(dialect, reasoning="high", max_reasoning_tokens=5)
        assert (body["reasoning_effort"], body["max_reasoning_tokens"]) == ("high", 5)
        assert [_body(dialect, reasoning=value)["enable_thinking"] for value in ("on", "off")] == [True, False]
        return
    with pytest.raises(InvalidRequest, match=r"^max_reasoning_tokens is"):
        _body(dialect, max_reasoning_tokens=5)
    if dialect.template:
        told = _body(dialect, reasoning="high", template={"thinking": "yes"})["chat_template_kwargs"]
        assert told == {"enable_thinking": True, "thinking": "yes", "reasoning_effort": "high"}


def test_llama_cpp_is_told_what_others_take_from_the_checkpoint() -> None:
    body = _body(LLAMA_CPP)
    assert [body[n] for n in ("temperature", "top_k", "top_p", "min_p", "repeat_penalty")] == [
        1.0,
        0,
        1.0,
        0.0,
        1.0,
    ]
    assert "temperature" not in _body(VLLM)


def test_a_speculating_vllm_takes_no_min_p_and_no_logit_bias() -> None:
    for name in ("min_p", "logit_bias"):
        with pytest.raises(InvalidRequest, match=f"^{name} is"):
            _body(VLLM, speculates=True, **{name: VALUES[name][0]})
    assert "min_p" not in _body(VLLM, speculates=True, min_p=0.0)


@pytest.mark.parametrize(
    ("grammar", "fields"),
    [
        (
            SCHEMA,
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
                }
            },
        ),
        (Grammar.json_object(), {"response_format": {"type": "json_object"}}),
        (Grammar.regex("a+"), {"structured_outputs": {"regex": "a+"}}),
        (Grammar.choice(["a", "b"]), {"structured_outputs": {"choice": ["a", "b"]}}),
        (Grammar.lark('start: "a"'), {"structured_outputs": {"grammar": 'start: "a"'}}),
    ],
)
def test_grammars(grammar: Grammar, fields: dict[str, Any]) -> None:
    body = _body(VLLM, grammar=grammar)
    assert {k: body[k] for k in fields} == fields
    if grammar.kind in ("regex", "choice", "lark"):
        with pytest.raises(
            InvalidRequest, match=f"grammar.kind is '{grammar.kind}'; expected json_schema or json_object"
        ):
            _body(UNKNOWN, grammar=grammar)


def test_only_our_own_server_is_told_what_is_strict() -> None:
    for strict in (False, True):
        form = _body(OURS, grammar=Grammar.json_schema({"type": "object"}, strict=strict))["response_format"]
        assert form["json_schema"]["strict"] is strict


def test_a_suffix_goes_only_where_it_is_known() -> None:
    assert _body(OURS, "Once", suffix="so")["suffix"] == "so"
    with pytest.raises(InvalidRequest, match="suffix is 'so'; expected None: vLLM"):
        _body(VLLM, "Once", suffix="so")


def test_prediction_goes_only_where_it_is_known() -> None:
    assert _body(UNKNOWN, prediction="so")["prediction"] == {"type": "content", "content": "so"}
    assert _body(OURS, "Once", prediction="so")["prediction"] == "so"
    for dialect, prompt in ((VLLM, CHAT), (UNKNOWN, "Once")):
        with pytest.raises(InvalidRequest, match="prediction is 'so'"):
            _body(dialect, prompt, prediction="so")


def test_speculation_is_asked_for_where_it_can_be() -> None:
    assert _body(OURS, speculative="off")["speculative"] == "off"
    assert "speculative" not in _body(VLLM)
    assert _body(OURS, remember=False)["remember"] is False
    assert "remember" not in _body(OURS), "servers of ours from before know no such field"
    assert "remember" not in _body(VLLM, remember=False)


def test_seeds_fit_the_server() -> None:
    with pytest.raises(InvalidRequest, match="seed is"):
        _body(LLAMA_CPP, seed=2**40)
    asked = http_request(Request.of(CHAT), _server(VLLM))
    assert asked.body["seed"] == asked.seed


def test_prompts() -> None:
    assert _body(VLLM, "Once")["prompt"] == "Once"
    assert _body(VLLM, [1, 2])["prompt"] == [1, 2]
    assert _body(VLLM, "Once", logprobs=3)["logprobs"] == 3
    assert _body(VLLM, "Once")["max_tokens"] is None
    with pytest.raises(InvalidRequest, match="prompt is"):
        _body(LLAMA_CPP_PYTHON, [1, 2])


def test_scheduling() -> None:
    assert _body(VLLM, client="alice")["user"] == "alice"
    with pytest.raises(InvalidRequest, match="priority is 3; expected 0: vLLM at"):
        _body(VLLM, priority=3)


def test_turns_and_tools() -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    turns = [
        Message("user", "Oslo?"),
        Message("assistant", None, tool_calls=(ToolCall("c1", "weather", '{"city": "Oslo"}'),), reasoning="hm"),
        Message("tool", "rain", tool_call_id="c1"),
    ]
    body = _body(VLLM, turns, tools=(tool,), tool_choice="weather", parallel_tool_calls=False)
    assert body["messages"] == [
        {"role": "user", "content": "Oslo?"},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
            ],
        },
        {"role": "tool", "content": "rain", "tool_call_id": "c1"},
    ]
    assert body["tools"] == [tool]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert body["parallel_tool_calls"] is False
    assert "parallel_tool_calls" not in _body(VLLM, turns, tools=(tool,))


@pytest.mark.parametrize(("dialect", "path"), [(OURS, "/v1/chat/completions/input_tokens"), (VLLM, "/tokenize")])
async def test_tokens_are_told_or_the_server_is_named(dialect: ServerDialect, path: str) -> None:
    told: dict[str, Any] = {"token_ids": [1, 2], "tokens": [1, 2]}
    for status, answer in ((200, told), (404, told), (200, {})):
        transport = httpx.MockTransport(lambda _, status=status, answer=answer: httpx.Response(status, json=answer))
        async with httpx.AsyncClient(transport=transport) as client:
            asked = tokenize(client, _server(dialect), Request.of(CHAT))
            if status == 200 and answer:
                assert await asked == (1, 2)
                continue
            with pytest.raises(InvalidRequest, match=f"target is 'http://h{path}'; expected a server that tells"):
                await asked
