"""Tools: offered, called, read back, and half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from llama_index.core.base.llms.types import ThinkingBlock
from llama_index.core.llms import ChatMessage, ChatResponse
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.program import FunctionCallingProgram
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from llama_index.llms.specdec import SpecDec
from tests.fakes import ScriptedEngine, call
from tests.llama_index_specdec.scripts import SeveralScripts

OSLO = {"city": "Oslo"}


def get_weather(city: str) -> str:
    """Get the weather for a city"""
    return json.dumps({"city": city, "temperature": 4, "condition": "rainy"})


def get_time(city: str) -> str:
    """Get the current time in a city"""
    return json.dumps({"city": city, "time": "14:30"})


WEATHER, TIME = FunctionTool.from_defaults(get_weather), FunctionTool.from_defaults(get_time)


def scripted_llm(*scripts: list[str]) -> SpecDec:
    return SpecDec(engine=SeveralScripts(*scripts))


def picked(llm: SpecDec, response: ChatResponse) -> list[tuple[str, dict[str, Any]]]:
    return [(c.tool_name, c.tool_kwargs) for c in llm.get_tool_calls_from_response(response)]


async def test_the_bundled_pair_calls(bundled: SpecDec) -> None:
    ask: dict[str, Any] = {"tools": [WEATHER, TIME], "user_msg": "What is the weather in Oslo?"}
    *_, streamed = bundled.stream_chat_with_tools(**ask)
    *_, astreamed = [r async for r in await bundled.astream_chat_with_tools(**ask)]
    whole, awhole = bundled.chat_with_tools(**ask), await bundled.achat_with_tools(**ask)
    for response in (whole, awhole, streamed, astreamed):
        assert picked(bundled, response) == [("get_weather", OSLO)]
        assert response.raw is not None
        assert response.raw["finish_reason"] == "tool_calls"
        assert not response.message.content


def test_the_bundled_pair_calls_twice_at_once(bundled: SpecDec) -> None:
    response = bundled.chat_with_tools(
        [WEATHER, TIME],
        "What is the weather in Oslo, and what time is it in Lima?",
        allow_parallel_tool_calls=True,
    )
    assert picked(bundled, response) == [("get_weather", OSLO), ("get_time", {"city": "Lima"})]
    ids = [c.tool_id for c in bundled.get_tool_calls_from_response(response)]
    assert len(set(ids)) == 2


@pytest.mark.parametrize(
    "choice", ["get_time", {"type": "function", "function": {"name": "get_time"}}], ids=["name", "openai"]
)
def test_a_named_tool_is_called(bundled: SpecDec, choice: Any) -> None:
    response = bundled.chat_with_tools([WEATHER, TIME], "What is the weather in Oslo?", tool_choice=choice)
    assert [name for name, _ in picked(bundled, response)] == ["get_time"]


def test_a_required_tool_is_called(bundled: SpecDec) -> None:
    response = bundled.chat_with_tools([WEATHER], "Hello! Who are you?", tool_required=True)
    assert [name for name, _ in picked(bundled, response)] == ["get_weather"]


def test_tools_can_be_kept_from_it(bundled: SpecDec) -> None:
    response = bundled.chat_with_tools([WEATHER], "What is the weather in Oslo?", tool_choice="none")
    assert bundled.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
    assert response.message.content
    with pytest.raises(ValueError, match="expected at least one tool call"):
        bundled.get_tool_calls_from_response(response)


async def test_predict_and_call(bundled: SpecDec) -> None:
    answer = bundled.predict_and_call([WEATHER, TIME], "What time is it in Lima?")
    again = await bundled.apredict_and_call([WEATHER, TIME], "What time is it in Lima?")
    assert answer.response == again.response == get_time("Lima")


def test_what_the_engine_is_asked(scripted: ScriptedEngine) -> None:
    llm = SpecDec(engine=scripted)
    llm.chat_with_tools([WEATHER], "Weather?", [ChatMessage("Hi", role="user")], allow_parallel_tool_calls=True)
    request = scripted.requests[-1]
    assert [tool["function"]["name"] for tool in request.tools] == ["get_weather"]
    assert request.tools[0]["function"]["parameters"]["required"] == ["city"]
    assert (request.tool_choice, request.parallel_tool_calls, len(request.prompt)) == ("auto", True, 2)


def test_half_a_call_never_hurts() -> None:
    """What agents do: they look for calls in every chunk."""
    kwargs = {"city": 'Os"lo\\ {[', "days": [1, {"a": None}], "note": "ü\n"}
    llm = scripted_llm(call("get_weather", kwargs))
    seen: list[ToolSelection] = []
    for response in llm.stream_chat_with_tools([WEATHER], "Weather?"):
        seen += llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
        response.model_dump_json()
    assert seen[-1].tool_kwargs == kwargs
    assert {selection.tool_name for selection in seen} == {"get_weather"}
    assert any(set(selection.tool_kwargs) < set(kwargs) for selection in seen)


async def test_a_call_that_was_cut_is_not_made() -> None:
    llm = scripted_llm(*[call("get_weather", OSLO)] * 4)
    ask: dict[str, Any] = {"tools": [WEATHER], "user_msg": "Weather?", "max_tokens": 10}
    *_, streamed = llm.stream_chat_with_tools(**ask)
    *_, astreamed = [r async for r in await llm.astream_chat_with_tools(**ask)]
    for response in (llm.chat_with_tools(**ask), await llm.achat_with_tools(**ask), streamed, astreamed):
        assert response.raw is not None
        assert response.raw["finish_reason"] == "length"
        assert llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []


class Tree(BaseModel):
    """A tree"""

    size: int
    branches: list[Tree]


class Planting(BaseModel):
    tree: Tree


def plant(**fields: Any) -> str:
    """Plant a tree"""
    return str(fields)


@pytest.mark.parametrize(
    ("arguments", "wrapped"),
    [(Planting, lambda tree: {"tree": tree}), (Tree, lambda tree: tree)],
    ids=["argument", "arguments"],
)
def test_what_refers_to_itself_keeps_its_references(
    scripted: ScriptedEngine, arguments: type[BaseModel], wrapped: Callable[[Any], Any]
) -> None:
    tool = FunctionTool.from_defaults(plant, fn_schema=arguments)
    SpecDec(engine=scripted).chat_with_tools([tool], "Plant!")
    schema = scripted.requests[-1].tools[0]["function"]["parameters"]
    tree = {"size": 1, "branches": [{"size": 2, "branches": []}]}
    assert set(schema["properties"]) == set(wrapped(tree))
    assert Draft202012Validator(schema).is_valid(wrapped(tree))
    assert not Draft202012Validator(schema).is_valid(wrapped({"size": 1, "branches": [tree, 3]}))


def test_words_before_a_call_are_content() -> None:
    llm = scripted_llm(["Let me", " look.", *call("get_weather", OSLO)])
    response = llm.chat_with_tools([WEATHER], "Weather?")
    assert (response.message.content or "").strip() == "Let me look."
    assert picked(llm, response) == [("get_weather", OSLO)]


def test_thoughts_are_a_block_of_their_own() -> None:
    script = ["<think>", "Oslo", " is north.", "</think>", "It", " rains."]
    whole = scripted_llm(script).chat([ChatMessage("Weather?")]).message
    *_, last = responses = list(scripted_llm(script).stream_chat([ChatMessage("Weather?")]))
    for message in (whole, last.message):
        assert isinstance(message.blocks[0], ThinkingBlock)
        assert (message.blocks[0].content or "").strip() == "Oslo is north."
        assert (message.content or "").strip() == "It rains."
    thought = "".join(r.additional_kwargs.get("thinking_delta", "") for r in responses)
    assert thought.strip() == "Oslo is north."


class Weather(BaseModel):
    """The weather in a city"""

    city: str


def test_function_calling_programs_run() -> None:
    llm = scripted_llm(call("Weather", OSLO), call("Weather", OSLO))
    program = FunctionCallingProgram.from_defaults(Weather, "Weather in {place}?", llm=llm)
    assert program(place="Oslo") == Weather(city="Oslo")
    assert list(program.stream_call(place="Oslo"))[-1] == Weather(city="Oslo")


def nameless() -> FunctionTool:
    tool = FunctionTool.from_defaults(get_weather)
    tool.metadata.name = None
    return tool


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        (lambda: [nameless()], "name is None"),
        (lambda: [WEATHER, WEATHER], "tools is 'get_weather'; expected tools of different names"),
        (lambda: [get_weather], "LlamaIndex tools"),
        (lambda: [{"name": "get_weather"}], "OpenAI's form"),
    ],
    ids=["nameless", "twice", "no tool", "no function"],
)
async def test_wrong_tools_are_refused(llm: SpecDec, tools: Callable[[], list[FunctionTool]], message: str) -> None:
    for ask in (llm.chat_with_tools, llm.stream_chat_with_tools):
        with pytest.raises(ValueError, match=message):
            ask(tools(), "Weather?")
    for aask in (llm.achat_with_tools, llm.astream_chat_with_tools):
        with pytest.raises(ValueError, match=message):
            await aask(tools(), "Weather?")
    assert llm.chat([ChatMessage("Still there?")]).message.content


@pytest.mark.parametrize("choice", ["get_time", {"function": {}}, {}])
def test_a_choice_that_is_not_there_is_refused(llm: SpecDec, choice: Any) -> None:
    with pytest.raises(ValueError, match="tool_choice is"):
        llm.chat_with_tools([WEATHER], "Weather?", tool_choice=choice)
