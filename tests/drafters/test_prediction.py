from __future__ import annotations

import random

from specdec.drafters.base import DraftContext, Drafter
from specdec.drafters.prediction import Alignment, PredictionDrafter

from .rounds import context, propose, round_of


def after(prediction: list[int], output: list[int]) -> DraftContext:
    return context([50, 51, *output], prompt=2, prediction=prediction)


def row_and_source(prediction: list[int], output: list[int], k: int = 3) -> tuple[list[int], str]:
    """As an engine would have it: asked after every token."""
    growing, drafter = after(prediction, []), PredictionDrafter()
    drafts = drafter.propose(round_of([growing]), k)
    for token in output:
        growing.tokens.append(token)
        drafts = drafter.propose(round_of([growing]), k)
    assert propose(PredictionDrafter(), after(prediction, output), k=k) == [
        drafts.tokens[0, : drafts.lengths[0]].tolist()
    ]
    return drafts.tokens[0, : drafts.lengths[0]].tolist(), drafts.sources[0]


def test_is_a_drafter() -> None:
    drafter: Drafter = PredictionDrafter()
    assert (drafter.name, drafter.free) == ("prediction", True)


def test_without_a_prediction_there_are_no_drafts() -> None:
    assert propose(PredictionDrafter(), context([1, 1, 1])) == [[]]


def test_starts_at_the_start_whatever_the_prompt() -> None:
    assert row_and_source([1, 2, 3, 4], []) == ([1, 2, 3], "prediction/start")


def test_follows_while_the_output_agrees() -> None:
    assert row_and_source([1, 2, 3, 4, 5], [1, 2]) == ([3, 4, 5], "prediction/2")
    assert row_and_source([*range(30)], [*range(10)]) == ([10, 11, 12], "prediction/8-15")


def test_stops_at_the_end_of_the_prediction() -> None:
    assert row_and_source([1, 2, 3], [1, 2]) == ([3], "prediction/2")
    assert row_and_source([1, 2, 3], [1, 2, 3]) == ([], "prediction/none")
    assert row_and_source([1, 2, 3], [1, 2, 3, 9, 9])[0] == []


def test_first_guess_after_another_token_is_an_exchange_of_one_for_one() -> None:
    assert row_and_source([1, 2, 3, 4, 5, 6], [1, 2, 99]) == ([4, 5, 6], "prediction/guess")
    assert row_and_source([1, 2, 3, 4, 5, 6], [1, 2, 99, 4]) == ([5, 6], "prediction/1")
    assert row_and_source([1, 2, 3, 4, 5, 6], [1, 2, 99, 98]) == ([], "prediction/none")


def test_resumes_after_an_insertion() -> None:
    assert row_and_source([1, 2, 3, 4, 5, 6], [1, 2, 97, 98, 99, 3]) == ([4, 5, 6], "prediction/1")
    assert row_and_source([1, 2, 3, 4, 5, 6], [1, 2, 97, 98, 99, 3, 4]) == ([5, 6], "prediction/2")


def test_resumes_after_a_deletion() -> None:
    prediction = [*range(100)]
    assert row_and_source(prediction, [0, 1, 2, 60, 61]) == ([62, 63, 64], "prediction/2")


def test_one_equal_token_far_off_is_no_alignment() -> None:
    assert row_and_source([*range(100)], [0, 1, 2, 60]) == ([4, 5, 6], "prediction/guess")


def test_prefers_the_next_place_ahead() -> None:
    #              0  1  2  3  4  5  6  7  8  9
    prediction = [7, 8, 1, 5, 7, 8, 2, 6, 7, 8, 3]
    assert row_and_source(prediction, [7, 8, 1, 99, 98, 7, 8], k=1) == ([2], "prediction/2")
    assert row_and_source(prediction, [7, 8, 1, 5, 7, 8, 2, 99, 98, 7, 8], k=1) == ([3], "prediction/2")


def test_goes_back_when_there_is_nothing_ahead() -> None:
    assert row_and_source([1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 1, 2], k=2) == ([3, 4], "prediction/2")


def test_longest_suffix_wins_over_the_nearest() -> None:
    prediction = [9, 2, 3, 70, 1, 2, 3, 80]
    assert row_and_source(prediction, [50, 51, 1, 2, 3], k=1) == ([80], "prediction/3")


def test_resumes_at_the_longest_suffix_always() -> None:
    for seed in range(300):
        rng = random.Random(seed)
        prediction = [rng.randrange(4) for _ in range(rng.randrange(1, 40))]
        alignment, output = Alignment(prediction), []
        for _ in range(30):
            known = alignment.next < len(prediction) and alignment.standing != "lost"
            follows = known and rng.random() < 0.6
            token = prediction[alignment.next] if follows else rng.randrange(5)
            place = alignment.next
            alignment.push(token)
            output.append(token)
            if known and prediction[place] == token:
                assert (alignment.next, alignment.standing) == (place + 1, "aligned")
            elif alignment.standing == "aligned":
                run, end = alignment.run, alignment.next
                assert prediction[end - run : end] == output[-run:]
                longer = output[-run - 1 :]
                spans = (prediction[i : i + run + 1] for i in range(len(prediction)))
                assert len(longer) == run or longer not in spans


def test_a_new_sequence_in_the_slot_starts_afresh() -> None:
    drafter = PredictionDrafter()
    old = after([1, 2, 3], [1])
    assert propose(drafter, old, k=2) == [[2, 3]]
    assert propose(drafter, context([50], sequence=2, prediction=[4, 5]), k=2) == [[4, 5]]
    drafter.release(old)
    assert len(drafter._alignments) == 1
    drafter.release(context([], sequence=2))
    assert not drafter._alignments


def test_rows_are_independent() -> None:
    contexts = [
        after([1, 2], []),
        context([3, 3, 3], sequence=2, slot=1),
        context([50], sequence=3, slot=2, prediction=[6]),
    ]
    assert propose(PredictionDrafter(), *contexts, k=2) == [[1, 2], [], [6]]
