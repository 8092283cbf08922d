"""What users of LlamaIndex's `OpenAILike` do: chat, stream, complete, tools; sync and async."""

from __future__ import annotations

import asyncio
import sys

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

STORY = [ChatMessage(role="user", content="Tell me a story about a fox.")]


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}."


def sync_forms(llm: OpenAILike) -> None:
    whole = llm.chat(STORY)
    assert whole.message.content and whole.raw.usage.completion_tokens
    *_, last = llm.stream_chat(STORY)
    assert last.message.content == whole.message.content
    assert "".join(part.delta or "" for part in llm.stream_chat(STORY)) == whole.message.content
    assert llm.complete("Once upon a time").text
    *_, last = llm.stream_complete("Once upon a time")
    assert last.text


async def async_forms(llm: OpenAILike) -> None:
    whole = await llm.achat(STORY)
    parts = [part.delta or "" async for part in await llm.astream_chat(STORY)]
    assert "".join(parts) == whole.message.content
    assert (await llm.acomplete("Once upon a time")).text


def tools(llm: OpenAILike) -> None:
    tool = FunctionTool.from_defaults(get_weather)
    asked = {"user_msg": "What is the weather in Paris?", "tool_required": True}
    (call,) = llm.get_tool_calls_from_response(llm.chat_with_tools([tool], **asked))
    assert call.tool_name == "get_weather" and "city" in call.tool_kwargs
    *_, last = llm.stream_chat_with_tools([tool], **asked)
    (streamed,) = llm.get_tool_calls_from_response(last)
    assert streamed.tool_kwargs == call.tool_kwargs, "of each chunk it reads the first call alone"
    assert "Sunny" in str(llm.predict_and_call([tool], asked["user_msg"]))


if __name__ == "__main__":
    llm = OpenAILike(
        model="bundled",
        api_base=sys.argv[1],
        api_key="none",
        is_chat_model=True,
        is_function_calling_model=True,
        temperature=0,
        max_tokens=40,
        context_window=1024,
    )
    sync_forms(llm)
    asyncio.run(async_forms(llm))
    tools(llm)
