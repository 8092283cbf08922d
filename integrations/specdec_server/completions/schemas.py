"""The bodies of /v1/completions: what comes, and what is sent back."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from specdec_server.figures import CompletionResponse
from specdec_server.schemas import ChoicesRequest, Count, ResponseModel

MAX_PROMPTS = 128
DEFAULT_TOKENS = 16
"""OpenAI's own."""

TokenIds = Annotated[list[int], Field(min_length=1)]
Prompts = Annotated[list[str] | list[TokenIds], Field(min_length=1, max_length=MAX_PROMPTS)]


class CompletionRequest(ChoicesRequest):
    """As OpenAI's; several prompts come to one choice after another."""

    form = "completions"
    prompt: str | TokenIds | Prompts
    best_of: Annotated[int, Field(ge=1, le=128)] | None = None
    """Not beyond n: all answers are the target's own, and none is better."""
    max_tokens: Count | None = DEFAULT_TOKENS
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    prediction: str | None = None
    suffix: str | None = None
    """What shall follow the answer; "" is nothing."""
    echo: Literal[False] | None = None


class CompletionLogprobs(ResponseModel):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(ResponseModel):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"] | None
    token_ids: list[int] | None = None


class TextCompletion(CompletionResponse):
    """Whole, or what one round added."""

    object: Literal["text_completion"]
    choices: list[CompletionChoice]
