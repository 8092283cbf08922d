"""What becomes of fields that clients send: mapped, ignored by name, refused. Every row of the table is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from specdec.types import Message, Request, ToolCall
from specdec_server import Settings
from specdec_server.fields import PATHS, TABLE, FieldRule, page
from specdec_server.schemas import Form
from tests.embeddings.encoders import CountingEmbedder
from tests.fakes import ScriptedEngine
from tests.specdec_server.client import CHAT, JSON, AppClient

CHAT_PATH = "/v1/chat/completions"
FUNCTION = {"name": "add", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}
OTHER = {"type": "function", "function": {"name": "sub", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "2"}
TEXT = [{"type": "text", "text": "Hi"}]


def body_of(form: Form) -> JSON:
    """One in which all places that the table names exist."""
    bodies: dict[Form, JSON] = {
        "completions": {"prompt": "Once"},
        "embeddings": {"input": "Once"},
        "chat": {
            "messages": [
                {"role": "assistant", "content": TEXT, "tool_calls": [CALL]},
                RESULT,
                {"role": "user", "content": TEXT},
            ],
            "tools": [TOOL],
        },
        "responses": {
            "input": [
                {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
                {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            ],
            "text": {},
            "tools": [{"type": "function", **FUNCTION}],
        },
        "messages": {
            "messages": [
                {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "add", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": TEXT}]},
            ],
            "system": TEXT,
            "output_config": {},
            "tools": [{"name": "add", "input_schema": {"type": "object"}}],
        },
    }
    thoughts: JSON = {} if form in ("completions", "embeddings") else {"reasoning": {}, "thinking": {}}
    return dict(json.loads(json.dumps(bodies[form] | thoughts)))


def put(body: Any, path: str, value: object) -> bool:
    """Set the field of this path, where there is first room for it; false where the form has no such place."""
    head, _, rest = path.partition(".")
    name = head.removesuffix("[]")
    if not isinstance(body, dict):
        return False
    if not rest:
        body[name] = value
        return True
    inner = body.get(name)
    return any(put(item, rest, value) for item in (inner if isinstance(inner, list) else [inner]))


CASES = [
    pytest.param(rule, form, path, id=f"{form}-{path}")
    for rule in TABLE
    for form in rule.forms
    for path in rule.paths
    if rule.treatment != "mapped" and put(body_of(form), path, 1)
]


@pytest.fixture(scope="module")
def lenient() -> AppClient:
    return AppClient(ScriptedEngine(), None, CountingEmbedder())


@pytest.fixture(scope="module")
def strict() -> AppClient:
    return AppClient(ScriptedEngine(), Settings(strict=True))


@pytest.mark.parametrize(("rule", "form", "path"), CASES)
async def test_the_table(lenient: AppClient, strict: AppClient, rule: FieldRule, form: Form, path: str) -> None:
    body = body_of(form)
    put(body, path, rule.example)
    refused = rule.treatment == "refused"
    response = await lenient.post(PATHS[form], body)
    assert response.status_code == (400 if refused else 200), response.text
    if refused:
        assert (await strict.post(PATHS[form], body)).status_code == 400
    else:
        assert response.headers["x-specdec-ignored"] == path


@pytest.mark.parametrize("form", PATHS)
async def test_nothing_is_named_where_nothing_was_ignored(lenient: AppClient, form: Form) -> None:
    response = await lenient.post(PATHS[form], body_of(form))
    assert response.status_code == 200, response.text
    assert "x-specdec-ignored" not in response.headers


def test_every_ignored_field_has_a_place() -> None:
    for rule in TABLE:
        for path in rule.paths if rule.treatment == "ignored" else ():
            assert any(put(body_of(form), path, 1) for form in rule.forms), path


def test_the_docs_have_the_table() -> None:
    assert (Path(__file__).parents[2] / "docs" / "endpoint-fields.md").read_text() == page()


async def asked(**fields: Any) -> Request:
    engine = ScriptedEngine()
    await AppClient(engine).chat(**fields)
    return engine.requests[0]


@pytest.mark.parametrize(
    ("given", "limit"),
    [(32000, 32000), (-1, None), (None, None), (100.0, 100)],
)
async def test_bounds_of_an_answer(given: object, limit: int | None) -> None:
    assert (await asked(max_tokens=given)).sampling.max_tokens == limit


async def test_no_tokens_are_no_answer(ask: AppClient) -> None:
    error = await ask.refused(CHAT_PATH, CHAT | {"max_tokens": 0})
    assert error["param"] == "max_tokens"


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        ({}, "auto"),
        ({"reasoning_effort": "none"}, "off"),
        ({"reasoning_effort": "high"}, "high"),
        ({"reasoning": None}, "auto"),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, "low"),
        ({"reasoning": {"enabled": False}}, "off"),
        ({"thinking": {"type": "enabled", "budget_tokens": 100}}, "on"),
        ({"thinking": {"type": "enabled", "budget_tokens": 100.0}}, "on"),
        ({"thinking": {"type": "adaptive"}}, "on"),
        ({"thinking": {"type": "disabled"}}, "off"),
        ({"thinking": False}, "off"),
        ({"think": True}, "on"),
        ({"think": "low"}, "low"),
        ({"enable_thinking": False}, "off"),
    ],
)
async def test_thinking(fields: JSON, reasoning: str) -> None:
    request = await asked(**fields)
    assert request.reasoning == reasoning
    assert request.max_reasoning_tokens == (100 if "budget_tokens" in str(fields) else None)


async def test_variables_of_the_template(ask: AppClient) -> None:
    assert (await asked(chat_template_kwargs={"enable_thinking": False})).template == {"enable_thinking": False}
    refused = await ask.refused(CHAT_PATH, CHAT | {"chat_template_kwargs": {"messages": []}})
    assert refused["param"] == "chat_template_kwargs" and refused["message"].startswith("chat_template_kwargs is not")


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"top_k": -1}, "top_k", 0),
        ({"top_k": 5.0}, "top_k", 5),
        ({"repeat_penalty": 1.1}, "repetition_penalty", 1.1),
        ({"max_completion_tokens": 7.0}, "max_tokens", 7),
        ({"seed": 3.0}, "seed", 3),
    ],
)
async def test_sampling(fields: JSON, name: str, value: float) -> None:
    assert getattr((await asked(**fields)).sampling, name) == value


async def test_two_names_of_one_thing_must_agree(ask: AppClient) -> None:
    assert await ask.chat(repeat_penalty=1.1, repetition_penalty=1.1)
    error = await ask.refused(CHAT_PATH, CHAT | {"repeat_penalty": 1.2, "repetition_penalty": 1.1})
    assert error["param"] == "repeat_penalty"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", "auto"),
        ("any", "required"),
        ({"type": "auto"}, "auto"),
        ({"type": "none"}, "none"),
        ({"type": "any"}, "required"),
        ({"type": "required"}, "required"),
        ({"type": "function", "function": {"name": "add"}}, "add"),
        ({"type": "function", "name": "add"}, "add"),
        ({"type": "tool", "name": "add"}, "add"),
    ],
)
async def test_choices_of_a_tool(choice: object, expected: str) -> None:
    assert (await asked(tools=[TOOL, OTHER], tool_choice=choice)).tool_choice == expected
    engine = ScriptedEngine()
    tools = [{"type": "function", **FUNCTION}]
    await AppClient(engine).answer("/v1/responses", {"input": "Hi", "tools": tools, "tool_choice": choice})
    assert engine.requests[0].tool_choice == expected


async def test_allowed_tools_are_the_only_ones() -> None:
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "sub"}}]}
    request = await asked(tools=[TOOL, OTHER], tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert request.tools == (OTHER,) and request.tool_choice == "required"


async def test_tools_of_a_service_are_skipped_and_named(ask: AppClient, engine: ScriptedEngine) -> None:
    foreign = [{"type": "web_search"}, {"type": "custom", "custom": {"name": "patch"}}]
    response = await ask.post(CHAT_PATH, CHAT | {"tools": [*foreign, TOOL], "store": True, "stream": True})
    assert response.headers["x-specdec-ignored"] == "tools.web_search, tools.custom, store"
    assert engine.requests[0].tools == (TOOL,)
    refused = await ask.refused(CHAT_PATH, CHAT | {"tools": foreign, "tool_choice": "required"})
    assert refused["param"] == "tools"


async def test_a_schema_beside_json_object() -> None:
    grammar = (await asked(response_format={"type": "json_object", "schema": {"type": "integer"}})).sampling.grammar
    assert grammar and (grammar.kind, json.loads(grammar.text)) == ("json_schema", {"type": "integer"})


async def test_history_as_clients_send_it_back() -> None:
    function = {"name": "add", "arguments": {"a": 1}}
    made: JSON = {"id": None, "type": "function", "function": function, "extra_content": {"google": {}}}
    messages = [
        {"role": "user", "content": "Add."},
        {"role": "assistant", "content": None, "reasoning": "hm", "tool_calls": [made, made]},
        {"role": "tool", "tool_call_id": None, "content": "2"},
        {"role": "tool", "tool_call_id": None, "content": None},
        {"role": "assistant", "content": None, "reasoning_details": [{"type": "reasoning.text", "text": "so"}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}], "phase": "final_answer"},
        {"role": "user", "content": "Go on."},
    ]
    one, two = ToolCall("call00100", "add", '{"a": 1}'), ToolCall("call00101", "add", '{"a": 1}')
    assert (await asked(messages=messages)).prompt == (
        Message("user", "Add."),
        Message("assistant", None, tool_calls=(one, two), reasoning="hm"),
        Message("tool", "2", tool_call_id=one.id),
        Message("tool", "", tool_call_id=two.id),
        Message("assistant", "", reasoning="so"),
        Message("assistant", "No."),
        Message("user", "Go on."),
    )


async def test_five_hundred_tools_of_long_names() -> None:
    tools = [{"type": "function", "function": {"name": f"server.{i:03}." + "x" * 117}} for i in range(500)]
    assert all(len(tool["function"]["name"]) == 128 for tool in tools)  # type: ignore[index]
    assert len((await asked(tools=tools)).tools) == 500


STRICT: list[JSON] = [
    {"verbosity": "low"},
    {"top_k": -1},
    {"max_tokens": -1},
    {"max_tokens": 100.0},
    {"repeat_penalty": 1.1},
    {"reasoning": {"effort": "low"}},
    {"thinking": {"type": "disabled"}},
    {"tool_choice": {"type": "auto"}},
    {"tools": [{"type": "web_search"}]},
    {"store": True},
    {"messages": [{"role": "assistant", "content": "a", "reasoning": "hm"}]},
]


@pytest.mark.parametrize("fields", STRICT)
async def test_strict_refuses_what_is_else_mapped_or_ignored(fields: JSON) -> None:
    assert (await AppClient(ScriptedEngine()).post(CHAT_PATH, CHAT | fields)).status_code == 200
    assert await AppClient(ScriptedEngine(), Settings(strict=True)).refused(CHAT_PATH, CHAT | fields)
