"""Usage, timings and speculative figures, in the forms that clients already read.

`usage` is OpenAI's, `timings` llama.cpp's, `metrics.speculative_decoding` vLLM's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter
from typing import Any

from specdec.types import DrafterStats, Ending, SpecStats, Timing, Usage
from specdec.types.speculation import acceptance_length, acceptance_rate
from specdec_server.schemas import ResponseModel


class PromptTokensDetails(ResponseModel):
    cached_tokens: int


class CompletionTokensDetails(ResponseModel):
    reasoning_tokens: int
    accepted_prediction_tokens: int
    rejected_prediction_tokens: int


class CompletionUsage(ResponseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails

    @classmethod
    def of(cls, usage: Usage, stats: SpecStats) -> CompletionUsage:
        prompt = usage.prompt_tokens or 0  # a server that is passed on may not say; clients read a number
        guesses = [d for d in stats.drafters if d.drafter == "prediction"]
        accepted = sum(sum(d.accepted) for d in guesses)
        return cls(
            prompt_tokens=prompt,
            completion_tokens=usage.completion_tokens,
            total_tokens=prompt + usage.completion_tokens,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=usage.cached_tokens),
            completion_tokens_details=CompletionTokensDetails(
                reasoning_tokens=usage.reasoning_tokens,
                accepted_prediction_tokens=accepted,
                rejected_prediction_tokens=sum(sum(d.drafted) for d in guesses) - accepted,
            ),
        )


class CompletionTimings(ResponseModel):
    """`prompt_n` tokens were computed, `cache_n` were not; milliseconds. Decode speed counts from the first token."""

    queued_ms: float
    """Before the prompt was begun; llama.cpp has no such field."""
    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_second: float
    draft_n: int
    draft_n_accepted: int

    @classmethod
    def of(cls, usage: Usage, timing: Timing, *, drafted: int, accepted: int) -> CompletionTimings:
        computed, prefill = (usage.prompt_tokens or 0) - usage.cached_tokens, timing.ttft - timing.queued
        return cls(
            queued_ms=1000 * timing.queued,
            cache_n=usage.cached_tokens,
            prompt_n=computed,
            prompt_ms=1000 * prefill,
            prompt_per_second=computed / prefill if prefill > 0 else 0.0,
            predicted_n=usage.completion_tokens,
            predicted_ms=1000 * (timing.total - timing.ttft),
            predicted_per_second=timing.tokens_per_second(usage.completion_tokens),
            draft_n=drafted,
            draft_n_accepted=accepted,
        )


class DrafterFigures(ResponseModel):
    """Per position: how often drafted, how often accepted, and how often tested: all before it were accepted."""

    drafter: str
    drafted: list[int]
    accepted: list[int]
    tested: list[int]


class SpeculativeFigures(ResponseModel):
    """`acceptance_histogram[j]` rounds accepted exactly j drafted tokens; empty where only sums are known."""

    mean_acceptance_length: float
    draft_acceptance_rate: float
    acceptance_histogram: list[int]
    acceptance_per_position: list[float]
    """Accepted drafts over tested ones: given that all before were accepted."""
    num_spec_steps: int
    num_accepted_draft_tokens: int
    num_draft_tokens: int
    num_spec_tokens: int
    drafters: list[DrafterFigures]
    off_reason: str | None
    """Why the answer ended with speculation off."""

    @classmethod
    def of(cls, stats: SpecStats) -> SpeculativeFigures:
        known = all(d.tested or not d.drafted for d in stats.drafters)
        # of the rounds, those that accepted at least no draft, one, two ...
        reached = [stats.rounds, *sum(stats.drafters, DrafterStats("all")).accepted, 0] if known else []
        exactly = [at_least - more for at_least, more in pairwise(reached) if at_least]
        drafted, accepted = stats.drafted, stats.accepted
        return cls(
            mean_acceptance_length=acceptance_length(stats.rounds, accepted),
            draft_acceptance_rate=acceptance_rate(drafted, accepted),
            acceptance_histogram=exactly,
            acceptance_per_position=list(stats.acceptance_per_position),
            num_spec_steps=stats.rounds,
            num_accepted_draft_tokens=accepted,
            num_draft_tokens=drafted,
            num_spec_tokens=max((sum(n > 0 for n in d.drafted) for d in stats.drafters if d.tested), default=0),
            drafters=[
                DrafterFigures(
                    drafter=d.drafter, drafted=list(d.drafted), accepted=list(d.accepted), tested=list(d.tested)
                )
                for d in stats.drafters
            ],
            off_reason=stats.off_reason,
        )


class CompletionMetrics(ResponseModel):
    speculative_decoding: SpeculativeFigures


class Figures(ResponseModel):
    """What the end of an answer says besides its text."""

    usage: CompletionUsage
    timings: CompletionTimings
    metrics: CompletionMetrics

    @classmethod
    def of(cls, endings: Sequence[Ending], choices: int = 1) -> Figures:
        """The sum of the answers to one request, `choices` to each of its prompts. A prompt counts once for all of its
        answers, as OpenAI counts."""
        prompts = endings[choices - 1 :: choices]
        usage = Usage(
            sum(end.usage.prompt_tokens or 0 for end in prompts),
            sum(end.usage.completion_tokens for end in endings),
            sum(end.usage.cached_tokens for end in prompts),
            sum(end.usage.reasoning_tokens for end in endings),
        )
        stats = SpecStats.of_all(end.stats for end in endings)
        timing = max((end.timing for end in endings), key=attrgetter("total"))
        speculative = SpeculativeFigures.of(stats)
        drafted, accepted = speculative.num_draft_tokens, speculative.num_accepted_draft_tokens
        return cls(
            usage=CompletionUsage.of(usage, stats),
            timings=CompletionTimings.of(usage, timing, drafted=drafted, accepted=accepted),
            metrics=CompletionMetrics(speculative_decoding=speculative),
        )


class CompletionResponse(ResponseModel):
    """An answer of chat completions or completions, or a part of it."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    usage: CompletionUsage | None = None
    timings: CompletionTimings | None = None
    metrics: CompletionMetrics | None = None
    object: str
    choices: list[Any]
