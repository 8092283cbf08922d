"""What users of the `anthropic` package do: messages, streams, tools, structured answers, counting."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

from anthropic import Anthropic, AsyncAnthropic, BadRequestError, NotFoundError
from pydantic import BaseModel

URL = sys.argv[1]
MODEL = "bundled"
STORY = [{"role": "user", "content": "Tell me a story about a fox."}]
WEATHER = [{"role": "user", "content": "What is the weather in Paris?"}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
GREEDY = {"temperature": 0}
"""The package's present form has no such argument."""
TOOL = {"name": "get_weather", "description": "The weather in a city.", "input_schema": SCHEMA}


class City(BaseModel):
    name: str
    rivers: int


def messages(client: Anthropic) -> None:
    asked = {"model": MODEL, "messages": STORY, "max_tokens": 40, "extra_body": GREEDY}
    whole = client.messages.create(**asked, system="Be brief.")
    assert whole.content[0].text and whole.usage.output_tokens <= 40
    with client.messages.stream(**asked, system="Be brief.") as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == whole.content[0].text
    usage = final.usage
    assert usage.input_tokens + usage.cache_read_input_tokens > 0
    assert usage.output_tokens == whole.usage.output_tokens and final.stop_reason == whole.stop_reason
    events = list(client.messages.create(**asked, stream=True))
    assert (events[0].type, events[-1].type) == ("message_start", "message_stop")
    word = whole.content[0].text.split()[3]
    cut = client.messages.create(**asked, stop_sequences=[word], system="Be brief.")
    assert (cut.stop_reason, cut.stop_sequence) == ("stop_sequence", word)


def tools(client: Anthropic) -> None:
    asked = {"model": MODEL, "messages": WEATHER, "tools": [TOOL], "tool_choice": {"type": "any"}, "max_tokens": 200}
    asked["extra_body"] = GREEDY
    answer = client.messages.create(**asked)
    assert answer.stop_reason == "tool_use"
    use = next(block for block in answer.content if block.type == "tool_use")
    assert use.name == "get_weather" and set(use.input) == {"city"}
    with client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    assert next(block.input for block in streamed.content if block.type == "tool_use") == use.input
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": [{"type": "text", "text": "Sunny, 20 degrees."}]}
        for block in answer.content
        if block.type == "tool_use"
    ]
    for said in (answer.content, [block.model_dump() for block in answer.content]):
        turns = [*WEATHER, {"role": "assistant", "content": said}, {"role": "user", "content": results}]
        again = client.messages.create(model=MODEL, messages=turns, tools=[TOOL], max_tokens=40)
        assert again.content


def structured(client: Anthropic) -> None:
    asked = [{"role": "user", "content": "Name a city and count its rivers."}]
    answer = client.messages.parse(model=MODEL, messages=asked, max_tokens=200, output_format=City)
    assert isinstance(answer.parsed_output, City)


def beyond(client: Anthropic) -> None:
    """What hosted models take."""
    answer = client.beta.messages.with_raw_response.create(
        model=MODEL,
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]}
        ],
        max_tokens=2048,
        thinking={"type": "enabled", "budget_tokens": 1024},
        tools=[{"type": "web_search_20250305", "name": "web_search"}],
        metadata={"user_id": "ada"},
        betas=["context-management-2025-06-27"],
    )
    assert answer.headers["x-specdec-ignored"] == "tools.web_search_20250305, messages[].content[].cache_control"
    assert answer.parse().content
    counted = client.messages.count_tokens(model=MODEL, messages=STORY, tools=[TOOL], system="Be brief.")
    assert counted.input_tokens > client.messages.count_tokens(model=MODEL, messages=STORY).input_tokens > 0


def errors(client: Anthropic) -> None:
    for wrong, kind in (({"model": "claude"}, NotFoundError), ({"max_tokens": 0}, BadRequestError)):
        with suppress(kind):
            client.messages.create(**({"model": MODEL, "messages": STORY, "max_tokens": 9} | wrong))
            raise AssertionError(wrong)


async def leaving() -> None:
    async with AsyncAnthropic(base_url=URL, api_key="none") as client:
        async with client.messages.stream(model=MODEL, messages=STORY, max_tokens=400) as stream:
            async for _ in stream.text_stream:
                break
        several = [client.messages.create(model=MODEL, messages=STORY, max_tokens=10) for _ in range(8)]
        assert all(answer.content for answer in await asyncio.gather(*several))


if __name__ == "__main__":
    with Anthropic(base_url=URL, api_key="none") as client:
        for part in (messages, tools, structured, beyond, errors):
            part(client)
    asyncio.run(leaving())
