"""/v1/chat/completions against a scripted engine: the exact form of what goes over the wire."""

from __future__ import annotations

import json

import pytest

from specdec.errors import EngineError, GrammarFailed, InvalidLogits
from specdec.types import Message, ToolCall
from specdec_server.chat.schemas import ChatCompletion, ChatCompletionChunk
from specdec_server.settings import Settings
from tests.fakes import SCRIPT, ScriptedEngine, call
from tests.specdec_server.client import CHAT, AppClient, content, deltas, events

TEXT = "".join(SCRIPT)
TOOL = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
}


async def test_whole_answer(ask: AppClient) -> None:
    answer = await ask.chat()
    ChatCompletion.model_validate(answer)
    assert answer["object"] == "chat.completion" and answer["id"].startswith("chatcmpl-")
    (choice,) = answer["choices"]
    assert choice == {
        "index": 0,
        "message": {"role": "assistant", "content": TEXT, "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert answer["usage"]["completion_tokens"] == len(SCRIPT)
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + len(SCRIPT)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(GrammarFailed("stuck"), 422, "grammar_failed"), (InvalidLogits("NaN"), 500, "invalid_logits")],
)
async def test_what_ended_the_request_is_told(
    error: EngineError,
    status: int,
    code: str,
    engine: ScriptedEngine,
    ask: AppClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(engine, "astream", fail)
    told = await ask.refused("/v1/chat/completions", CHAT, status)
    assert (told["code"], told["message"]) == (code, str(error))


async def test_stream_begins_with_the_role_and_ends_with_the_reason(ask: AppClient) -> None:
    chunks = await ask.chat_chunks()
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
        assert "usage" not in chunk
    first, *middle, last = (c for chunk in chunks for c in chunk["choices"])
    assert first["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert {(*c["delta"], c["finish_reason"]) for c in middle} == {("content", None)}
    assert last["delta"] == {} and last["finish_reason"] == "stop"
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert content(chunks) == TEXT


async def test_one_line_a_round(ask: AppClient) -> None:
    """The first token, then three a round."""
    chunks = await ask.chat_chunks()
    assert [d["content"] for d in deltas(chunks)[1:4]] == ["Once", " upon a time", ", a fox"]


async def test_stream_is_made_of_plain_data_lines(ask: AppClient) -> None:
    response = await ask.post("/v1/chat/completions", CHAT | {"stream": True})
    lines = response.text.split("\n")
    assert all(line == "" or line.startswith("data: ") for line in lines)
    assert response.text.endswith("data: [DONE]\n\n")


async def test_separators_of_lines_stay_escaped() -> None:
    ask = AppClient(ScriptedEngine(["one\u2028two", "\n\nthree\r", "é"]))
    response = await ask.post("/v1/chat/completions", CHAT | {"stream": True})
    assert response.text.isascii()
    chunks = [json.loads(text) for _, text in events(response.text)[:-1]]
    assert content(chunks) == "one\u2028two\n\nthree\ré"


async def test_usage_comes_alone_at_the_end_if_asked(ask: AppClient) -> None:
    *chunks, last = await ask.chat_chunks(stream_options={"include_usage": True})
    assert {chunk["usage"] for chunk in chunks} == {None}
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == len(SCRIPT)
    assert last["timings"]["predicted_n"] == len(SCRIPT)
    assert "timings" not in chunks[-1]


async def test_figures_without_usage_come_with_the_reason(ask: AppClient) -> None:
    chunks = await ask.chat_chunks()
    assert [i for i, chunk in enumerate(chunks) if "timings" in chunk] == [len(chunks) - 1]
    figures = chunks[-1]["metrics"]["speculative_decoding"]
    # 14 tokens: one, then rounds of 3, 3, 3, 3 and 1, all but each last one drafted and accepted
    assert figures["acceptance_histogram"] == [1, 0, 4]
    assert figures["num_spec_steps"] == 5
    assert figures["num_accepted_draft_tokens"] == figures["num_draft_tokens"] == 8
    assert figures["mean_acceptance_length"] == pytest.approx(1 + 8 / 5)
    assert figures["draft_acceptance_rate"] == 1
    assert figures["drafters"] == [{"drafter": "model", "drafted": [4, 4], "accepted": [4, 4], "tested": [4, 4]}]


async def test_several_choices(ask: AppClient, engine: ScriptedEngine) -> None:
    answer = await ask.chat(n=3, seed=5)
    assert [c["index"] for c in answer["choices"]] == [0, 1, 2]
    assert answer["usage"]["completion_tokens"] == 3 * len(SCRIPT)
    assert answer["usage"]["prompt_tokens"] == (await ask.chat())["usage"]["prompt_tokens"]
    assert [r.sampling.seed for r in engine.requests[:3]] == [5, 6, 7]


async def test_several_choices_streamed(ask: AppClient) -> None:
    chunks = await ask.chat_chunks(n=3)
    for index in range(3):
        assert content(chunks, index) == TEXT
        assert deltas(chunks, index)[0]["role"] == "assistant"
    reasons = [c["finish_reason"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]]
    assert reasons == ["stop"] * 3


async def test_length(ask: AppClient, engine: ScriptedEngine) -> None:
    answer = await ask.chat(max_completion_tokens=2, max_tokens=9)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["choices"][0]["message"]["content"] == "Once upon"
    assert engine.requests[0].sampling.max_tokens == 2


async def test_tool_calls_whole() -> None:
    ask = AppClient(ScriptedEngine(call("add", {"a": 1})))
    choice = (await ask.chat(tools=[TOOL]))["choices"][0]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
    (made,) = choice["message"]["tool_calls"]
    assert made["type"] == "function" and made["id"]
    assert made["function"]["name"] == "add" and json.loads(made["function"]["arguments"]) == {"a": 1}


async def test_tool_calls_streamed() -> None:
    ask = AppClient(ScriptedEngine(call("add", {"a": 12345678901234})))
    chunks = await ask.chat_chunks(tools=[TOOL])
    parts = [p for d in deltas(chunks) for p in d.get("tool_calls", ())]
    first, *others = parts
    assert first["index"] == 0 and first["id"] and first["type"] == "function"
    assert first["function"]["name"] == "add"
    assert others and all("id" not in p and "name" not in p["function"] for p in others)
    assert json.loads("".join(p["function"]["arguments"] for p in parts)) == {"a": 12345678901234}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_two_calls_in_one_round_are_two_chunks() -> None:
    script = ["<think>", "hm", "</think>", "Yes", *call("add", {"a": 1}), *call("add", {"a": 2})]
    chunks = await AppClient(ScriptedEngine(script, width=64)).chat_chunks(tools=[TOOL], return_token_ids=True)
    found = [[part["index"] for part in delta.get("tool_calls", ())] for delta in deltas(chunks)]
    assert [indices for indices in found if indices] == [[0], [1]]
    first = next(delta for delta in deltas(chunks) if "tool_calls" in delta)
    assert first["reasoning_content"] == "hm" and first["content"] == "Yes", "the rest of the round is not split"
    ids = [i for chunk in chunks for choice in chunk["choices"] for i in choice["token_ids"]]
    assert ids == list(range(10, 10 + len(script)))


async def test_reasoning_is_kept_apart() -> None:
    ask = AppClient(ScriptedEngine(["<think>", "hm", "</think>", "Yes"]))
    message = (await ask.chat())["choices"][0]["message"]
    assert message["reasoning_content"] == "hm" and message["content"] == "Yes"
    chunks = await ask.chat_chunks()
    assert "".join(d.get("reasoning_content", "") for d in deltas(chunks)) == "hm"
    assert content(chunks) == "Yes"


async def test_a_chat_with_calls_reaches_the_engine(ask: AppClient, engine: ScriptedEngine) -> None:
    made = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "One", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "more"},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [made],
            "refusal": None,
            "reasoning_content": "hm",
        },
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
    ]
    await ask.chat(messages=messages, tools=[TOOL], tool_choice="required", parallel_tool_calls=False)
    (request,) = engine.requests
    assert request.prompt == (
        Message("system", "Be brief."),
        Message("user", "One\nmore"),
        Message("assistant", None, tool_calls=(ToolCall("c1", "add", '{"a": 1}'),), reasoning="hm"),
        Message("tool", "2", tool_call_id="c1"),
    )
    assert request.tools == (TOOL,)
    assert request.tool_choice == "required" and request.parallel_tool_calls is False


async def test_what_the_openai_package_makes_of_an_answer_can_be_sent_back(
    ask: AppClient, engine: ScriptedEngine
) -> None:
    """`model_dump()` of what its `.stream()` and `.parse()` return, and fields that a later one may have."""
    function = {"name": "add", "arguments": '{"a": 1}', "parsed_arguments": {"a": 1}}
    made = {"id": "c1", "function": function, "type": "function", "index": 0, "later": None}
    parsed = {
        "content": None,
        "refusal": None,
        "role": "assistant",
        "annotations": None,
        "audio": None,
        "later": None,
        "function_call": None,
        "tool_calls": [made],
        "parsed": {"a": 1},
        "reasoning_content": "hm",
    }
    await ask.chat(messages=[*CHAT["messages"], parsed, {"role": "tool", "tool_call_id": "c1", "content": "2"}])
    assert engine.requests[0].prompt[1] == Message(
        "assistant", None, tool_calls=(ToolCall("c1", "add", '{"a": 1}'),), reasoning="hm"
    )


async def test_null_asks_for_nothing(ask: AppClient) -> None:
    assert await ask.chat(typical_p=None)
    error = await ask.refused("/v1/chat/completions", CHAT | {"typical_p": 0.5})
    assert error["param"] == "typical_p"


async def test_a_named_tool(ask: AppClient, engine: ScriptedEngine) -> None:
    await ask.chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "add"}})
    assert engine.requests[0].tool_choice == "add"


async def test_every_parameter_reaches_the_engine(ask: AppClient, engine: ScriptedEngine) -> None:
    await ask.chat(
        temperature=0.5,
        top_p=0.9,
        top_k=7,
        min_p=0.1,
        repetition_penalty=1.1,
        presence_penalty=1,
        frequency_penalty=-1,
        logit_bias={"5": -100, "6": 1.5},
        min_tokens=1,
        max_tokens=9,
        stop="END",
        stop_token_ids=[3],
        ignore_eos=True,
        seed=-1,
        logprobs=True,
        top_logprobs=2,
        speculative=4,
        remember=False,
        prediction={"type": "content", "content": "Once"},
    )
    (request,) = engine.requests
    s = request.sampling
    assert (s.temperature, s.top_p, s.top_k, s.min_p, s.repetition_penalty) == (0.5, 0.9, 7, 0.1, 1.1)
    assert (s.presence_penalty, s.frequency_penalty, s.logit_bias) == (1, -1, {5: -100, 6: 1.5})
    assert (s.min_tokens, s.max_tokens, s.stop, s.stop_token_ids) == (1, 9, ("END",), (3,))
    assert s.ignore_eos and s.logprobs == 2 and s.seed is not None and s.seed >= 0
    assert request.speculative == 4 and request.prediction == "Once" and not request.remember


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        ({"type": "json_object"}, "json_object"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "integer"}}}, "json_schema"),
    ],
)
async def test_response_format(ask: AppClient, engine: ScriptedEngine, wanted: object, kind: str) -> None:
    await ask.chat(response_format=wanted)
    grammar = engine.requests[0].sampling.grammar
    assert grammar and grammar.kind == kind


@pytest.mark.parametrize("strict", [True, False, None])
async def test_strict_schemas_are_strict(ask: AppClient, engine: ScriptedEngine, strict: bool | None) -> None:
    form = {"name": "x", "schema": {"type": "integer"}, "strict": strict}
    tool = {"type": "function", "function": {"name": "add", "strict": strict}}
    await ask.chat(response_format={"type": "json_schema", "json_schema": form}, tools=[tool])
    (request,) = engine.requests
    assert request.sampling.grammar and request.sampling.grammar.strict is bool(strict)
    assert request.tools[0]["function"].get("strict") is strict


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        ({"json": {"type": "integer"}}, "json_schema"),
        ({"json_object": True}, "json_object"),
        ({"regex": "[ab]+"}, "regex"),
        ({"choice": ["yes", "no"]}, "choice"),
        ({"grammar": 'start: "a"'}, "lark"),
    ],
)
async def test_structured_outputs(ask: AppClient, engine: ScriptedEngine, wanted: object, kind: str) -> None:
    await ask.chat(structured_outputs=wanted)
    grammar = engine.requests[0].sampling.grammar
    assert grammar and grammar.kind == kind


async def test_token_ids_on_request(ask: AppClient) -> None:
    answer = await ask.chat(return_token_ids=True)
    assert answer["choices"][0]["token_ids"] == list(range(10, 24))
    chunks = await ask.chat_chunks(return_token_ids=True)
    assert [i for c in chunks for i in c["choices"][0]["token_ids"]] == list(range(10, 24))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.content"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias[1]"),
        ({"speculative": 17}, "speculative"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs"),
        ({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}, "tools.0.function.name"),
        ({"chat_template": "{{ 7 * 7 }}"}, "chat_template"),
        ({"temprature": 1}, "temprature"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, None),
    ],
)
async def test_what_is_wrong_is_named(
    ask: AppClient, engine: ScriptedEngine, fields: dict[str, object], param: str | None
) -> None:
    error = await ask.refused("/v1/chat/completions", CHAT | fields)
    assert error["type"] == "invalid_request_error"
    assert param is None or str(error["param"]).startswith(param), error
    assert not engine.requests


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"stop": ["a"] * 17}, "stop", "List should have at most 16 items after validation, not 17"),
        ({"stop": ["a", 1]}, "stop.1", "Input should be text"),
        ({"stop": 1}, "stop", "Input should be text or a list"),
        ({"speculative": "fast"}, "speculative", "Input should be 'auto' or 'off' or a whole number"),
        ({"tool_choice": {"type": "web"}}, "tool_choice.type", "Input should be 'function'"),
        ({"messages": ["Hi"]}, "messages.0", "Input should be an object"),
        (
            {"messages": [{"role": "user", "content": 1}]},
            "messages.0.content",
            "Input should be text or a list",
        ),
    ],
)
async def test_of_a_union_the_part_that_is_wrong_is_named(
    ask: AppClient, fields: dict[str, object], param: str, message: str
) -> None:
    error = await ask.refused("/v1/chat/completions", CHAT | fields)
    assert (error["param"], error["message"]) == (param, f"{param}: {message}")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("image_url", "images are not supported; expected a part of type text"),
        ("input_audio", "audio files are not supported; expected a part of type text"),
        ("file", "files are not supported; expected a part of type text"),
        ("poem", "Input should be 'text'"),
    ],
)
async def test_what_a_model_cannot_read_is_named(ask: AppClient, kind: str, message: str) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": kind, kind: {"url": "x"}}]
    error = await ask.refused("/v1/chat/completions", {"messages": [{"role": "user", "content": parts}]})
    assert error["param"] == "messages.0.content.1.type"
    assert error["message"] == f"{error['param']}: {message}"


async def test_a_type_of_no_type_is_named(ask: AppClient) -> None:
    error = await ask.refused("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": [1]}]}]})
    assert error["message"] == "messages.0.content.0.type: Input should be 'text'"


async def test_tools_are_no_parts_of_a_message() -> None:
    strict = AppClient(ScriptedEngine(), Settings(strict=True))
    error = await strict.refused("/v1/chat/completions", CHAT | {"tools": [{"type": "file"}]})
    assert error["message"] == "tools.0.type: Input should be 'function'"


async def test_an_unknown_model_is_named(ask: AppClient) -> None:
    error = await ask.refused("/v1/chat/completions", CHAT | {"model": "gpt-9"}, 404)
    assert error["code"] == "model_not_found" and "'scripted'" in error["message"]
    assert (await ask.chat(model="scripted"))["model"] == "scripted"


async def test_errors_repeat_nothing_of_the_prompt(ask: AppClient) -> None:
    secret = "xyzzy" * 10
    for fields in (
        {"messages": [{"role": secret, "content": secret}]},
        {"messages": [{"role": "user", "content": [{"type": secret, "text": secret}]}]},
        {"stop": [secret, ""]},
        {"prediction": secret},
        {"structured_outputs": {"json": secret}},
        {"tools": [{"type": "function", "function": {"name": secret + " "}}]},
    ):
        response = await ask.post("/v1/chat/completions", CHAT | fields)
        assert response.status_code == 400 and "xyzzy" not in response.text, response.text
