"""The chunks of a streamed answer, and the figures that some servers add. Unknown fields are passed over."""

from __future__ import annotations

import builtins
from typing import Any

from pydantic import BaseModel, Field

from specdec.types import DrafterStats


class StreamedFunction(BaseModel):
    name: str | None = None
    arguments: str | None = None


class StreamedCall(BaseModel):
    index: int = 0
    id: str | None = None
    function: StreamedFunction = Field(default_factory=StreamedFunction)


class StreamedDelta(BaseModel):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[StreamedCall] | None = None


class StreamedToken(BaseModel):
    """One token of a chat's logprobs."""

    token: str
    id: int | None = None
    logprob: float | None = None
    bytes: list[int] | None = None
    top_logprobs: list[StreamedToken] | None = None

    @property
    def raw(self) -> builtins.bytes:
        return self.token.encode() if self.bytes is None else bytes(self.bytes)


class StreamedLogprobs(BaseModel):
    """A chat has `content`; a raw completion has the parallel lists."""

    content: list[StreamedToken] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None

    def entries(self) -> list[StreamedToken]:
        """One for each token, in the chat's form."""
        if self.content is not None:
            return self.content
        tokens = self.tokens or []
        logprobs, top = self.token_logprobs or [None] * len(tokens), self.top_logprobs or [None] * len(tokens)
        return [
            StreamedToken(
                token=token,
                logprob=logprob,
                top_logprobs=[StreamedToken(token=other, logprob=p) for other, p in (others or {}).items()],
            )
            for token, logprob, others in zip(tokens, logprobs, top, strict=False)
        ]


class StreamedChoice(BaseModel):
    delta: StreamedDelta | None = None
    text: str | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    token_ids: list[int] | None = None
    logprobs: StreamedLogprobs | None = None


class StreamedPromptDetails(BaseModel):
    cached_tokens: int | None = None


class StreamedCompletionDetails(BaseModel):
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None
    reasoning_tokens: int | None = None


class StreamedUsage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: StreamedPromptDetails | None = None
    completion_tokens_details: StreamedCompletionDetails | None = None


class StreamedSpeculation(BaseModel):
    """vLLM's summary of one answer: `acceptance_histogram[j]` rounds accepted exactly j drafts. Our own server adds
    what each drafter did, and why speculation was off."""

    num_spec_steps: int | None
    num_draft_tokens: int
    num_accepted_draft_tokens: int
    acceptance_histogram: list[int]
    drafters: tuple[DrafterStats, ...] | None = None
    off_reason: str | None = None


class StreamedMetrics(BaseModel):
    queue_time_ms: float | None = None
    speculative_decoding: StreamedSpeculation | None = None


class StreamedTimings(BaseModel):
    """llama.cpp's."""

    predicted_n: int | None = None
    draft_n: int | None = None
    draft_n_accepted: int | None = None


class Chunk(BaseModel):
    choices: list[StreamedChoice] = Field(default_factory=list)
    usage: StreamedUsage | None = None
    metrics: StreamedMetrics | None = None
    timings: StreamedTimings | None = None
    error: Any = None
