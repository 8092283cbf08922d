"""What events add up to: one answer, from whatever pieces it came in."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from itertools import pairwise

import pytest

from specdec.types import (
    Answer,
    Completion,
    ContentDelta,
    Decision,
    Delta,
    DrafterStats,
    Ending,
    GenerationEvent,
    Message,
    ReasoningDelta,
    Round,
    SpecStats,
    Speculation,
    Timing,
    Token,
    ToolCall,
    ToolCallDelta,
    Usage,
    merged,
)

END = Ending("stop", Usage(2, 3), Timing(0, 1, 2), SpecStats(1), 7, "!")
CALLING: list[Delta] = [
    ReasoningDelta("two "),
    ReasoningDelta("calls"),
    ContentDelta("so"),
    ContentDelta(": "),
    ToolCallDelta(0, "a", "add", '{"x":'),
    ToolCallDelta(0, arguments=" 1}"),
    ToolCallDelta(1, "b", "sub"),
    ToolCallDelta(1, arguments="{}"),
]
ONES = (
    ReasoningDelta("two calls"),
    ContentDelta("so: "),
    ToolCallDelta(0, "a", "add", '{"x": 1}'),
    ToolCallDelta(1, "b", "sub", "{}"),
)
CALLS = (ToolCall("a", "add", '{"x": 1}'), ToolCall("b", "sub", "{}"))


def _events(deltas: Sequence[Delta], cuts: Sequence[int]) -> list[GenerationEvent]:
    """One event for each stretch between two cuts; the last has the end."""
    ends = [0, *cuts, len(deltas)]
    events = [GenerationEvent("r", deltas=tuple(deltas[i:j])) for i, j in pairwise(ends)]
    return [*events, GenerationEvent("r", end=END)]


def test_rates_count_tokens_after_the_first() -> None:
    timing = Timing(queued=0.1, ttft=0.5, total=2.5)
    assert timing.tokens_per_second(11) == pytest.approx(5.0)
    assert timing.tokens_per_second(1) == 0.0
    assert Timing(0, 1, 1).tokens_per_second(5) == 0.0


def test_a_completion_is_the_sum_of_its_events() -> None:
    tokens = [Token(i, t, "plain") for i, t in enumerate(("a", "b", "c"))]
    events = [
        GenerationEvent("r", "a", (tokens[0],)),
        GenerationEvent("r", "", (), Round("model", (1,), 0, 0.1, 0.2)),
        GenerationEvent("r", "bc", tuple(tokens[1:]), end=END),
    ]
    completion = Completion.of(events)
    assert (completion.text, completion.token_ids, completion.stop) == ("abc", (0, 1, 2), "!")
    assert (completion.request_id, completion.tokens, completion.end) == ("r", tuple(tokens), END)
    assert completion.tokens_per_second == pytest.approx(2.0)


def test_a_completion_has_all_that_its_ending_has() -> None:
    completion = Completion.of([GenerationEvent("r", end=END)])
    assert (completion.finish_reason, completion.stop, completion.seed) == ("stop", "!", 7)
    assert (completion.usage, completion.timing, completion.stats) == (END.usage, END.timing, END.stats)


@pytest.mark.parametrize("cuts", [[], [1], [3, 5], range(1, len(CALLING)), [0, 0, 4]])
def test_an_answer_is_the_same_however_it_is_cut(cuts: Sequence[int]) -> None:
    completion = Completion.of(_events(CALLING, cuts))
    assert completion.message == Message("assistant", "so: ", tool_calls=CALLS, reasoning="two calls")
    assert completion.message == Completion.of(_events(ONES, [])).message


def test_an_answer_says_how_far_it_has_come() -> None:
    answer = Answer()
    assert (answer.text, answer.tokens, answer.calls, answer.end) == ("", [], {}, None)
    assert answer.message == Message("assistant", ""), "an answer without anything is empty, not absent"
    seen = []
    for event in _events(CALLING, range(1, len(CALLING))):
        answer.add(event)
        seen.append((answer.reasoning, answer.content, [call.arguments for call in answer.message.tool_calls]))
    assert seen[0] == ("two ", "", [])
    assert seen[4] == ("two calls", "so: ", ['{"x":'])
    assert seen[6] == ("two calls", "so: ", ['{"x": 1}', ""])
    assert seen[-1] == ("two calls", "so: ", ['{"x": 1}', "{}"])
    assert answer.end is END


def test_what_comes_behind_the_end_does_not_take_it_away() -> None:
    answer = Answer()
    for event in (GenerationEvent("r", "a", end=END), GenerationEvent("r", "b")):
        answer.add(event)
    assert (answer.text, answer.end) == ("ab", END)


def test_calls_alone_have_no_content() -> None:
    assert Completion.of(_events(ONES[2:], [])).message == Message("assistant", None, tool_calls=CALLS)
    assert Completion.of(_events(ONES[:1], [])).message == Message("assistant", "", reasoning="two calls")


def test_neighbours_of_one_kind_become_one() -> None:
    assert merged(CALLING) == ONES
    assert merged(ONES) == ONES
    assert merged([]) == ()
    assert merged(CALLING[:1]) == (CALLING[0],)
    assert merged(iter(CALLING[4:6])) == ONES[2:3]


@pytest.mark.parametrize(
    "apart",
    [
        [ContentDelta("a"), ReasoningDelta("b"), ContentDelta("c")],
        [ToolCallDelta(0, "a", "f", "{"), ToolCallDelta(1, arguments="}")],
        [ToolCallDelta(0, "a", "f"), ToolCallDelta(0, "a", "f")],
        [ToolCallDelta(0, "a", "f"), ContentDelta("x"), ToolCallDelta(0, arguments="{}")],
        [ToolCallDelta(0, "a"), ToolCallDelta(0, None, "f")],
    ],
)
def test_what_does_not_continue_its_neighbour_stays_apart(apart: list[Delta]) -> None:
    assert merged(apart) == tuple(apart)


def test_events_pickle_as_they_are() -> None:
    speculation = Speculation(True, "pays", ("model",), 4, 20.0, 31.5)
    stats = SpecStats(1, (), speculation, (Decision(1, 0.5, "model", 4, speculation),))
    end = Ending("length", Usage(2, 3, 1), Timing(0, 1, 2), stats, 7)
    event = GenerationEvent("r", "a", (Token(1, "a", "bonus"),), Round("model", (1,), 1, 0.1, 0.2), ONES, end)
    assert pickle.loads(pickle.dumps(event)) == event


def test_what_was_decided_is_a_value_with_a_sentence() -> None:
    on = Speculation(True, "pays", ("model", "lookup"), 4, 20.0, 31.5)
    assert str(on) == "on: model and lookup, 4 a round: 20 -> 32 tokens/s"
    off = Speculation(why="does not pay", plain_rate=20.0, rate=11.0)
    assert str(off) == "off: drafting costs more than it saves: 20 -> 11 tokens/s"
    told = Speculation(why="unknown", detail="the server does not say")
    assert (told.reason, str(told)) == ("unknown: the server does not say", "unknown: the server does not say")
    refused = Speculation(why="unavailable", detail="no slots")
    assert refused.reason == "no slots"


def test_only_what_was_decided_off_has_a_reason() -> None:
    assert SpecStats(1).off_reason is None, "no round was planned"
    assert SpecStats(1, speculation=Speculation(True, "pays", ("model",), 4)).off_reason is None
    assert SpecStats(1, speculation=Speculation(why="requested")).off_reason == "as the request asked"
    drafted = (DrafterStats("model", (3,), (1,), (3,)),)
    assert SpecStats(4, drafted, Speculation(why="does not pay")).off_reason is None, "the end is not the whole answer"


def test_unknown_is_neither_off_nor_nothing() -> None:
    silent = SpecStats(0, speculation=Speculation(why="unknown", detail="the server does not say"))
    assert (silent.off_reason, silent.unknown) == (None, "unknown: the server does not say")
    assert SpecStats(1, speculation=Speculation(why="requested")).unknown is None
