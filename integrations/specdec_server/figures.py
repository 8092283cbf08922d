"""Usage, timings and speculative figures, in the forms that clients already read.

`usage` is OpenAI's, `timings` llama.cpp's, `metrics.speculative_decoding` vLLM's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from operator import attrgetter
from typing import Any

from specdec.types import DrafterStats, Ending, SpecStats, Timing, Usage
from specdec.types.speculation import acceptance_length, acceptance_rate
from specdec_server.schemas import ResponseModel


class PromptTokensDetails(ResponseModel):
    cached_tokens: int | None


class CompletionTokensDetails(ResponseModel):
    reasoning_tokens: int | None
    accepted_prediction_tokens: int | None
    rejected_prediction_tokens: int | None


class CompletionUsage(ResponseModel):
    """Three of its numbers are needed by every client, and are 0 where a server that is passed on does not say."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails

    @classmethod
    def of(cls, usage: Usage, stats: SpecStats, *, known: bool) -> CompletionUsage:
        prompt, written = usage.prompt_tokens or 0, usage.completion_tokens or 0
        guesses = [d for d in stats.drafters if d.drafter == "prediction"]
        accepted = sum(sum(d.accepted) for d in guesses)
        return cls(
            prompt_tokens=prompt,
            completion_tokens=written,
            total_tokens=prompt + written,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=usage.cached_tokens),
            completion_tokens_details=CompletionTokensDetails(
                reasoning_tokens=usage.reasoning_tokens,
                accepted_prediction_tokens=accepted if known else None,
                rejected_prediction_tokens=sum(sum(d.drafted) for d in guesses) - accepted if known else None,
            ),
        )


class CompletionTimings(ResponseModel):
    """`prompt_n` tokens were computed, `cache_n` were not; milliseconds. Decode speed counts from the first token. Null
    is what a server that is passed on does not say."""

    queued_ms: float | None
    """Before the prompt was begun; llama.cpp has no such field."""
    cache_n: int | None
    prompt_n: int | None
    prompt_ms: float
    prompt_per_second: float | None
    predicted_n: int | None
    predicted_ms: float
    predicted_per_second: float | None
    draft_n: int | None
    draft_n_accepted: int | None

    @classmethod
    def of(cls, usage: Usage, timing: Timing, speculative: SpeculativeFigures | None) -> CompletionTimings:
        prompt, cached, queued = usage.prompt_tokens, usage.cached_tokens, timing.queued
        computed = None if prompt is None or cached is None else prompt - cached
        prefill = timing.ttft - (queued or 0.0)
        return cls(
            queued_ms=None if queued is None else 1000 * queued,
            cache_n=cached,
            prompt_n=computed,
            prompt_ms=1000 * prefill,
            prompt_per_second=computed / prefill if computed is not None and prefill > 0 else None,
            predicted_n=usage.completion_tokens,
            predicted_ms=1000 * (timing.total - timing.ttft),
            predicted_per_second=timing.tokens_per_second(usage.completion_tokens) or None,
            draft_n=speculative.num_draft_tokens if speculative else None,
            draft_n_accepted=speculative.num_accepted_draft_tokens if speculative else None,
        )


class DrafterFigures(ResponseModel):
    """Per position: how often drafted, how often accepted, and how often tested: all before it were accepted."""

    drafter: str
    drafted: list[int]
    accepted: list[int]
    tested: list[int]


class SpeculativeFigures(ResponseModel):
    """`acceptance_histogram[j]` rounds accepted exactly j drafted tokens; empty where only sums are known."""

    mean_acceptance_length: float | None
    draft_acceptance_rate: float | None
    acceptance_histogram: list[int]
    acceptance_per_position: list[float]
    """Accepted drafts over tested ones: given that all before were accepted."""
    num_spec_steps: int | None
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
            num_spec_steps=stats.rounds or (None if drafted else 0),
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
    speculative_decoding: SpeculativeFigures | None
    """Null where a server that is passed on does not say."""


class Figures(ResponseModel):
    """What the end of an answer says besides its text."""

    usage: CompletionUsage
    timings: CompletionTimings
    metrics: CompletionMetrics

    @classmethod
    def of(cls, endings: Sequence[Ending], choices: int = 1) -> Figures:
        """The sum of the answers to one request, `choices` to each of its prompts. A prompt counts once for all of its
        answers, as OpenAI counts."""
        usage, stats = endings[0].usage, endings[0].stats
        if len(endings) > 1:
            prompts = [end.usage for end in endings[choices - 1 :: choices]]
            usage = Usage(
                _sum(prompt.prompt_tokens for prompt in prompts),
                _sum(end.usage.completion_tokens for end in endings),
                _sum(prompt.cached_tokens for prompt in prompts),
                _sum(end.usage.reasoning_tokens for end in endings),
            )
            stats = SpecStats.of_all(end.stats for end in endings)
        timing = max((end.timing for end in endings), key=attrgetter("total"))
        speculative = None if stats.unknown else SpeculativeFigures.of(stats)
        return cls(
            usage=CompletionUsage.of(usage, stats, known=speculative is not None),
            timings=CompletionTimings.of(usage, timing, speculative),
            metrics=CompletionMetrics(speculative_decoding=speculative),
        )


def _sum(counts: Iterable[int | None]) -> int | None:
    """None where one of them is not known."""
    known = list(counts)
    return None if None in known else sum(n or 0 for n in known)


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
