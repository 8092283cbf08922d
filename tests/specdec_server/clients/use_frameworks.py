"""pydantic-ai, smolagents, Instructor and DSPy against the server at argv[1]: an answer, a form, a tool's schema."""

from __future__ import annotations

import sys

import dspy
import instructor
import openai
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from smolagents import OpenAIModel

BASE = sys.argv[1]
STORY = "Tell me a story about a shy fox."


class Story(BaseModel):
    title: str


def pydantic_ai() -> None:
    provider = OpenAIProvider(base_url=BASE, api_key="none")
    agent = Agent(OpenAIChatModel("bundled", provider=provider), model_settings={"max_tokens": 60})

    @agent.tool_plain
    def weather(city: str) -> str:
        """The weather in a city."""
        return f"It snows in {city}."

    answer = agent.run_sync(STORY)
    assert answer.output, answer
    assert answer.usage.output_tokens > 0


def smolagents() -> None:
    model = OpenAIModel("bundled", api_base=BASE, api_key="none", max_tokens=40)
    said = model.generate([{"role": "user", "content": [{"type": "text", "text": STORY}]}])
    assert said.content, said
    assert "".join(delta.content or "" for delta in model.generate_stream([{"role": "user", "content": STORY}]))


def with_instructor() -> None:
    client = instructor.from_openai(openai.OpenAI(base_url=BASE, api_key="none"), mode=instructor.Mode.JSON_SCHEMA)
    found = client.chat.completions.create(
        model="bundled", response_model=Story, max_tokens=60, messages=[{"role": "user", "content": STORY}]
    )
    assert isinstance(found, Story)


def with_dspy() -> None:
    lm = dspy.LM("openai/bundled", api_base=BASE, api_key="none", max_tokens=40, cache=False)
    assert lm(STORY)[0]


for use in (pydantic_ai, smolagents, with_instructor, with_dspy):
    use()
