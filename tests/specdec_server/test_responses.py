"""/v1/responses against a scripted engine: the body, and the events that a stream tells it by."""

from __future__ import annotations

import json
from typing import Any

import pytest

from specdec.types import Grammar, Message, ToolCall
from specdec_server.responses.schemas import ResponseBody, ResponseEvent
from tests.fakes import SCRIPT, ScriptedEngine, call
from tests.specdec_server.client import JSON, AppClient, events
from tests.specdec_server.live import live, read_until

PATH = "/v1/responses"
TEXT = "".join(SCRIPT)
TOOL = {"type": "function", "name": "add", "parameters": {"type": "object"}}


async def streamed(ask: AppClient, body: JSON) -> list[JSON]:
    response = await ask.post(PATH, body | {"stream": True})
    assert response.status_code == 200, response.text
    found = []
    for name, text in events(response.text):
        event = json.loads(text)
        ResponseEvent.model_validate(event)
        assert name == event["type"]
        found.append(event)
    assert [e["sequence_number"] for e in found] == list(range(len(found)))
    return found


def of(found: list[JSON], kind: str) -> list[Any]:
    return [e for e in found if e["type"] == kind]


async def test_whole_answer(ask: AppClient) -> None:
    body = await ask.answer(PATH, {"input": "Hi", "instructions": "Be brief."})
    ResponseBody.model_validate(body)
    assert body["status"] == "completed" and body["store"] is False
    (message,) = body["output"]
    assert message["content"] == [{"type": "output_text", "text": TEXT, "annotations": []}]
    assert body["usage"]["output_tokens"] == len(SCRIPT)


async def test_events_of_a_message(ask: AppClient) -> None:
    found = await streamed(ask, {"input": "Hi"})
    kinds = [e["type"].removeprefix("response.") for e in found if not e["type"].endswith("delta")]
    assert kinds == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert "".join(e["delta"] for e in of(found, "response.output_text.delta")) == TEXT
    assert of(found, "response.output_text.done")[0]["text"] == TEXT
    assert len(of(found, "response.output_text.delta")) == 6, "one a round"


async def test_events_of_calls() -> None:
    ask = AppClient(ScriptedEngine([*call("add", {"a": 1}), *call("add", {"a": 2})]))
    found = await streamed(ask, {"input": "Hi", "tools": [TOOL]})
    added = of(found, "response.output_item.added")
    assert [(e["output_index"], e["item"]["name"], e["item"]["arguments"]) for e in added] == [
        (0, "add", ""),
        (1, "add", ""),
    ]
    done = of(found, "response.function_call_arguments.done")
    assert [json.loads(e["arguments"]) for e in done] == [{"a": 1}, {"a": 2}]
    for index, event in enumerate(done):
        parts = of(found, "response.function_call_arguments.delta")
        assert "".join(p["delta"] for p in parts if p["output_index"] == index) == event["arguments"]


def test_an_error_before_the_first_token_has_a_beginning_before_it() -> None:
    """Clients fail at any other first event."""
    engine = ScriptedEngine(hold=0)
    with live(engine) as server, server.ask(PATH, {"input": "Hi", "stream": True}) as connection:
        read_until(connection, b"event: response.in_progress")
        engine.close()
        assert b"event: response.failed" in read_until(connection, b'"code":"engine_unavailable"')


async def test_a_cut_answer_is_incomplete(ask: AppClient) -> None:
    body = await ask.answer(PATH, {"input": "Hi", "max_output_tokens": 2})
    assert body["status"] == "incomplete"
    assert body["incomplete_details"] == {"reason": "max_output_tokens"}
    assert (await streamed(ask, {"input": "Hi", "max_output_tokens": 2}))[-1]["type"] == "response.incomplete"


async def test_items_become_turns(ask: AppClient, engine: ScriptedEngine) -> None:
    items = [
        {"role": "user", "content": "Add."},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "hm"}],
        },
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Well."}]},
        {"type": "message", "role": "assistant", "content": "So."},
        {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "2"},
        {"role": "user", "content": [{"type": "input_text", "text": text} for text in ("blue", "bird")]},
    ]
    await ask.answer(PATH, {"input": items, "instructions": "Be brief."})
    assert engine.requests[0].prompt == (
        Message("system", "Be brief."),
        Message("user", "Add."),
        Message("assistant", "Well.\nSo.", tool_calls=(ToolCall("c1", "add", "{}"),), reasoning="hm"),
        Message("tool", "2", tool_call_id="c1"),
        Message("user", "blue\nbird"),
    )


async def test_an_output_can_be_the_next_input(engine: ScriptedEngine) -> None:
    ask = AppClient(ScriptedEngine(["<think>", "hm", "</think>", *call("add", {"a": 1})]))
    output = (await ask.answer(PATH, {"input": "Hi", "tools": [TOOL]}))["output"]
    result = {"type": "function_call_output", "call_id": output[-1]["call_id"], "output": "2"}
    await ask.answer(PATH, {"input": [{"role": "user", "content": "Hi"}, *output, result], "tools": [TOOL]})


async def test_what_the_openai_package_makes_of_an_output_can_be_the_next_input(
    ask: AppClient, engine: ScriptedEngine
) -> None:
    """`model_dump()` of what its `.stream()` and `.parse()` return."""
    text: JSON = {
        "annotations": [],
        "text": "Yes.",
        "type": "output_text",
        "logprobs": None,
        "parsed": {"a": 1},
    }
    made: JSON = {
        "arguments": "{}",
        "call_id": "c1",
        "name": "add",
        "type": "function_call",
        "id": "fc_2",
        "async_": None,
        "caller": None,
        "namespace": None,
        "status": "completed",
        "parsed_arguments": {},
    }
    items = [
        {"role": "user", "content": "Hi"},
        {
            "id": "rs_0",
            "summary": [],
            "type": "reasoning",
            "content": [{"text": "hm", "type": "reasoning_text"}],
            "encrypted_content": None,
            "status": "completed",
        },
        {
            "id": "msg_1",
            "content": [text],
            "role": "assistant",
            "status": "completed",
            "type": "message",
            "phase": None,
        },
        made,
        {"type": "function_call_output", "call_id": "c1", "output": "2"},
    ]
    await ask.answer(PATH, {"input": items})
    assert engine.requests[0].prompt[1] == Message(
        "assistant", "Yes.", tool_calls=(ToolCall("c1", "add", "{}"),), reasoning="hm"
    )


async def test_tools_and_formats_reach_the_engine(ask: AppClient, engine: ScriptedEngine) -> None:
    schema = {"type": "json_schema", "name": "x", "schema": {"type": "integer"}, "strict": True}
    await ask.answer(
        PATH,
        {
            "input": "Hi",
            "tools": [TOOL],
            "tool_choice": {"type": "function", "name": "add"},
            "text": {"format": schema},
        },
    )
    (request,) = engine.requests
    assert request.tools == ({"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},)
    assert request.tool_choice == "add"
    assert request.sampling.grammar == Grammar.json_schema({"type": "integer"}, strict=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"input": []},
        {"input": "Hi", "previous_response_id": "resp_1"},
        {"input": "Hi", "background": True},
        {"input": "Hi", "text": {"format": {"type": "json_schema", "name": "x"}}},
        {"input": [{"type": "item_reference", "id": "x"}]},
        {"input": "Hi", "top_logprobs": 3},
    ],
)
async def test_what_is_not_there_is_refused(ask: AppClient, engine: ScriptedEngine, fields: JSON) -> None:
    assert (await ask.refused(PATH, fields))["message"]
    assert not engine.requests


@pytest.mark.parametrize(
    ("item", "param", "message"),
    [
        (
            {"type": "item_reference", "id": "x"},
            "input.1",
            "not supported; expected an item of type message, function_call, function_call_output or reasoning",
        ),
        ({"type": "function_call", "call_id": "c1", "name": "add"}, "input.1.arguments", "Field required"),
        (
            {"type": "function_call", "call_id": 1, "name": "add", "arguments": "{}"},
            "input.1.call_id",
            "Input should be text",
        ),
        ({"content": "Hi"}, "input.1.role", "Field required"),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": "x"}]},
            "input.1.content.0.type",
            "images are not supported; expected a part of type text",
        ),
    ],
)
async def test_of_an_item_the_part_that_is_wrong_is_named(ask: AppClient, item: JSON, param: str, message: str) -> None:
    error = await ask.refused(PATH, {"input": [{"role": "user", "content": "Hi"}, item]})
    assert (error["param"], error["message"]) == (param, f"{param}: {message}")


CODEX = {
    "model": "scripted",
    "instructions": "You are a coding agent.",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Sandboxed."}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Add."}]},
        {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "x" * 100},
        {"type": "function_call", "name": "add", "arguments": "{}", "call_id": "c1", "id": None},
        {"type": "function_call_output", "call_id": "c1", "output": "2"},
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Mind the time."}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "So."}],
            "phase": "commentary",
        },
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Go on."}]},
    ],
    "tools": [
        {"type": "function", "name": "add", "description": "Adds.", "strict": False, "parameters": {"type": "object"}},
        {"type": "web_search", "external_web_access": False},
        {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
        {"type": "namespace", "name": "mcp", "description": "x", "tools": []},
        {"type": "image_generation", "output_format": "png"},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "reasoning": None,
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "service_tier": "priority",
    "prompt_cache_key": "x",
    "text": {"verbosity": "low"},
    "client_metadata": {"installation": "x"},
}


@pytest.mark.parametrize("reasoning", [None, {"effort": "high", "summary": "auto"}])
async def test_the_body_of_codex_streams_to_its_end(reasoning: JSON | None) -> None:
    script = ["<think>", "hm", "</think>", "Yes. ", *call("add", {"a": 1}), *call("add", {"a": 2})]
    engine = ScriptedEngine(script, width=16)
    ask = AppClient(engine)
    response = await ask.post(PATH, CODEX | {"reasoning": reasoning})
    assert response.status_code == 200, response.text
    ignored = set(response.headers["x-specdec-ignored"].split(", "))
    skipped = {"tools.web_search", "tools.custom", "tools.namespace", "tools.image_generation"}
    named = {"include", "text.verbosity", "client_metadata", "service_tier", "prompt_cache_key"}
    items = {"input[].encrypted_content", "input[].phase"}
    assert ignored - {"reasoning.summary"} == skipped | named | items
    found = await streamed(ask, CODEX | {"reasoning": reasoning})
    assert found[-1]["type"] == "response.completed"
    open_items = [(e["type"].rsplit(".")[-1], e["output_index"]) for e in found if "output_item" in e["type"]]
    assert open_items == [(what, index) for index in range(4) for what in ("added", "done")], "they close in order"
    (request, _) = engine.requests
    assert request.reasoning == ("high" if reasoning else "auto")
    assert request.prompt == (
        Message("system", "You are a coding agent."),
        Message("system", "Sandboxed."),
        Message("user", "Add."),
        Message("assistant", None, tool_calls=(ToolCall("c1", "add", "{}"),)),
        Message("tool", "2", tool_call_id="c1"),
        Message("system", "Mind the time."),
        Message("assistant", "So."),
        Message("user", "Go on."),
    )
