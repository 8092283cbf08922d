"""ChatSpecDec over a scripted engine: what becomes of messages, parameters, answers and errors."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from jsonschema import Draft202012Validator
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import ContextOverflowError, LangChainException
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    BaseMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, ValidationError

from langchain_specdec import ChatSpecDec, InvalidInput
from langchain_specdec.structured import Method
from specdec.errors import InvalidRequest, PromptTooLong
from specdec.types import Grammar, Message, Token, TokenLogprob, ToolCall
from tests.fakes import SCRIPT, SCRIPTED_INFO, ScriptedEngine, call

TEXT = "".join(SCRIPT)
CALL = call("add", {"a": 1, "b": [2, "x"]})


@tool
def add(a: int, b: list[Any]) -> int:
    """Add numbers."""
    return a


class Point(BaseModel):
    """A point."""

    x: int
    y: int


def _model(script: Sequence[str] = SCRIPT, **options: Any) -> tuple[ChatSpecDec, ScriptedEngine]:
    engine = ScriptedEngine(script)
    return ChatSpecDec(engine=engine, **options), engine


def _joined(chunks: Sequence[BaseMessageChunk]) -> BaseMessageChunk:
    total = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    return total


# ---- messages


def test_messages_of_every_kind() -> None:
    model, engine = _model()
    model.invoke(
        [
            SystemMessage("be kind"),
            HumanMessage(["a", {"type": "text", "text": "b"}], name="ann"),
            AIMessage(
                [{"type": "text", "text": "c"}, {"type": "tool_use", "id": "1", "name": "add", "input": {}}],
                tool_calls=[{"id": "1", "name": "add", "args": {"a": "é"}}],
                additional_kwargs={"reasoning_content": "hm"},
            ),
            ToolMessage([{"type": "text", "text": "3"}], tool_call_id="1"),
            ChatMessage(content="d", role="user"),
        ]
    )
    assert engine.requests[-1].prompt == (
        Message("system", "be kind"),
        Message("user", "a\nb", "ann"),
        Message("assistant", "c", tool_calls=(ToolCall("1", "add", '{"a": "é"}'),), reasoning="hm"),
        Message("tool", "3", tool_call_id="1"),
        Message("user", "d"),
    )


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (HumanMessage([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]), "expected text"),
        (
            HumanMessage(
                [
                    {"type": "text", "text": "what is this?"},
                    {"type": "image", "base64": "AAAA", "mime_type": "image/png"},
                ]
            ),
            "'image'; expected text",
        ),
        (ToolMessage([{"type": "image", "base64": "AAAA", "mime_type": "image/png"}], tool_call_id="1"), "'image'"),
        (FunctionMessage(content="3", name="add"), "FunctionMessage; expected SystemMessage"),
        (ChatMessage(content="x", role="boss"), "messages.role is 'boss'"),
        (ToolMessage("3", tool_call_id="1"), "behind the assistant's call"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(message: BaseMessage, reason: str) -> None:
    model, engine = _model()
    for ask in (model.invoke, lambda messages: list(model.stream(messages))):
        with pytest.raises(InvalidInput, match=reason) as caught:
            ask([message])
        assert isinstance(caught.value, LangChainException)
    assert model.invoke("go on").content == TEXT
    assert engine.stats().active == 0


# ---- parameters


def test_parameters_of_the_class_and_of_the_call() -> None:
    model, engine = _model(temperature=0.5, max_tokens=9, stop=["x"], seed=3, speculative="off", timeout=7)
    model.invoke("hi")
    model.invoke("hi", temperature=0, top_k=5, stop=["y"], prediction="so", speculative=2)
    first, second = engine.requests
    sampling = first.sampling
    assert (sampling.temperature, sampling.max_tokens, sampling.stop, sampling.seed) == (0.5, 9, ("x",), 3)
    assert (first.speculative, first.timeout) == ("off", 7)
    assert (second.sampling.temperature, second.sampling.top_k, second.sampling.stop) == (0, 5, ("y",))
    assert (second.sampling.max_tokens, second.prediction, second.speculative) == (9, "so", 2)


def test_unknown_and_wrong_parameters_are_refused() -> None:
    with pytest.raises(ValidationError, match="temprature"):
        ChatSpecDec(temprature=1)  # type: ignore[call-arg]
    model, _ = _model()
    with pytest.raises(InvalidInput, match="temprature"):
        model.invoke("hi", temprature=1)
    with pytest.raises(InvalidInput, match="temperature is -1; expected") as caught:
        model.invoke("hi", temperature=-1)
    assert isinstance(caught.value.__cause__, InvalidRequest)
    with pytest.raises(InvalidInput, match="response_format is 5"):
        model.invoke("hi", response_format=5)


def test_a_prompt_that_is_too_long_is_langchains_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    model, engine = _model()
    refusal = PromptTooLong("prompt", "300 tokens", "at most 255 tokens")
    monkeypatch.setattr(engine, "_admit", lambda request: (_ for _ in ()).throw(refusal))
    with pytest.raises(ContextOverflowError, match="prompt is too long: 300 tokens;"):
        model.invoke("hi")


# ---- answers


def test_usage_and_figures_come_once() -> None:
    model, _ = _model(seed=4)
    message = model.invoke("hi")
    chunks = list(model.stream("hi"))
    assert len(chunks) > 3
    assert [bool(c.response_metadata) for c in chunks] == [False] * (len(chunks) - 1) + [True]
    streamed = _joined(chunks)
    for said in (message, streamed):
        assert isinstance(said, AIMessage)
        assert said.content == TEXT
        assert said.usage_metadata is not None
        assert said.usage_metadata["output_tokens"] == len(SCRIPT)
        assert said.response_metadata["speculative"]["accepted"] > 0
        assert said.response_metadata["timing"]["tokens_per_second"] > 0
    assert streamed.response_metadata == message.response_metadata | {"model_provider": "specdec"}
    assert message.response_metadata["model_name"] == "scripted"
    assert message.response_metadata["seed"] == 4


@pytest.mark.parametrize("width", [1, 3, 40])
def test_calls_stream_as_they_are_invoked(width: int) -> None:
    script = ["Well.", "\n", *CALL, "\n", *call("add", {"a": 2, "b": []})]
    bound = ChatSpecDec(engine=ScriptedEngine(script, width=width)).bind_tools([add])
    said, streamed = bound.invoke("hi"), _joined(cast("list[BaseMessageChunk]", list(bound.stream("hi"))))
    assert isinstance(streamed, AIMessage)
    for message in (said, streamed):
        assert message.content == "Well."
        assert [(c["name"], c["args"]) for c in message.tool_calls] == [
            ("add", {"a": 1, "b": [2, "x"]}),
            ("add", {"a": 2, "b": []}),
        ]
        assert len({c["id"] for c in message.tool_calls}) == 2
        assert message.response_metadata["finish_reason"] == "tool_calls"
        assert not message.invalid_tool_calls


@pytest.mark.parametrize("width", [1, 3, 40])
@pytest.mark.parametrize("output_version", ["v0", "v1"])
async def test_a_call_that_was_cut_is_invalid(width: int, output_version: str) -> None:
    """Wherever it was cut: LangChain would complete `{"a": "N` and have the tool run with that."""
    script = call("add", {"a": 'N"\\ }]', "b": [[{"c": "é\n"}, 12], None]})
    for end in range(1, len(script) + 1):
        bound = ChatSpecDec(
            engine=ScriptedEngine(script, width=width), max_tokens=end, output_version=output_version
        ).bind_tools([add])
        whole = bound.invoke("hi")
        chunks = [cast("BaseMessageChunk", chunk) async for chunk in bound.astream("hi")]
        for streamed in (_joined(cast("list[BaseMessageChunk]", list(bound.stream("hi")))), _joined(chunks)):
            assert isinstance(streamed, AIMessage)
            assert [c["args"] for c in streamed.tool_calls] == [c["args"] for c in whole.tool_calls]
            assert [c["name"] for c in streamed.invalid_tool_calls] == [c["name"] for c in whole.invalid_tool_calls]
            for cut, said in zip(streamed.invalid_tool_calls, whole.invalid_tool_calls, strict=True):
                assert (cut["args"] or "").startswith(said["args"] or "")
    assert whole.tool_calls


def _agent() -> tuple[Any, list[Any]]:
    """An agent whose tool call is cut within the tool's first argument, and what the tool was run with."""
    ran: list[Any] = []

    @tool
    def weather(city: str) -> str:
        """Tell the weather."""
        ran.append(city)
        return "fine"

    engine = ScriptedEngine(['<tool_call>\n{"name": "weather", "arguments": {"city": "N', 'ew York"}}', "."])
    return create_agent(ChatSpecDec(engine=engine, max_tokens=1), [weather]), ran


async def test_agents_run_no_call_that_was_cut() -> None:
    question = {"messages": [HumanMessage("What is the weather in New York?")]}
    agent, ran = _agent()
    *_, (_, last) = agent.stream(question, stream_mode=["messages", "values"])
    *_, (_, alast) = [part async for part in agent.astream(question, stream_mode=["messages", "values"])]
    for state in (agent.invoke(question), last, alast):
        message = state["messages"][-1]
        assert isinstance(message, AIMessage)
        assert message.invalid_tool_calls[0]["name"] == "weather"
        assert message.response_metadata["finish_reason"] == "length"
    assert ran == []


def test_half_a_call_never_fails() -> None:
    for end in range(1, len(CALL)):
        model, _ = _model(CALL[:end])
        for chunk in model.bind_tools([add]).stream("hi"):
            assert isinstance(chunk.content_blocks, list)


def test_reasoning_is_langchains() -> None:
    model, _ = _model(["<think>", "Hm", ".", "</think>", "\n\n", "Yes", "."])
    for message in (model.invoke("hi"), _joined(list(model.stream("hi")))):
        assert message.content == "Yes."
        assert message.additional_kwargs["reasoning_content"] == "Hm."
        assert isinstance(message, AIMessage) and message.usage_metadata
        assert message.usage_metadata["output_token_details"]["reasoning"] > 0
        assert {b["type"] for b in message.content_blocks} == {"reasoning", "text"}
    v1, _ = _model(["<think>", "Hm", "</think>", "Yes"], output_version="v1")
    said = v1.invoke("hi")
    assert [b["type"] for b in said.content_blocks] == ["reasoning", "text"]
    model, engine = _model()
    model.invoke(["hi", said, "and?"])
    assert engine.requests[-1].prompt[1] == Message("assistant", "Yes", reasoning="Hm")


def test_logprobs_are_openais() -> None:
    engine = ScriptedEngine(["Hi ", "", "é"])
    raw = iter([b"Hi ", b"\xc3", b"\xa9"] * 2)
    other = TokenLogprob(7, r"\xf0", -2.0, b"\xf0")
    real = engine._events

    def scored(request: Any) -> Any:
        def score(token: Token) -> Token:
            return replace(token, logprob=-0.5, top_logprobs=(other,), bytes=next(raw))

        return [replace(e, tokens=tuple(map(score, e.tokens))) for e in real(request)]

    engine._events = scored  # type: ignore[method-assign]
    model = ChatSpecDec(engine=engine)
    for message in (model.invoke("hi", logprobs=True), _joined(list(model.stream("hi", top_logprobs=2)))):
        content = message.response_metadata["logprobs"]["content"]
        assert message.content == "Hi é"
        assert [(c["token"], c["bytes"]) for c in content] == [
            ("Hi ", list(b"Hi ")),
            (r"\xc3", [0xC3]),
            (r"\xa9", [0xA9]),
        ]
        assert content[0]["top_logprobs"] == [{"token": r"\xf0", "logprob": -2.0, "bytes": [0xF0]}]
    assert [r.sampling.logprobs for r in engine.requests] == [0, 2]


# ---- tools and forms


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (None, "auto"),
        ("auto", "auto"),
        ("none", "none"),
        ("any", "required"),
        ("required", "required"),
        (True, "required"),
        ("add", "add"),
        ({"type": "function", "function": {"name": "add"}}, "add"),
    ],
)
def test_tool_choice(choice: Any, wanted: str) -> None:
    model, engine = _model()
    model.bind_tools([add, Point], tool_choice=choice, parallel_tool_calls=False).invoke("hi")
    request = engine.requests[-1]
    assert (request.tool_choice, request.parallel_tool_calls) == (wanted, False)
    assert [t["function"]["name"] for t in request.tools] == ["add", "Point"]


@pytest.mark.parametrize(
    ("tools", "choice", "reason"),
    [
        ([{"type": "function", "function": {"name": "", "parameters": {}}}], None, r"tools\[0\].function.name is ''"),
        ([add, add], None, "tools is 'add'; expected tools of different names"),
        ([add], "sub", "tool_choice is 'sub'"),
    ],
)
def test_wrong_tools_are_refused(tools: Any, choice: Any, reason: str) -> None:
    model, _ = _model()
    with pytest.raises(InvalidInput, match=reason):
        model.bind_tools(tools, tool_choice=choice).invoke("hi")
    assert model.invoke("hi").content == TEXT


def test_structured_output_three_ways() -> None:
    point = '{"x": 1, "y": 2}'
    for method, script in (
        ("function_calling", call("Point", {"x": 1, "y": 2})),
        ("json_schema", [point]),
        ("json_mode", [point]),
    ):
        model, engine = _model(script)
        chain = model.with_structured_output(Point, method=method)  # type: ignore[arg-type]
        assert chain.invoke("hi") == Point(x=1, y=2)
        request = engine.requests[-1]
        if method == "function_calling":
            assert request.tool_choice == "Point"
        else:
            grammar = request.sampling.grammar
            assert isinstance(grammar, Grammar)
            assert grammar.kind == ("json_object" if method == "json_mode" else method)
        schema = model.with_structured_output(Point.model_json_schema(), method=method)  # type: ignore[arg-type]
        assert schema.invoke("hi") == {"x": 1, "y": 2}


@pytest.mark.parametrize("strict", [True, False, None])
def test_structured_output_is_strict_if_asked(strict: bool | None) -> None:
    model, engine = _model(['{"x": 1, "y": 2}'])
    model.with_structured_output(Point, method="json_schema", strict=strict).invoke("hi")
    grammar = engine.requests[-1].sampling.grammar
    assert grammar and grammar.strict is bool(strict)
    model.bind_tools([Point], strict=strict).invoke("hi")
    assert bool(engine.requests[-1].tools[0]["function"].get("strict")) is bool(strict)


def test_structured_output_keeps_the_raw_answer() -> None:
    model, _ = _model(['{"x": 1, '])
    result = model.with_structured_output(Point, method="json_schema", include_raw=True).invoke("hi")
    assert isinstance(result, dict)
    assert result["raw"].content == '{"x": 1, '
    assert result["parsed"] is None
    assert isinstance(result["parsing_error"], LangChainException)
    with pytest.raises(InvalidInput, match="method is 'xml'"):
        model.with_structured_output(Point, method="xml")  # type: ignore[arg-type]


FORMS: dict[Method, list[str]] = {
    "function_calling": call("Point", {"x": 1, "y": 2}),
    "json_schema": ['{"x": 1, "y"', ": 2", "0", "}"],
    "json_mode": ['{"x": 1, "y"', ": 2", "0", "}"],
}


@pytest.mark.parametrize("method", FORMS)
async def test_a_form_that_was_cut_is_refused(method: Method) -> None:
    model, _ = _model(FORMS[method], max_tokens=3)
    short = "max_tokens is 3; expected enough for the whole Point"
    chain = model.with_structured_output(Point, method=method)
    for ask in (chain.invoke, lambda text: list(chain.stream(text))):
        with pytest.raises(InvalidInput, match=short):
            ask("hi")
    with pytest.raises(InvalidInput, match=short):
        await chain.ainvoke("hi")
    with pytest.raises(InvalidInput, match=short):
        [part async for part in chain.astream("hi")]
    kept = model.with_structured_output(Point, method=method, include_raw=True)
    for answer in (kept.invoke("hi"), *kept.stream("hi"), await kept.ainvoke("hi")):
        assert isinstance(answer, dict)
        assert answer["parsed"] is None
        assert str(answer["parsing_error"]) == short


@pytest.mark.parametrize("method", FORMS)
def test_a_form_that_came_whole_is_taken_wherever_the_answer_was_cut(method: Method) -> None:
    script, found = FORMS[method], []
    for length in range(1, len(script) + 1):
        model, _ = _model([*script, "\n"], max_tokens=length)
        answer = model.with_structured_output(Point, method=method, include_raw=True).invoke("hi")
        assert isinstance(answer, dict)
        found.append(answer["parsed"])
        assert (answer["parsed"] is None) == (answer["parsing_error"] is not None)
    assert isinstance(found[-1], Point)
    assert found.count(None) + found.count(found[-1]) == len(found)


class Tree(BaseModel):
    """A tree."""

    size: int
    branches: list[Tree]


class Ping(BaseModel):
    pong: Pong | None = None


class Pong(BaseModel):
    ping: Ping


@tool
def plant(tree: Tree) -> str:
    """Plant a tree."""
    return str(tree)


def felled(tree: Tree, deep: bool) -> str:
    """Fell a tree.

    Args:
        tree: which
        deep: with its roots
    """
    return f"{tree} {deep}"


TREE = Tree.model_json_schema()


BRANCH = {"size": 1, "branches": [{"size": 2, "branches": [{"size": 3, "branches": []}]}]}
WRONG = {"size": 1, "branches": [{"size": 2, "branches": [3]}]}


@pytest.mark.parametrize(
    ("offered", "good", "bad"),
    [
        (Tree, BRANCH, WRONG),
        (Tree.model_json_schema(), BRANCH, WRONG),
        (Ping, {"pong": {"ping": {"pong": None}}}, {"pong": {"ping": {"pong": {"ping": 3}}}}),
        (plant, {"tree": BRANCH}, {"tree": WRONG}),
        (felled, {"tree": BRANCH, "deep": True}, {"tree": WRONG, "deep": True}),
    ],
    ids=["class", "schema", "pair", "tool", "function"],
)
def test_what_refers_to_itself_keeps_its_references(offered: Any, good: dict[str, Any], bad: dict[str, Any]) -> None:
    model, engine = _model([json.dumps(good)])
    model.bind_tools([offered]).invoke("hi")
    schemas = [engine.requests[-1].tools[0]["function"]["parameters"]]
    if offered not in (plant, felled):
        model.with_structured_output(offered, method="json_schema").invoke("hi")
        grammar = engine.requests[-1].sampling.grammar
        assert grammar is not None
        schemas.append(json.loads(grammar.text))
    for schema in schemas:
        assert Draft202012Validator(schema).is_valid(good)
        assert not Draft202012Validator(schema).is_valid(bad)


def test_what_does_not_refer_to_itself_is_as_langchain_writes_it() -> None:
    class Forest(BaseModel):
        """Trees."""

        first: Point
        second: Point

    model, engine = _model()
    model.bind_tools([Forest, add]).invoke("hi")
    assert list(engine.requests[-1].tools) == [convert_to_openai_tool(each) for each in (Forest, add)]


# ---- everything around


class _Heard(BaseCallbackHandler):
    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.ends = 0

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.tokens.append(token)

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.ends += 1


def test_callbacks_hear_tokens() -> None:
    model, _ = _model()
    heard = _Heard()
    list(model.stream("hi", config={"callbacks": [heard]}))
    assert "".join(heard.tokens) == TEXT
    streaming, _ = _model(streaming=True)
    streaming.invoke("hi", config={"callbacks": [heard]})
    assert "".join(heard.tokens) == TEXT * 2
    assert heard.ends == 2


def test_cached_answers_are_of_the_same_request_only() -> None:
    model, engine = _model(cache=InMemoryCache(), temperature=0)
    for _ in range(2):
        model.invoke("hi")
    model.invoke("hi", temperature=0.5)
    model.invoke("hi", stop=["x"])
    other = ChatSpecDec(
        engine=ScriptedEngine(info=replace(SCRIPTED_INFO, target="other")), cache=model.cache, temperature=0
    )
    assert other.invoke("hi").response_metadata["model_name"] == "other"
    assert len(engine.requests) == 3


def test_the_rate_limiter_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = InMemoryRateLimiter(requests_per_second=1e6)
    asked: list[bool] = []

    def acquire(*, blocking: bool = True) -> bool:
        asked.append(blocking)
        return True

    monkeypatch.setattr(limiter, "acquire", acquire)
    model, _ = _model(rate_limiter=limiter)
    model.invoke("hi")
    list(model.stream("hi"))
    assert len(asked) == 2


def test_pickling() -> None:
    model = ChatSpecDec(model="./target", temperature=0.5)
    assert pickle.loads(pickle.dumps(model)) == model
    with pytest.raises(TypeError, match="was given an engine, which stays in its process"):
        pickle.dumps(_model()[0])


def test_profile_and_counting() -> None:
    model, engine = _model()
    assert model.profile is not None
    assert (model.profile["max_input_tokens"], model.profile["tool_calling"]) == (256, True)
    assert model.get_num_tokens("x") == len(engine.tokenize("x"))
    assert model.get_num_tokens_from_messages([HumanMessage("abc")]) == 3
    assert model.get_token_ids("") == []


def test_tracing_parameters() -> None:
    model, _ = _model(temperature=0.5, max_tokens=9, stop=["x"])
    assert model._get_ls_params() == {
        "ls_provider": "specdec",
        "ls_model_type": "chat",
        "ls_model_name": "bundled",
        "ls_temperature": 0.5,
        "ls_max_tokens": 9,
        "ls_stop": ["x"],
    }


def test_importing_stays_light() -> None:
    code = "import langchain_specdec, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "tokenizers", "numpy.core"} & set(done.stdout.split())


def test_json_figures_can_be_written() -> None:
    model, _ = _model()
    assert json.loads(json.dumps(model.invoke("hi").response_metadata))["speculative"]["draft"] == "scripted-draft"
