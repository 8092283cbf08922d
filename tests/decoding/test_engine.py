"""The engine at work: slots, cancellation, failure, refusals."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from specdec.decoding.engine import LocalEngine
from specdec.errors import EngineClosed, EngineFailed, InvalidLogits, InvalidRequest, OutOfMemory
from specdec.text.filling import FillMarks
from specdec.types import Grammar, Request
from tests.decoding.toy import ToyModel, toy_engine

LONG: dict[str, Any] = {"temperature": 0, "max_tokens": 200, "ignore_eos": True}


def wait_until(true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "the condition never came true"
        threading.Event().wait(0.001)


def test_closing_a_stream_frees_its_slot_within_a_round() -> None:
    with toy_engine(slots=1) as engine:
        events = engine.stream("abc", **LONG)
        next(events)
        events.close()
        rounds = engine.stats().rounds
        wait_until(lambda: engine.stats().active == 0)
        assert engine.stats().cancelled == 1
        assert engine.stats().rounds <= rounds + 1  # the one that was under way
        assert engine.generate("abc", temperature=0, max_tokens=3).usage.completion_tokens == 3


def test_dropping_a_stream_that_was_never_read_cancels_it() -> None:
    with toy_engine(slots=1) as engine:
        engine.stream("abc", **LONG)
        gc.collect()
        wait_until(lambda: engine.stats().active == 0 and engine.stats().queued == 0)


async def test_dropping_an_async_stream_cancels_it() -> None:
    with toy_engine(slots=1) as engine:
        await engine.astream("abc", **LONG).__anext__()
        gc.collect()
        await asyncio.to_thread(wait_until, lambda: engine.stats().active == 0)
        assert engine.stats().cancelled == 1


async def test_cancelling_the_task_cancels_the_request() -> None:
    with toy_engine(slots=1) as engine:
        started = asyncio.Event()

        async def read() -> None:
            async for _ in engine.astream("abc", **LONG):
                started.set()

        task = asyncio.create_task(read())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(wait_until, lambda: engine.stats().active == 0)
        assert engine.stats().cancelled + engine.stats().finished == 1


async def test_many_tasks_share_rounds() -> None:
    with toy_engine("near", slots=4) as engine:
        alone = [engine.generate([i], seed=i, max_tokens=50, ignore_eos=True).token_ids for i in range(8)]
        rounds = engine.stats().rounds
        together = await asyncio.gather(
            *(engine.agenerate([i], seed=i, max_tokens=50, ignore_eos=True) for i in range(8))
        )
        assert [c.token_ids for c in together] == alone
        assert rounds > 0


def test_rounds_are_shared() -> None:
    with toy_engine(slots=4) as engine:
        streams = [engine.stream([i], **LONG) for i in range(4)]
        shared = [max(e.round.shared_by for e in s if e.round) for s in streams]
        assert max(shared) > 1


def test_first_tokens_of_several_prompts_are_chosen_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each as if it came alone."""
    sampling: dict[str, Any] = {"max_tokens": 6, "ignore_eos": True, "temperature": 0.9, "top_p": 0.8}
    with toy_engine("near", slots=4) as engine:
        alone = [engine.generate([7, i], seed=i, **sampling).token_ids for i in range(4)]
        together, first = [], engine._rounds.first

        def counted(rows: list[Any], logits: torch.Tensor) -> Any:
            together.append(len(rows))
            return first(rows, logits)

        monkeypatch.setattr(engine._rounds, "first", counted)
        with engine._wake:  # so that all arrive at once
            streams = [engine.stream([7, i], seed=i, **sampling) for i in range(4)]
        texts = [[token.id for event in stream for token in event.tokens] for stream in streams]
    assert texts == [list(ids) for ids in alone]
    assert max(together) > 1


def test_a_prompt_that_was_seen_is_not_computed_again() -> None:
    with toy_engine("near", slots=2) as engine:
        prompt = list(range(100))
        cold = engine.generate(prompt, temperature=0.8, seed=1, max_tokens=20, ignore_eos=True)
        warm = engine.generate(prompt, temperature=0.8, seed=1, max_tokens=20, ignore_eos=True)
        turn = engine.generate([*prompt, *cold.token_ids, 7], temperature=0, max_tokens=2)
    assert cold.usage.cached_tokens == 0
    assert warm.usage.cached_tokens == 99
    assert warm.token_ids == cold.token_ids
    assert turn.usage.cached_tokens and turn.usage.cached_tokens >= 100 + 19


def test_an_answer_says_what_was_decided_when_and_why() -> None:
    with toy_engine("near") as engine:
        stats = engine.generate([5], speculative="auto", max_tokens=100, ignore_eos=True, seed=2).stats
        asked = engine.generate([5], speculative=3, max_tokens=20, ignore_eos=True, seed=2).stats
    assert stats.decisions
    rounds = [decision.round for decision in stats.decisions]
    assert rounds == sorted(set(rounds))
    assert rounds[0] >= 1
    assert rounds[-1] <= stats.rounds
    assert all("tokens/s" in str(decision.speculation) for decision in stats.decisions)
    assert (asked.decisions[0].round, asked.decisions[0].drafter, asked.decisions[0].length) == (
        1,
        "model",
        3,
    )
    assert asked.decisions[0].speculation.why == "requested"


def test_a_failing_worker_fails_its_requests_and_closes_the_engine() -> None:
    target = ToyModel()
    engine = toy_engine(target=target)
    target.fail_at = target.passes + 10
    with pytest.raises(EngineFailed, match="the toy broke") as caught:
        engine.generate("abc", **LONG)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "the toy broke" in (engine.down or "")
    with pytest.raises(EngineClosed, match="the toy broke"):
        engine.generate("abc")
    engine.close()


def test_an_answer_arrives_though_its_release_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = toy_engine(slots=1)

    def broken(**counts: int) -> None:
        if "finished" in counts:
            raise KeyError("finished")

    monkeypatch.setattr(engine, "_add", broken)
    assert len(engine.generate([7, 7], max_tokens=3, ignore_eos=True, temperature=0).tokens) == 3
    with pytest.raises((EngineClosed, EngineFailed), match="finished"):
        engine.generate([7, 7], max_tokens=3)


def test_closing_fails_what_is_running_and_what_waits() -> None:
    engine = toy_engine(slots=1)
    streams = [engine.stream("abc", **LONG) for _ in range(3)]
    next(streams[0])
    engine.close()
    engine.close()
    with pytest.raises(EngineClosed):
        list(streams[2])
    with pytest.raises(EngineClosed):
        engine.generate("abc")


@pytest.fixture(scope="module")
def engine() -> Any:
    with toy_engine("lookup") as engine:
        yield engine


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ("", {}, "prompt"),
        ([], {}, "prompt"),
        ("x" * 256, {}, r"prompt is too long: 256 tokens; expected at most 255 tokens"),
        ([257], {}, "prompt is 257; expected token ids from 0 to 256"),
        ([{"role": "robot", "content": "hi"}], {}, "messages.role is 'robot'"),
        ("a", {"temperature": math.nan}, "temperature is nan"),
        ("a", {"temperature": -1}, "temperature is -1"),
        ("a", {"top_p": 0}, "top_p is 0"),
        ("a", {"top_k": -1}, "top_k is -1"),
        ("a", {"min_p": 1.5}, "min_p is 1.5"),
        ("a", {"logit_bias": {300: 1.0}}, "logit_bias is 300; expected token ids below 257"),
        ("a", {"stop_token_ids": (999,)}, "stop_token_ids is 999"),
        ("a", {"max_tokens": 0}, "max_tokens is 0"),
        ("a", {"speculative": 99}, "speculative is 99"),
        ("a", {"speculative": "fast"}, "speculative is 'fast'"),
        ("a", {"tempreature": 1}, "options is .'tempreature'."),
    ],
)
def test_wrong_values_are_refused_by_name(engine: LocalEngine, prompt: Any, options: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        engine.stream(prompt, **options)
    assert "\n" not in str(caught.value)
    assert engine.stats().active == 0


def test_repeated_work_is_drafted_from_memory() -> None:
    with toy_engine("memory") as engine:
        first = engine.generate([5], temperature=0, max_tokens=60, ignore_eos=True)
        again = engine.generate([5], temperature=0, max_tokens=60, ignore_eos=True)
    assert again.token_ids == first.token_ids
    assert {d.drafter for d in again.stats.drafters} == {"memory"}
    assert again.stats.rounds < first.stats.rounds / 3


def test_without_memory_the_youngest_fails_and_the_others_go_on() -> None:
    runner = ToyModel(slots=3)
    with toy_engine(target=runner) as engine:
        wanted = engine.generate("abc", **LONG).token_ids
        runner.full_above = 2
        streams = [engine.stream("abc", **LONG) for _ in range(3)]
        texts, failed = [], 0
        for stream in streams:
            try:
                texts.append(tuple(t.id for event in stream for t in event.tokens))
            except OutOfMemory:
                failed += 1
        assert failed == 1
        assert texts == [wanted] * 2
        runner.full_above = None
        assert engine.generate("abc", **LONG).token_ids == wanted


def test_without_memory_for_prefixes_answers_end_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    target = ToyModel(slots=2)

    def full(slot: int, tokens: list[int]) -> None:
        raise torch.OutOfMemoryError

    with toy_engine("near", target=target) as engine:
        wanted = engine.generate("abc", **LONG).token_ids
        long = engine.stream("abc", **LONG)
        next(iter(long))
        monkeypatch.setattr(target.state.prefixes, "save", full)
        assert engine.generate("abc", **{**LONG, "max_tokens": 20}).token_ids == wanted[:20]
        assert engine.stats().active == 1
        list(long)
        assert engine.stats().active == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("rule", ["coupled", "rejection"])
@pytest.mark.parametrize("options", [{"temperature": 0}, {"temperature": 0.8, "top_p": 0.9, "seed": 3}])
def test_logits_that_name_no_token_end_their_request_alone(value: float, rule: Any, options: dict[str, Any]) -> None:
    """Behind the token 7, and nowhere else."""
    target = ToyModel(slots=2)
    target.first[7], target.second[7] = value, value
    with toy_engine("near", target=target, accept_rule=rule) as engine:
        sound = {**options, "logit_bias": {7: -100.0}, "max_tokens": 30, "ignore_eos": True, "speculative": 3}
        wanted = engine.generate([5], **sound)
        beside = engine.stream([5], **sound)
        with pytest.raises(InvalidLogits, match=r"logits are NaN or infinite after 0 tokens of the answer; expected"):
            engine.generate([5, 7], **options)
        forced = engine.stream([5], logit_bias={7: 100.0}, speculative=4, **options)
        with pytest.raises(InvalidLogits, match="after 1 tokens"):
            list(forced)
        assert tuple(t.id for event in beside for t in event.tokens) == wanted.token_ids
        assert engine.stats().active == 0


def test_one_nan_among_the_logits_is_found_where_it_cannot_be_chosen() -> None:
    target = ToyModel(slots=1)
    target.first[5, 200] = math.nan
    with toy_engine(target=target, accept_rule="rejection") as engine, pytest.raises(InvalidLogits):
        engine.generate([5], temperature=0.8, seed=1)
    with toy_engine(target=target) as engine, pytest.raises(InvalidLogits):
        engine.generate([5], temperature=0, grammar=Grammar.regex("a+"))


def test_tokens_without_a_chance_are_no_fault() -> None:
    """Some models pad their vocabulary with -inf."""
    target = ToyModel(slots=1)
    target.first[:, 200:250] = -math.inf
    with toy_engine("near", target=target) as engine:
        answer = engine.generate([5], temperature=1.0, seed=1, max_tokens=30, ignore_eos=True)
    assert answer.usage.completion_tokens == 30
    assert not set(range(200, 250)) & set(answer.token_ids)


def test_a_text_is_filled_in() -> None:
    """Between the tokenizer's own marks, up to what they end with; without marks it is refused."""
    with toy_engine("near") as engine:
        with pytest.raises(InvalidRequest, match="suffix is 'b'; expected none"):
            engine.generate("a", suffix="b")
        plain = engine.generate([1, 64, 2, 65, 3], seed=1, max_tokens=50)
        end = plain.token_ids[9]
        tokenizer = engine._admission.tokenizer
        tokenizer.__dict__["fill_marks"] = FillMarks((1, 2, 3), ("prompt", "suffix"), frozenset({end}))
        assert engine.tokenize(Request("a", suffix="b")) == (1, 64, 2, 65, 3)
        filled = engine.generate("a", suffix="b", seed=1, max_tokens=50)
        assert (filled.finish_reason, filled.stop) == ("stop", end)
        assert filled.token_ids == plain.token_ids[: plain.token_ids.index(end)]
