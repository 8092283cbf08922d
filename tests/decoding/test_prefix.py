"""Requests that begin alike: what was computed is not computed again, and nobody can tell from the text."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import specdec
from specdec.engine import Engine
from tests.decoding.toy import ToyModel, toy_engine

SYSTEM = list(range(100, 200))
SHORT: dict[str, Any] = {"temperature": 0.8, "seed": 3, "max_tokens": 12, "ignore_eos": True}


def test_agents_with_one_system_prompt_compute_it_once() -> None:
    prompts = [[*SYSTEM, i, 7] for i in range(6)]
    with toy_engine("near", slots=6) as engine, ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda p: engine.generate(p, **SHORT), prompts))
    with toy_engine("near", slots=1, kept=0) as engine:
        cold = [engine.generate(p, **SHORT) for p in prompts]
    assert [a.token_ids for a in answers] == [a.token_ids for a in cold]
    assert sorted(a.usage.cached_tokens or 0 for a in answers) == [0, *[100] * 5]


def test_a_branch_is_found_after_others_took_every_slot() -> None:
    target = ToyModel(slots=2)
    with toy_engine("near", target=target) as engine:
        first = engine.generate(SYSTEM, **SHORT)
        for i in range(6):
            engine.generate([i] * 50, **SHORT)
        again = engine.generate(SYSTEM, **SHORT)
        edited = engine.generate([*SYSTEM[:60], 5, 5], **SHORT)
        turn = engine.generate([*SYSTEM, *first.token_ids, 4], **SHORT)
        assert engine.stats().cached_tokens == 99 + 60 + 111
        assert engine.stats().prefix_tokens > 200
    assert (first.usage.cached_tokens, again.usage.cached_tokens, edited.usage.cached_tokens) == (0, 99, 60)
    assert turn.usage.cached_tokens == 100 + 11  # the last token of an answer never went through the target
    assert again.token_ids == first.token_ids


def test_without_memory_only_the_slots_are_reused() -> None:
    with toy_engine(slots=1, kept=0) as engine:
        engine.generate(SYSTEM, **SHORT)
        assert engine.generate(SYSTEM, **SHORT).usage.cached_tokens == 99
        engine.generate([1], **SHORT)
        assert engine.generate(SYSTEM, **SHORT).usage.cached_tokens == 0
        assert engine.stats().prefix_tokens == 0


def test_a_prompt_that_was_cancelled_half_way_goes_on_where_it_was() -> None:
    with toy_engine(slots=1) as engine:
        engine.stream(SYSTEM, **SHORT).close()
        engine.generate([1], **SHORT)
        assert engine.generate(SYSTEM, **SHORT).token_ids
        assert engine.stats().active == 0


# ---- the bundled pair, in fp32


@pytest.fixture(scope="module")
def warm() -> Iterator[Engine]:
    with specdec.load(slots=2) as engine:
        yield engine


def chat(engine: Engine, turns: int) -> list[dict[str, str]]:
    """A chat as the engine's own answers make it, ending in a question."""
    messages: list[dict[str, str]] = []
    for turn in range(turns):
        messages.append({"role": "user", "content": f"Tell me story {turn} about a fox and {turn + 2} bells."})
        if turn + 1 < turns:
            answer = engine.generate(messages, temperature=0, max_tokens=16)
            messages.append({"role": "assistant", "content": answer.text})
    return messages


def test_the_twentieth_turn_is_read_alone_and_answered_as_if_cold(warm: Engine) -> None:
    messages = chat(warm, 20)
    with specdec.load(slots=1, prefix_cache_bytes=0) as cold:
        for options in ({"temperature": 0}, {"temperature": 0.9, "seed": 5}):
            shape: dict[str, Any] = {"max_tokens": 32, "speculative": 4, **options}
            answer = warm.generate(messages, **shape)
            assert answer.usage.prompt_tokens and answer.usage.cached_tokens
            new = answer.usage.prompt_tokens - answer.usage.cached_tokens
            assert new < 40
            assert answer.usage.prompt_tokens > 400
            edited = [*messages[:-3], {"role": "user", "content": "And a dog?"}]
            branch = warm.generate(edited, **shape)
            assert branch.usage.prompt_tokens and branch.usage.cached_tokens
            assert branch.usage.cached_tokens > 0.8 * branch.usage.prompt_tokens
            for prompt, found in ((edited, branch), (messages, answer)):
                cold.generate([500], max_tokens=1)
                reference = cold.generate(prompt, **shape)
                assert (reference.usage.cached_tokens, reference.token_ids) == (0, found.token_ids)
            warm.generate([7] * 300, max_tokens=1)


def test_wrong_limits_are_refused() -> None:
    with pytest.raises(specdec.InvalidRequest, match="prefix_cache_bytes is -1; expected a whole number 0 or more"):
        specdec.load(prefix_cache_bytes=-1)
    with pytest.raises(specdec.InvalidRequest, match=r"memory_share is 1.5; expected a number from 0 to 1"):
        specdec.load(memory_share=1.5)
    with pytest.raises(specdec.InvalidRequest, match="queue_limit is 0; expected a whole number 1 or more"):
        specdec.load(queue_limit=0)
