"""The chunks of a streamed answer, and the figures that some servers add. Unknown fields are passed over."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Function(BaseModel):
    name: str | None = None
    arguments: str | None = None


class CallPart(BaseModel):
    index: int = 0
    id: str | None = None
    function: Function = Field(default_factory=Function)


class Delta(BaseModel):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[CallPart] | None = None


class Likely(BaseModel):
    """One token of a chat's logprobs."""

    token: str
    id: int | None = None
    logprob: float | None = None
    bytes: list[int] | None = None
    top_logprobs: list[Likely] | None = None


class Logprobs(BaseModel):
    """A chat has `content`; a raw completion has the parallel lists."""

    content: list[Likely] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None

    def entries(self) -> list[Likely]:
        """One for each token, in the chat's form."""
        if self.content is not None:
            return self.content
        tokens = self.tokens or []
        top = self.top_logprobs or [None] * len(tokens)
        return [
            Likely(
                token=t,
                logprob=p,
                top_logprobs=[Likely(token=o, logprob=q) for o, q in (others or {}).items()],
            )
            for t, p, others in zip(tokens, self.token_logprobs or [None] * len(tokens), top, strict=False)
        ]


class Choice(BaseModel):
    delta: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    token_ids: list[int] | None = None
    logprobs: Logprobs | None = None


class PromptDetails(BaseModel):
    cached_tokens: int | None = None


class CompletionDetails(BaseModel):
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None


class UsageChunk(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int | None = 0
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class Summary(BaseModel):
    """vLLM's summary of one answer: `acceptance_histogram[j]` rounds accepted exactly j drafts."""

    num_spec_steps: int
    num_draft_tokens: int
    num_accepted_draft_tokens: int
    acceptance_histogram: list[int]


class Metrics(BaseModel):
    queue_time_ms: float | None = None
    speculative_decoding: Summary | None = None


class Timings(BaseModel):
    """llama.cpp's."""

    predicted_n: int = 0
    draft_n: int | None = None
    draft_n_accepted: int | None = None


class Chunk(BaseModel):
    choices: list[Choice] = Field(default_factory=list)
    usage: UsageChunk | None = None
    metrics: Metrics | None = None
    timings: Timings | None = None
    error: Any = None
