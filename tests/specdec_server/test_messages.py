"""/v1/messages against a scripted engine: the body, and the events that a stream tells it by."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from specdec.types import Grammar, Message, ToolCall, Usage
from specdec_server import Settings
from specdec_server.messages.schemas import MessageBody, MessageEvent
from tests.fakes import SCRIPT, ScriptedEngine, call
from tests.specdec_server.client import CHAT, JSON, AppClient, events
from tests.specdec_server.live import live, read_until, request

PATH = "/v1/messages"
TEXT = "".join(SCRIPT)
ASKED = CHAT | {"max_tokens": 100}
TOOL = {"name": "add", "description": "Adds.", "input_schema": {"type": "object"}}


async def streamed(ask: AppClient, **fields: Any) -> list[JSON]:
    response = await ask.post(PATH, ASKED | fields | {"stream": True})
    assert response.status_code == 200, response.text
    found = []
    for name, text in events(response.text):
        event = json.loads(text)
        MessageEvent.model_validate(event)
        assert name == event["type"]
        found.append(event)
    return found


def built(found: list[JSON]) -> JSON:
    """The message that a client makes of a stream."""
    first, *rest = found
    assert first["type"] == "message_start"
    message = dict(first["message"])
    parts: list[str] = []
    for event in rest:
        match event["type"]:
            case "content_block_start":
                assert event["index"] == len(message["content"])
                message["content"].append(event["content_block"])
                parts = []
            case "content_block_delta":
                assert event["index"] == len(message["content"]) - 1
                (_, kind), (name, text) = event["delta"].items()
                if kind == "input_json_delta":
                    parts.append(text)
                else:
                    message["content"][-1][name] += text
            case "content_block_stop" if message["content"][-1]["type"] == "tool_use":
                message["content"][-1]["input"] = json.loads("".join(parts) or "{}")
            case "message_delta":
                message |= event["delta"] | {name: event[name] for name in ("usage", "timings", "metrics")}
    assert rest[-1] == {"type": "message_stop"}
    return message


async def test_whole_answer(ask: AppClient) -> None:
    body = await ask.answer(PATH, ASKED)
    MessageBody.model_validate(body)
    assert body["type"] == "message" and body["role"] == "assistant" and body["id"].startswith("msg_")
    assert body["content"] == [{"type": "text", "text": TEXT}]
    assert (body["stop_reason"], body["stop_sequence"]) == ("end_turn", None)
    assert body["usage"]["output_tokens"] == len(SCRIPT)
    assert body["metrics"]["speculative_decoding"]["num_spec_steps"] == 5


async def test_events(ask: AppClient) -> None:
    found = await streamed(ask)
    assert [e["type"] for e in found] == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 6,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert found[0]["message"]["content"] == [] and found[0]["message"]["stop_reason"] is None
    assert found[-2]["usage"]["output_tokens"] == len(SCRIPT)


SCRIPT_OF_ALL = ["<think>", "hm", "</think>", "Yes. ", *call("add", {"a": 1}), *call("add", {"b": [2]})]


async def test_thoughts_and_calls_are_blocks() -> None:
    body = await AppClient(ScriptedEngine(SCRIPT_OF_ALL)).answer(PATH, ASKED | {"tools": [TOOL]})
    thought, text, *uses = body["content"]
    assert thought["type"] == "thinking" and thought["thinking"] == "hm" and thought["signature"]
    assert text["text"].startswith("Yes.")
    assert [(use["type"], use["name"], use["input"]) for use in uses] == [
        ("tool_use", "add", {"a": 1}),
        ("tool_use", "add", {"b": [2]}),
    ]
    assert body["stop_reason"] == "tool_use" and len({use["id"] for use in uses}) == 2


async def test_an_answer_can_be_sent_back(engine: ScriptedEngine) -> None:
    ask = AppClient(ScriptedEngine(SCRIPT_OF_ALL))
    content = (await ask.answer(PATH, ASKED | {"tools": [TOOL]}))["content"]
    results = [{"type": "tool_result", "tool_use_id": block["id"], "content": "3"} for block in content[2:]]
    turns = [*CHAT["messages"], {"role": "assistant", "content": content}, {"role": "user", "content": results}]
    await AppClient(engine).answer(PATH, ASKED | {"messages": turns, "tools": [TOOL]})
    _, turn, *tools = (m for m in engine.requests[0].prompt if isinstance(m, Message))
    assert turn.reasoning == "hm"
    assert [tool.tool_call_id for tool in tools] == [c.id for c in turn.tool_calls]


async def test_a_cut_answer(ask: AppClient) -> None:
    body = await ask.answer(PATH, ASKED | {"max_tokens": 2})
    assert body["stop_reason"] == "max_tokens" and body["content"][0]["text"] == "Once upon"


async def test_a_cut_call_has_what_there_is_of_it() -> None:
    script = call("add", {"a": 1, "b": "long enough to be cut"})
    body = await AppClient(ScriptedEngine(script)).answer(
        PATH, ASKED | {"tools": [TOOL], "max_tokens": len(script) - 5}
    )
    assert body["stop_reason"] == "max_tokens" and body["content"][0]["input"] == {"a": 1}


async def test_arguments_that_are_no_json_are_none() -> None:
    script = ['<tool_call>{"name": "add", "arguments": {a}}</tool_call>']
    ask = AppClient(ScriptedEngine(script))
    for body in (await ask.answer(PATH, ASKED | {"tools": [TOOL]}), (await streamed(ask, tools=[TOOL]))[-3]):
        assert body.get("content", [{"input": {}}])[0]["input"] == {} and body["type"] in (
            "message",
            "content_block_stop",
        )


def ending(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """Let scripted answers end with these."""
    last: Callable[..., Any] = ScriptedEngine._last

    def changed(self: ScriptedEngine, *rest: Any) -> Any:
        event = last(self, *rest)
        return replace(event, end=replace(event.end, **fields))

    monkeypatch.setattr(ScriptedEngine, "_last", changed)


async def test_the_stop_sequence_is_told(
    ask: AppClient, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending(monkeypatch, stop="END")
    for body in (await ask.answer(PATH, ASKED | {"stop_sequences": ["END"]}), built(await streamed(ask))):
        assert (body["stop_reason"], body["stop_sequence"]) == ("stop_sequence", "END")
    assert engine.requests[0].sampling.stop == ("END",)


async def test_cached_tokens_are_counted_apart(ask: AppClient, monkeypatch: pytest.MonkeyPatch) -> None:
    ending(monkeypatch, usage=Usage(prompt_tokens=20, completion_tokens=3, cached_tokens=15))
    for body in (await ask.answer(PATH, ASKED), built(await streamed(ask))):
        usage = body["usage"]
        assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (5, 15, 3)
        assert usage["cache_creation_input_tokens"] == 0


async def test_turns_reach_the_engine(ask: AppClient, engine: ScriptedEngine) -> None:
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "Add.", "cache_control": {"type": "ephemeral"}}]},
        {"role": "user", "content": "Now."},
        {"role": "system", "content": "Mind the time."},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "x"},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "text", "text": "Well."},
                {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": "é"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "And then?"},
                {
                    "type": "tool_result",
                    "tool_use_id": "c1",
                    "is_error": True,
                    "content": [{"type": "text", "text": "2"}],
                },
            ],
        },
    ]
    system = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]
    await ask.answer(PATH, ASKED | {"messages": turns, "system": system, "tools": [TOOL]})
    (asked,) = engine.requests
    assert asked.prompt == (
        Message("system", "Be brief.\nBe kind."),
        Message("user", "Add.\nNow."),
        Message("system", "Mind the time."),
        Message("assistant", "Well.", tool_calls=(ToolCall("c1", "add", '{"a": "é"}'),), reasoning="hm"),
        Message("tool", "2", tool_call_id="c1"),
        Message("user", "And then?"),
    )
    function = {"name": "add", "parameters": {"type": "object"}, "description": "Adds."}
    assert asked.tools == ({"type": "function", "function": function},)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("auto", "auto"), ("any", "required"), ("none", "none"), ("tool", "add")],
)
async def test_choices_of_a_tool(ask: AppClient, engine: ScriptedEngine, choice: str, expected: str) -> None:
    chosen = {"type": choice, "disable_parallel_tool_use": True} | ({"name": "add"} if choice == "tool" else {})
    await ask.answer(PATH, ASKED | {"tools": [TOOL], "tool_choice": chosen})
    assert engine.requests[0].tool_choice == expected and not engine.requests[0].parallel_tool_calls


async def test_options_reach_the_engine(ask: AppClient, engine: ScriptedEngine) -> None:
    """As Claude Code sends them: query, headers, tools of its service and all."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    body = ASKED | {
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": schema}},
        "metadata": {"user_id": "ada"},
        "context_management": {"edits": []},
        "tools": [
            TOOL | {"cache_control": {"type": "ephemeral"}},
            {"type": "web_search_20250305", "name": "web_search"},
        ],
        "temperature": 1,
    }
    headers = {"anthropic_version": "2023-06-01", "anthropic_beta": "context-management-2025-06-27", "x_api_key": "x"}
    response = await ask.post(f"{PATH}?beta=true", body, **headers)
    assert response.status_code == 200, response.text
    ignored = response.headers["x-specdec-ignored"].split(", ")
    assert sorted(ignored) == ["context_management", "tools.web_search_20250305", "tools[].cache_control"]
    (asked,) = engine.requests
    assert (asked.client, asked.reasoning, asked.max_reasoning_tokens) == ("ada", "low", 1024)
    assert asked.sampling.grammar == Grammar.json_schema(schema) and len(asked.tools) == 1


def test_waiting_clients_get_pings() -> None:
    engine = ScriptedEngine(hold=0)
    with (
        live(engine, Settings(keep_alive=0.05, grace=0.2)) as server,
        server.send(request(PATH, ASKED | {"stream": True})) as connection,
    ):
        read = read_until(connection, b'event: ping\ndata: {"type": "ping"}\n\n')
        assert read.index(b"event: message_start") < read.index(b"event: ping")
        engine.go_on()
        read_until(connection, b"event: message_stop")


def error_of(response: httpx.Response) -> JSON:
    body = response.json()
    assert set(body) == {"type", "error"} and body["type"] == "error"
    assert set(body["error"]) == {"type", "message"}
    return dict(body["error"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"messages": []}, "messages: "),
        ({"temperature": "hot"}, "temperature: "),
        ({"max_tokens": 0}, "max_tokens: "),
        ({"n": 2}, "n: "),
        ({"stop": ["END"]}, "stop: "),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name is None; expected the name of a tool"),
        (
            {"messages": [*CHAT["messages"], {"role": "assistant", "content": "("}]},
            "messages is None; expected a last turn",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
            "messages.0.content.0: images are",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "document"}]}]}, "messages.0.content.0: documents are"),
        (
            {"messages": [{"role": "user", "content": [{"type": "poem"}]}]},
            "messages.0.content.0: not supported; expected",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "c", "name": "a", "input": {}}]}]},
            "messages.0.content is None; expected tool_use and thinking in the assistant's turns alone",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "tool_use", "id": 1}]}]}, "messages.0.content.0.id: "),
    ],
)
async def test_what_is_wrong_is_named(ask: AppClient, engine: ScriptedEngine, fields: JSON, message: str) -> None:
    response = await ask.post(PATH, ASKED | fields)
    error = error_of(response)
    assert (response.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["message"].startswith(message), error["message"]
    assert not engine.requests


async def test_errors_have_anthropics_types(ask: AppClient, engine: ScriptedEngine) -> None:
    unknown = await ask.post(PATH, ASKED | {"model": "claude"})
    assert (unknown.status_code, error_of(unknown)["type"]) == (404, "not_found_error")
    large = await AppClient(engine, Settings(body=10)).post(PATH, ASKED)
    assert (large.status_code, error_of(large)["type"]) == (413, "request_too_large")
    foreign = await ask.post(PATH, ASKED, origin="https://evil.example")
    assert (foreign.status_code, error_of(foreign)["type"]) == (403, "permission_error")
    engine.close()
    closed = await ask.post(PATH, ASKED)
    assert (closed.status_code, error_of(closed)["type"]) == (503, "overloaded_error")


async def test_a_full_queue_is_told() -> None:
    engine = ScriptedEngine(hold=0)
    with live(engine, Settings(queue=0, grace=0.2)) as server:
        held = [server.send(request(PATH, ASKED | {"stream": True})) for _ in range(engine.info.slots)]
        for connection in held:
            read_until(connection, b"message_start")
        busy = server.post(PATH, ASKED)
        assert (busy.status_code, error_of(busy)["type"]) == (429, "rate_limit_error")
        assert busy.headers["retry-after"]
        engine.go_on()
        for connection in held:
            read_until(connection, b"message_stop")
            connection.close()


async def test_an_error_ends_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedEngine(hold=2)
    with live(engine) as server, server.send(request(PATH, ASKED | {"stream": True})) as connection:
        read_until(connection, b"Once")
        engine.close()
        assert b'{"type":"error","error":{"type":"overloaded_error"' in read_until(connection, b"running")
