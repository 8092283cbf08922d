"""The figures at the end of an answer, from the engine's."""

from __future__ import annotations

from specdec.types import (
    DrafterStats,
    GenerationEvent,
    ReasoningDelta,
    Round,
    SpecStats,
    Speculation,
    Timing,
    Token,
    Usage,
)
from specdec_server.common.figures import Tally, figures


def finished(prompt: int = 0, *drafters: DrafterStats) -> Tally:
    tally, usage = Tally(prompt), Usage(10, 5, 4)
    stats = SpecStats(2, drafters, Speculation(why="pays" if drafters else "requested", on=bool(drafters)))
    tally.add(GenerationEvent("r", round=Round("model", (1, 2, 3), 2, 0.1, 0.1)))
    tally.add(GenerationEvent("r", round=Round("model", (1,), 0, 0.1, 0.1)))
    tally.add(
        GenerationEvent("r", finish_reason="stop", usage=usage, timing=Timing(0.1, 0.3, 0.7), stats=stats, seed=1)
    )
    return tally


def test_predicted_outputs() -> None:
    usage = figures([finished(0, DrafterStats("prediction", (3, 2), (2, 1)), DrafterStats("model", (9,), (9,)))]).usage
    assert usage.completion_tokens_details.accepted_prediction_tokens == 3
    assert usage.completion_tokens_details.rejected_prediction_tokens == 2


def test_timings() -> None:
    timings = figures([finished()]).timings
    assert (timings.prompt_n, timings.cache_n, timings.predicted_n) == (6, 4, 5)
    assert (round(timings.queued_ms), round(timings.prompt_ms), round(timings.predicted_ms)) == (
        100,
        200,
        400,
    )
    assert round(timings.predicted_per_second) == 10, "four tokens after the first, in 0.4 s"


def test_rounds_by_what_they_accepted() -> None:
    speculative = figures([finished(), finished()]).metrics.speculative_decoding
    assert speculative.acceptance_histogram == [2, 0, 2]
    assert speculative.num_spec_tokens == 3 and speculative.num_spec_steps == 4
    assert speculative.off_reason == "off: as the request asked"


def test_a_drafter_is_named_once() -> None:
    both = [
        finished(0, DrafterStats("model", (3, 2), (3, 1), (3, 2))),
        finished(0, DrafterStats("model", (1,), (0,), (1,))),
    ]
    speculative = figures(both).metrics.speculative_decoding
    (drafter,) = speculative.drafters
    assert (drafter.drafted, drafter.accepted, drafter.tested) == ([4, 2], [3, 1], [4, 2])
    assert speculative.acceptance_per_position == [0.75, 0.5]


def test_a_prompt_counts_once_for_all_its_answers() -> None:
    usage = figures([finished(0), finished(0), finished(1)]).usage
    assert (usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens) == (20, 8)
    assert usage.completion_tokens == 15 and usage.total_tokens == 35


def test_reasoning_tokens() -> None:
    tally = finished()
    tally.add(GenerationEvent("r", "hm", (Token(1, "hm", "plain"),), deltas=(ReasoningDelta("hm"),)))
    assert figures([tally]).usage.completion_tokens_details.reasoning_tokens == 1
