"""The framework's agents over the class: streamed and not, on the bundled pair where the model has to choose."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.agent.workflow import (
    AgentOutput,
    AgentStream,
    AgentWorkflow,
    FunctionAgent,
    ReActAgent,
    ToolCallResult,
)
from llama_index.core.memory import ChatMemoryBuffer
from pydantic import BaseModel
from workflows.errors import WorkflowCancelledByUser

from llama_index.llms.specdec import SpecDec
from tests.engine_contract import eventually
from tests.fakes import ScriptedEngine, call
from tests.llama_index_specdec.scripts import SeveralScripts

# The framework looks at every attribute of an agent, pydantic's deprecated ones included, and warns of its own use.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step"),
]

streamed = pytest.mark.parametrize("streaming", [True, False], ids=["streamed", "whole"])


def get_weather(city: str) -> str:
    """Get the weather for a city"""
    return json.dumps({"city": city, "temperature": 4, "condition": "rainy"})


def get_time(city: str) -> str:
    """Get the current time in a city"""
    return json.dumps({"city": city, "time": "14:30"})


async def run(agent: FunctionAgent | ReActAgent | AgentWorkflow, question: str) -> tuple[AgentOutput, list[object]]:
    """The agent's answer and what it said on the way."""
    handler = agent.run(question)
    events: list[object] = [event async for event in handler.stream_events()]
    return await handler, events


def results(events: list[object]) -> list[tuple[str, dict[str, object]]]:
    return [(e.tool_name, e.tool_kwargs) for e in events if isinstance(e, ToolCallResult)]


@streamed
async def test_a_function_agent_answers_with_what_its_tool_says(bundled: SpecDec, streaming: bool) -> None:
    agent = FunctionAgent(tools=[get_weather, get_time], llm=bundled, streaming=streaming)
    output, events = await run(agent, "What is the weather in Oslo?")
    assert results(events) == [("get_weather", {"city": "Oslo"})]
    assert "4 degrees" in str(output)
    assert "rainy" in str(output)
    deltas = "".join(e.delta for e in events if isinstance(e, AgentStream))
    assert deltas.strip() == (str(output) if streaming else "")


@streamed
async def test_a_function_agent_calls_two_tools_at_once(bundled: SpecDec, streaming: bool) -> None:
    agent = FunctionAgent(tools=[get_weather, get_time], llm=bundled, streaming=streaming)
    _, events = await run(agent, "What is the weather in Oslo, and what time is it in Lima?")
    assert sorted(results(events)) == [("get_time", {"city": "Lima"}), ("get_weather", {"city": "Oslo"})]


@streamed
async def test_a_function_agent_may_just_answer(bundled: SpecDec, streaming: bool) -> None:
    agent = FunctionAgent(tools=[get_weather], llm=bundled, streaming=streaming)
    output, events = await run(agent, "Hello! Who are you?")
    assert results(events) == []
    assert "SpecDec" in str(output)


@streamed
async def test_an_agent_runs_no_call_that_was_cut(streaming: bool) -> None:
    script = call("get_weather", {"city": "New York"})
    for length in range(1, len(script) - 3):  # the last few tokens end the call, and leave its arguments whole
        llm = SpecDec(engine=ScriptedEngine(script), max_tokens=length)
        _, events = await run(FunctionAgent(tools=[get_weather], llm=llm, streaming=streaming), "Weather?")
        assert results(events) == []


async def test_an_agent_remembers(bundled: SpecDec) -> None:
    agent = FunctionAgent(tools=[get_weather, get_time], llm=bundled)
    memory = ChatMemoryBuffer.from_defaults(llm=bundled)
    await agent.run("What is the weather in Oslo?", memory=memory)
    output = await agent.run("What time is it in Lima?", memory=memory)
    assert "14:30" in str(output)
    roles = [message.role.value for message in memory.get_all()]
    assert roles == ["user", "assistant", "tool", "assistant"] * 2


async def test_a_first_tool_can_be_forced(bundled: SpecDec) -> None:
    agent = FunctionAgent(tools=[get_weather, get_time], llm=bundled, initial_tool_choice="get_time")
    _, events = await run(agent, "What is the weather in Oslo?")
    assert results(events)[0] == ("get_time", {"city": "Oslo"})


class Report(BaseModel):
    city: str
    temperature: int


@streamed
async def test_agents_answer_in_a_form(streaming: bool) -> None:
    report = Report(city="Oslo", temperature=4)
    engine = SeveralScripts(call("get_weather", {"city": "Oslo"}), "It is 4 degrees.", report.model_dump_json())
    agent = FunctionAgent(tools=[get_weather], llm=SpecDec(engine=engine), output_cls=Report, streaming=streaming)
    output, _ = await run(agent, "What is the weather in Oslo?")
    assert output.get_pydantic_model(Report) == report


STEPS = (
    ["Thought: I need a tool", " to help.\nAction: get_weather\n", 'Action Input: {"city": "Oslo"}\n'],
    ["Thought: I can answer", " without using any more tools.\n", "Answer: It rains in Oslo."],
)


@streamed
async def test_a_react_agent_thinks_acts_and_answers(streaming: bool) -> None:
    engine = SeveralScripts(*STEPS)
    agent = ReActAgent(tools=[get_weather], llm=SpecDec(engine=engine), streaming=streaming)
    output, events = await run(agent, "What is the weather in Oslo?")
    assert results(events) == [("get_weather", {"city": "Oslo"})]
    assert str(output) == "It rains in Oslo."
    assert not engine.requests[0].tools  # its tools are in the prompt
    assert "rainy" in (engine.requests[1].prompt[-1].content or "")  # type: ignore[union-attr]


@streamed
async def test_a_workflow_hands_over(streaming: bool) -> None:
    engine = SeveralScripts(
        call("handoff", {"to_agent": "clock", "reason": "a question of time"}),
        call("get_time", {"city": "Lima"}),
        "It is 14:30 in Lima.",
    )
    both: dict[str, Any] = {"llm": SpecDec(engine=engine), "streaming": streaming}
    front = FunctionAgent(name="front", description="Takes questions", tools=[get_weather], **both)
    clock = FunctionAgent(name="clock", description="Knows the time", tools=[get_time], **both)
    workflow = AgentWorkflow(agents=[front, clock], root_agent="front")
    output, events = await run(workflow, "What time is it in Lima?")
    assert [name for name, _ in results(events)] == ["handoff", "get_time"]
    assert (str(output), output.current_agent_name) == ("It is 14:30 in Lima.", "clock")


async def test_a_workflow_of_one_on_the_bundled_pair(bundled: SpecDec) -> None:
    workflow = AgentWorkflow.from_tools_or_functions([get_weather, get_time], llm=bundled)
    output, events = await run(workflow, "What time is it in Lima?")
    assert results(events) == [("get_time", {"city": "Lima"})]
    assert "14:30" in str(output)


@pytest.mark.parametrize("make", [FunctionAgent, ReActAgent], ids=lambda make: make.__name__)
async def test_cancelling_an_agent_frees_its_slot(make: Callable[..., FunctionAgent | ReActAgent]) -> None:
    engine = ScriptedEngine(hold=1)
    handler = make(tools=[get_weather], llm=SpecDec(engine=engine)).run("Hello")
    await asyncio.to_thread(eventually, lambda: engine.stats().active == 1)
    await handler.cancel_run()
    with pytest.raises(WorkflowCancelledByUser):
        await handler
    await asyncio.to_thread(eventually, lambda: engine.stats().active == 0)
    assert engine.stats().cancelled == 1
    engine.go_on()  # so that the fake's own thread need not wait for its time to run out
