"""The endpoint over the bundled pair in its child process."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator

import pytest

from specdec.process import ProcessEngine
from specdec.types import RequestOptions
from specdec_server import Settings
from tests.specdec_server.client import CHAT, JSON, content, deltas, events
from tests.specdec_server.live import LiveServer, live, read_until, wait_until

PATH = "/v1/chat/completions"
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def engine() -> Iterator[ProcessEngine]:
    with ProcessEngine.load(slots=2) as engine:
        yield engine


@pytest.fixture(scope="module")
def server(engine: ProcessEngine) -> Iterator[LiveServer]:
    with live(engine, Settings(keep_alive=0.05, grace=2)) as server:
        yield server


def chunks(server: LiveServer, **fields: object) -> list[JSON]:
    response = server.post(PATH, CHAT | {"stream": True} | fields)
    assert response.status_code == 200, response.text
    *data, done = [text for _, text in events(response.text)]
    assert done == "[DONE]"
    return [json.loads(text) for text in data]


@pytest.mark.parametrize("speculative", ["auto", "off", 4])
def test_streams_what_the_engine_says(server: LiveServer, engine: ProcessEngine, speculative: object) -> None:
    options: RequestOptions = {"max_tokens": 40, "temperature": 0.8, "seed": 7}
    expected = engine.generate(CHAT["messages"], **options)
    found = chunks(server, **options, speculative=speculative, return_token_ids=True)
    assert content(found) == expected.text
    ids = [i for chunk in found for choice in chunk["choices"] for i in choice["token_ids"]]
    assert tuple(ids) == expected.token_ids


def test_calls_a_tool(server: LiveServer) -> None:
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    found = chunks(server, messages=messages, tools=[TOOL], tool_choice="required", temperature=0)
    parts = [p for d in deltas(found) for p in d.get("tool_calls", ())]
    assert parts[0]["function"]["name"] == "get_weather"
    assert set(json.loads("".join(p["function"]["arguments"] for p in parts))) == {"city"}
    assert found[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_bound_above_the_context_is_cut_to_it(server: LiveServer) -> None:
    """As Claude Code sends it to any model."""
    asked = CHAT | {"max_tokens": 32_000, "structured_outputs": {"choice": ["yes", "no"]}}
    for path in (PATH, "/v1/messages"):
        assert server.post(path, asked).status_code == 200


def test_what_is_counted_is_what_is_read(server: LiveServer) -> None:
    tool = {"name": "get_weather", "input_schema": TOOL["function"]["parameters"]}  # type: ignore[index]
    asked = CHAT | {"system": "Be brief.", "tools": [tool], "max_tokens": 4}
    counted = server.post("/v1/messages/count_tokens", asked).json()["input_tokens"]
    usage = server.post("/v1/messages", asked).json()["usage"]
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] == counted > 20


def test_follows_a_schema(server: LiveServer) -> None:
    number = {"properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
    schema = {"type": "object"} | number
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert set(json.loads(content(chunks(server, response_format=wanted)))) == {"n"}


def test_logprobs_have_texts(server: LiveServer) -> None:
    asked = {"max_tokens": 3, "logprobs": True, "top_logprobs": 2, "temperature": 0}
    (choice,) = server.post(PATH, CHAT | asked).json()["choices"]
    assert len(choice["logprobs"]["content"]) == 3
    for token in choice["logprobs"]["content"]:
        assert len(token["top_logprobs"]) == 2
        assert token["token"] == token["top_logprobs"][0]["token"], "greedy takes the most likely"
        assert bytes(token["bytes"]).decode() == token["token"]


def test_logprobs_have_each_tokens_own_bytes(server: LiveServer) -> None:
    text = "Hi 😊 é"
    asked = {"structured_outputs": {"choice": [text]}, "temperature": 0}
    chat = server.post(PATH, CHAT | asked | {"logprobs": True, "top_logprobs": 5}).json()["choices"][0]
    streamed = chunks(server, **asked, logprobs=True, top_logprobs=5)
    parts = [choice["logprobs"] for chunk in streamed for choice in chunk["choices"] if choice["logprobs"]]
    said = chat["logprobs"]["content"]
    told = [(one["token"], one["bytes"]) for one in said]
    assert [(one["token"], one["bytes"]) for part in parts for one in part["content"]] == told
    assert chat["message"]["content"] == text
    assert bytes(b for _, numbers in told for b in numbers) == text.encode()
    assert (r"\xf0", [0xF0]) in told
    for token in (each for one in said for each in (one, *one["top_logprobs"])):
        assert bytes(token["bytes"]).decode(errors="backslashreplace") == token["token"]
    others = {each["token"] for one in said for each in one["top_logprobs"]}
    assert any(token.startswith("\\x") for token in others)
    assert not others & set("ðŁĺĬÃ©¢ł"), "the vocabulary's letters for bytes"


def test_logprobs_of_completions_write_bytes_out(server: LiveServer) -> None:
    asked = {"structured_outputs": {"choice": ["Hi 😊 é"]}, "temperature": 0, "prompt": "Hi", "logprobs": 5}
    logprobs = server.post("/v1/completions", asked).json()["choices"][0]["logprobs"]
    tokens, offsets = logprobs["tokens"], logprobs["text_offset"]
    assert tokens[-2:] == [r"\xc3", r"\xa9"]
    assert offsets[-2:] == [5, 5]
    assert any(other.startswith("\\x") for other in logprobs["top_logprobs"][-1])


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "string", "pattern": "(a{1,500}){1,500}b"},
        {"type": "string", "pattern": "("},
        {"type": "object", "not-a-keyword-at-all": {}, "if": {"type": "string"}, "then": {"minLength": 3}},
    ],
)
def test_bombs_are_refused_or_answered_in_time(server: LiveServer, schema: JSON) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = server.post(PATH, CHAT | {"response_format": wanted, "max_tokens": 5})
    assert answer.status_code in (200, 400, 422), answer.text
    assert server.post(PATH, CHAT | {"max_tokens": 5}).status_code == 200


def test_too_long_a_prompt_says_so(server: LiveServer) -> None:
    response = server.post(PATH, {"messages": [{"role": "user", "content": "word " * 3000}]})
    error = response.json()["error"]
    assert response.status_code == 400 and error["code"] == "context_length_exceeded"
    known = r"prompt is too long: \d+ tokens; .*this model's maximum context length is 2048"
    assert re.match(known, error["message"]), "by these words LiteLLM and langchain-openai tell what it is"


def test_too_many_tools_are_named_as_what_fills_the_context(server: LiveServer) -> None:
    looks = [{"name": f"look{i}", "description": "word " * 300} for i in range(9)]
    tools = [{"type": "function", "function": look} for look in looks]
    response = server.post(PATH, CHAT | {"tools": tools})
    assert response.status_code == 400 and " tokens (tools in it: 9); " in response.json()["error"]["message"]
    long = {"messages": [{"role": "user", "content": "word " * 3000}], "tools": tools, "tool_choice": "none"}
    assert "tools in it" not in server.post(PATH, long).json()["error"]["message"]


def test_leaving_frees_the_slot_within_a_round(server: LiveServer, engine: ProcessEngine) -> None:
    with server.ask(PATH, CHAT | {"stream": True, "max_tokens": 1500, "ignore_eos": True}) as connection:
        read_until(connection, b'"content":')
    wait_until(lambda: engine.stats().active == 0)


def test_an_engine_that_dies_is_started_again(server: LiveServer, engine: ProcessEngine) -> None:
    with server.ask(PATH, CHAT | {"stream": True, "max_tokens": 1500, "ignore_eos": True}) as connection:
        read_until(connection, b'"content":')
        os.kill(engine.pid, signal.SIGKILL)
        assert b'"code":"engine_failed"' in read_until(connection, b"[DONE]")
    refused = server.post(PATH, CHAT)
    assert refused.status_code == 503 and refused.headers["retry-after"]
    wait_until(lambda: server.client.get("/ready").status_code == 200, seconds=120)
    assert server.post(PATH, CHAT | {"max_tokens": 5}).status_code == 200
