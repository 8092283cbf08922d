"""What users of LangChain's and LiteLLM's classes for Anthropic do; LiteLLM asks as OpenAI's too."""

from __future__ import annotations

import sys
from typing import Any

import litellm
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool

URL = sys.argv[1]
STORY = [{"role": "user", "content": "Tell me a story."}]


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}."


def langchain() -> None:
    model = ChatAnthropic(model="bundled", base_url=URL, api_key="none", max_tokens=60)
    whole = model.invoke("Tell me a story.")
    assert whole.content
    first, *rest = model.stream("Tell me a story.")
    streamed = sum(rest, first)
    assert streamed.text and streamed.response_metadata["stop_reason"]
    assert streamed.usage_metadata["input_tokens"] == whole.usage_metadata["input_tokens"] > 0
    (call,) = model.bind_tools([get_weather], tool_choice="any").invoke("What is the weather in Paris?").tool_calls[:1]
    assert call["name"] == "get_weather" and set(call["args"]) == {"city"}


def litellms(provider: str, base: str, **options: Any) -> None:
    asked = {"model": f"{provider}/bundled", "api_base": base, "api_key": "none", "messages": STORY, "max_tokens": 20}
    whole = litellm.completion(**asked, **options)
    assert whole.choices[0].message.content and 0 < whole.usage.completion_tokens <= 20
    *_, last = litellm.completion(**asked, **options, stream=True, stream_options={"include_usage": True})
    assert last.usage.prompt_tokens == whole.usage.prompt_tokens > 0


if __name__ == "__main__":
    langchain()
    litellms("anthropic", URL)
    litellms("openai", f"{URL}/v1", reasoning_effort="low", allowed_openai_params=["reasoning_effort"])
