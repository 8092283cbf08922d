"""Usage, timings and speculative figures, in the forms that clients already read.

`usage` is OpenAI's, `timings` llama.cpp's, `metrics.speculative_decoding` vLLM's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from specdec.types import GenerationEvent, ReasoningDelta, SpecStats, Timing, Usage
from specdec_server.common.base import Sent


class PromptDetails(Sent):
    cached_tokens: int


class CompletionDetails(Sent):
    reasoning_tokens: int
    """Of rounds that were reasoning alone."""
    accepted_prediction_tokens: int
    rejected_prediction_tokens: int


class UsageBody(Sent):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class Timings(Sent):
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


class DrafterFigures(Sent):
    """Per position: how often drafted, how often accepted, and how often tested: all before it were accepted."""

    drafter: str
    drafted: list[int]
    accepted: list[int]
    tested: list[int]


class SpeculativeFigures(Sent):
    """`acceptance_histogram[j]` rounds accepted exactly j drafted tokens."""

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


class Metrics(Sent):
    speculative_decoding: SpeculativeFigures


class Figures(Sent):
    """What the end of an answer says besides its text."""

    usage: UsageBody
    timings: Timings
    metrics: Metrics


class Tally:
    """Counts one answer while it comes."""

    def __init__(self, prompt: int = 0) -> None:
        self.prompt = prompt
        """Which of the request's prompts it answers."""
        self.accepted: Counter[int] = Counter()
        """Rounds by how many drafted tokens they accepted."""
        self.widest = 0
        self.reasoning = 0
        self.last: GenerationEvent | None = None

    def add(self, event: GenerationEvent) -> None:
        if event.round:
            self.accepted[event.round.accepted] += 1
            self.widest = max(self.widest, len(event.round.drafted))
        if event.deltas and all(isinstance(d, ReasoningDelta) for d in event.deltas):
            self.reasoning += len(event.tokens)
        if event.finish_reason:
            self.last = event


def figures(tallies: Sequence[Tally]) -> Figures:
    """The sum of finished answers to one request."""
    lasts = [t.last for t in tallies if t.last]
    usage = _sum_usage({t.prompt: t.last.usage for t in tallies if t.last and t.last.usage}, lasts)
    stats = SpecStats.of_all(e.stats for e in lasts if e.stats)
    timing = max((e.timing for e in lasts if e.timing), key=lambda t: t.total)
    return Figures(
        usage=_usage_body(usage, stats, sum(t.reasoning for t in tallies)),
        timings=_timings(usage, timing, stats),
        metrics=Metrics(speculative_decoding=_speculative(tallies, stats)),
    )


def _sum_usage(by_prompt: Mapping[int, Usage], lasts: Sequence[GenerationEvent]) -> Usage:
    """A prompt counts once for all of its answers, as OpenAI counts."""
    return Usage(
        sum(u.prompt_tokens for u in by_prompt.values()),
        sum(e.usage.completion_tokens for e in lasts if e.usage),
        sum(u.cached_tokens for u in by_prompt.values()),
    )


def _usage_body(usage: Usage, stats: SpecStats, reasoning: int) -> UsageBody:
    guesses = [d for d in stats.drafters if d.drafter == "prediction"]
    accepted = sum(sum(d.accepted) for d in guesses)
    details = CompletionDetails(
        reasoning_tokens=reasoning,
        accepted_prediction_tokens=accepted,
        rejected_prediction_tokens=sum(sum(d.drafted) for d in guesses) - accepted,
    )
    return UsageBody(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptDetails(cached_tokens=usage.cached_tokens),
        completion_tokens_details=details,
    )


def _timings(usage: Usage, timing: Timing, stats: SpecStats) -> Timings:
    computed, prefill = usage.prompt_tokens - usage.cached_tokens, timing.ttft - timing.queued
    return Timings(
        queued_ms=1000 * timing.queued,
        cache_n=usage.cached_tokens,
        prompt_n=computed,
        prompt_ms=1000 * prefill,
        prompt_per_second=computed / prefill if prefill > 0 else 0.0,
        predicted_n=usage.completion_tokens,
        predicted_ms=1000 * (timing.total - timing.ttft),
        predicted_per_second=timing.tokens_per_second(usage.completion_tokens),
        draft_n=stats.drafted,
        draft_n_accepted=stats.accepted,
    )


def _speculative(tallies: Sequence[Tally], stats: SpecStats) -> SpeculativeFigures:
    accepted = sum((t.accepted for t in tallies), Counter[int]())
    return SpeculativeFigures(
        mean_acceptance_length=stats.acceptance_length,
        draft_acceptance_rate=stats.acceptance_rate,
        acceptance_histogram=[accepted[j] for j in range(max(accepted, default=-1) + 1)],
        acceptance_per_position=list(stats.acceptance_per_position),
        num_spec_steps=stats.rounds,
        num_accepted_draft_tokens=stats.accepted,
        num_draft_tokens=stats.drafted,
        num_spec_tokens=max(t.widest for t in tallies),
        drafters=[
            DrafterFigures(drafter=d.drafter, drafted=list(d.drafted), accepted=list(d.accepted), tested=list(d.tested))
            for d in stats.drafters
        ],
        off_reason=stats.off_reason,
    )
