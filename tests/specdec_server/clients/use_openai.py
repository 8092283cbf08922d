"""What users of the `openai` package do: chats, streams, tools, structured answers, responses."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress

from openai import AsyncOpenAI, BadRequestError, NotFoundError, OpenAI
from pydantic import BaseModel

URL = sys.argv[1]
MODEL = "bundled"
STORY = [{"role": "user", "content": "Tell me a story about a fox."}]
WEATHER = [{"role": "user", "content": "What is the weather in Paris?"}]
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}


class City(BaseModel):
    name: str
    rivers: int


def chats(client: OpenAI) -> None:
    assert [m.id for m in client.models.list()] == [MODEL]
    asked = {"model": MODEL, "messages": STORY, "max_tokens": 40, "seed": 1, "temperature": 0.8}
    whole = client.chat.completions.create(**asked)
    text = whole.choices[0].message.content
    assert text and whole.usage.completion_tokens <= 40
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options=options))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == text
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].model_extra["metrics"]["speculative_decoding"]["num_spec_steps"] > 0
    many = client.chat.completions.create(**asked, n=2, logprobs=True, top_logprobs=2)
    assert len(many.choices) == 2 and len(many.choices[0].logprobs.content[0].top_logprobs) == 2
    plain = client.chat.completions.create(**asked, extra_body={"speculative": "off"})
    assert plain.choices[0].message.content == text, "speculation changes nothing"


def tools(client: OpenAI) -> None:
    asked = {"model": MODEL, "messages": WEATHER, "tools": [TOOL], "tool_choice": "required"}
    choice = client.chat.completions.create(**asked).choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert set(json.loads(call.function.arguments)) == {"city"}
    with client.chat.completions.stream(**asked) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.delta" in kinds
    assert final.choices[0].message.tool_calls[0].function.name == "get_weather"
    asked["tool_choice"] = "none"
    streamed = final.choices[0].message
    for message in (choice.message, streamed):
        result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "Sunny, 20 degrees."}
        asked["messages"] = [*WEATHER, message, result]
        assert client.chat.completions.create(**asked).choices[0].message.content
        asked["messages"] = [*WEATHER, message.model_dump(), result]
        assert client.chat.completions.create(**asked).choices[0].message.content


def structured(client: OpenAI) -> None:
    asked = [{"role": "user", "content": "Name a city and count its rivers."}]
    parsed = client.chat.completions.parse(model=MODEL, messages=asked, response_format=City, seed=1)
    message = parsed.choices[0].message
    assert isinstance(message.parsed, City)
    again = [*asked, message, {"role": "user", "content": "Another one."}]
    assert client.chat.completions.create(model=MODEL, messages=again, max_tokens=4).choices
    answer = client.responses.parse(model=MODEL, input="Name a city and count its rivers.", text_format=City)
    assert isinstance(answer.output_parsed, City)
    again = [
        *asked,
        *(item.model_dump() for item in answer.output),
        {"role": "user", "content": "Another one."},
    ]
    assert client.responses.create(model=MODEL, input=again, max_output_tokens=4).output


def responses(client: OpenAI) -> None:
    asked = {"model": MODEL, "input": "What is the capital of France?", "temperature": 0}
    cut = client.responses.create(**asked, max_output_tokens=2)
    assert cut.status == "incomplete" and cut.incomplete_details.reason == "max_output_tokens"
    whole = client.responses.create(**asked)
    assert whole.output_text and whole.status == "completed"
    with client.responses.stream(**asked) as stream:
        text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == text == whole.output_text
    with client.responses.stream(**asked, max_output_tokens=2) as stream:
        *_, last = stream
        assert last.type == "response.incomplete" and last.response.output_text == cut.output_text
        # openai 3.57 keeps what `response.completed` brings and nothing else
        with suppress(RuntimeError):
            stream.get_final_response()
            raise AssertionError("the client takes a cut answer for final now: hold it to the same text")
    tool = {"type": "function", "name": "get_weather", "parameters": PARAMETERS, "strict": True}
    asked = {"model": MODEL, "input": WEATHER, "tools": [tool], "tool_choice": "required"}
    output = client.responses.create(**asked).output
    call = next(item for item in output if item.type == "function_call")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."}
    answer = client.responses.create(model=MODEL, input=[*WEATHER, *output, result], tools=[tool], tool_choice="none")
    assert answer.output_text


def completions(client: OpenAI) -> None:
    asked = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 20, "temperature": 0}
    whole = client.completions.create(**asked).choices[0].text
    assert "".join(c.choices[0].text for c in client.completions.create(**asked, stream=True)) == whole


def errors(client: OpenAI) -> None:
    for wrong, kind in (({"model": "gpt-9"}, NotFoundError), ({"temperature": -1}, BadRequestError)):
        with suppress(kind):
            client.chat.completions.create(**({"model": MODEL, "messages": STORY} | wrong))
            raise AssertionError(wrong)


async def leaving() -> None:
    async with AsyncOpenAI(base_url=URL, api_key="none") as client:
        stream = await client.chat.completions.create(model=MODEL, messages=STORY, stream=True, max_tokens=400)
        async for _ in stream:
            break
        await stream.close()
        several = [client.chat.completions.create(model=MODEL, messages=STORY, max_tokens=10) for _ in range(8)]
        assert all(answer.choices[0].message.content for answer in await asyncio.gather(*several))


if __name__ == "__main__":
    with OpenAI(base_url=URL, api_key="none") as client:
        for part in (chats, tools, structured, responses, completions, errors):
            part(client)
    asyncio.run(leaving())
