"""An agent with two tools. It streams: what it calls, what comes back, and its answer.

It runs offline on the bundled pair. Another pair, other questions:

    python examples/llama_index_agent.py --target ./my-model --question "What time is it in Lima?"
"""

import argparse
import asyncio
import json

from llama_index.core.agent.workflow import AgentStream, FunctionAgent, ToolCallResult

from llama_index.llms.specdec import SpecDec

QUESTIONS = ["What is the weather in Oslo?", "What time is it in Lima?"]
WEATHER = {"Oslo": (4, "rainy"), "Lima": (24, "sunny")}
CLOCKS = {"Oslo": "15:20", "Lima": "9:20"}


def get_weather(city: str) -> str:
    """Get the weather for a city"""
    temperature, condition = WEATHER.get(city, (15, "cloudy"))
    return json.dumps({"city": city, "temperature": temperature, "condition": condition})


def get_time(city: str) -> str:
    """Get the current time in a city"""
    return json.dumps({"city": city, "time": CLOCKS.get(city, "12:00")})


async def ask(agent: FunctionAgent, question: str) -> None:
    print(f"\n> {question}")
    run = agent.run(question)
    async for event in run.stream_events():
        if isinstance(event, ToolCallResult):
            print(f"  {event.tool_name}({event.tool_kwargs}) -> {event.tool_output.content}")
        elif isinstance(event, AgentStream):
            print(event.delta, end="", flush=True)
    figures = (await run).raw
    print(f"\n  {figures['usage']['completion_tokens']} tokens, finish_reason {figures['finish_reason']}")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="bundled", help="a folder, a hub id or a server's URL")
    parser.add_argument("--draft", default="auto")
    parser.add_argument("--question", action="append")
    args = parser.parse_args()
    llm = SpecDec(args.target, args.draft, temperature=0)
    agent = FunctionAgent(tools=[get_weather, get_time], llm=llm)
    for question in args.question or QUESTIONS:
        await ask(agent, question)


if __name__ == "__main__":
    asyncio.run(main())
