"""The figures at the end of an answer, from the engine's."""

from __future__ import annotations

from specdec.types import DrafterStats, Ending, Round, SpecStats, Speculation, Timing, Usage
from specdec_server.figures import Figures, SpeculativeFigures
from tests.fakes import ScriptedEngine
from tests.specdec_server.client import AppClient

ROUNDS = DrafterStats.of(Round("model", (1, 2, 3), 2, 0.1, 0.1)) + DrafterStats.of(Round("model", (1,), 0, 0.1, 0.1))


def finished(*drafters: DrafterStats) -> Ending:
    stats = SpecStats(2, drafters, Speculation(why="requested"))
    return Ending("stop", Usage(10, 5, 4), Timing(0.1, 0.3, 0.7), stats, seed=1)


def speculative(*endings: Ending) -> SpeculativeFigures:
    found = Figures.of(endings).metrics.speculative_decoding
    assert found
    return found


def test_predicted_outputs() -> None:
    drafters = DrafterStats("prediction", (3, 2), (2, 1)), DrafterStats("model", (9,), (9,))
    usage = Figures.of([finished(*drafters)]).usage
    assert usage.completion_tokens_details.accepted_prediction_tokens == 3
    assert usage.completion_tokens_details.rejected_prediction_tokens == 2


def test_timings() -> None:
    timings = Figures.of([finished()]).timings
    assert (timings.prompt_n, timings.cache_n, timings.predicted_n) == (6, 4, 5)
    assert timings.queued_ms and timings.predicted_per_second
    assert (round(timings.queued_ms), round(timings.prompt_ms), round(timings.predicted_ms)) == (100, 200, 400)
    assert round(timings.predicted_per_second) == 10, "four tokens after the first, in 0.4 s"


def test_rounds_by_what_they_accepted() -> None:
    found = speculative(finished(ROUNDS), finished(ROUNDS))
    assert found.acceptance_histogram == [2, 0, 2]
    assert found.num_spec_tokens == 3 and found.num_spec_steps == 4
    assert found.off_reason is None, "something was drafted"


def test_rounds_without_drafts_accepted_none() -> None:
    assert speculative(finished()).acceptance_histogram == [2]


def test_sums_alone_say_nothing_of_single_rounds() -> None:
    found = speculative(finished(DrafterStats("server", (9,), (7,))))
    assert (found.acceptance_histogram, found.num_spec_tokens) == ([], 0)
    assert (found.num_draft_tokens, found.num_accepted_draft_tokens) == (9, 7)


def test_what_a_server_behind_this_one_does_not_say_is_null() -> None:
    silent = SpecStats(0, (), Speculation(why="unknown", detail="no word of it"))
    end = Ending("stop", Usage(None, None, None, None), Timing(None, 0.3, 0.7), silent, seed=1)
    figures = Figures.of([end, end])
    assert figures.metrics.speculative_decoding is None
    measured = {"prompt_ms", "predicted_ms"}
    assert {name for name, value in figures.timings if value is not None} == measured, "by our own clock"
    details = figures.usage.completion_tokens_details
    assert (figures.usage.prompt_tokens_details.cached_tokens, details.reasoning_tokens) == (None, None)
    assert (details.accepted_prediction_tokens, details.rejected_prediction_tokens) == (None, None)


def test_a_drafter_is_named_once() -> None:
    both = (
        finished(DrafterStats("model", (3, 2), (3, 1), (3, 2))),
        finished(DrafterStats("model", (1,), (0,), (1,))),
    )
    found = speculative(*both)
    (drafter,) = found.drafters
    assert (drafter.drafted, drafter.accepted, drafter.tested) == ([4, 2], [3, 1], [4, 2])
    assert found.acceptance_per_position == [0.75, 0.5]


def test_a_prompt_counts_once_for_all_its_answers() -> None:
    usage = Figures.of([finished()] * 4, choices=2).usage
    assert (usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens) == (20, 8)
    assert usage.completion_tokens == 20 and usage.total_tokens == 40


async def test_reasoning_tokens() -> None:
    client = AppClient(ScriptedEngine(["<think>", "hm", "</think>", "Yes"]))
    for speculative in ("off", "auto"):
        usage = (await client.chat(speculative=speculative))["usage"]
        assert usage["completion_tokens_details"]["reasoning_tokens"] == 1, "however many tokens come at once"
