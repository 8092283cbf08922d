"""Slots that share few pages: who waits goes on with the same text, nothing that fits alone fails, nothing is lost."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch

from specdec.decoding.engine import LocalEngine
from specdec.decoding.sequence import Running
from specdec.errors import OutOfMemory, PromptTooLong
from specdec.models.base import DECODE_ROWS, Batch, Pass
from specdec.models.pages import PagedPrefixes, PoolFull
from tests.decoding.toy import PagedToy, ToyModel, toy_engine
from tests.engine_contract import eventually
from tests.models.test_pages import check

PAGES, CONTEXT = 90, 89 * PagedToy.page - DECODE_ROWS
DRAFTERS = ("near", "lookup")


def asked(number: int) -> tuple[list[int], dict[str, Any]]:
    rng = random.Random(number)
    prompt = [*range(60), *(rng.randrange(256) for _ in range(rng.randrange(1, 60)))][rng.randrange(2) * 40 :]
    how: dict[str, Any] = {"temperature": 0.9, "seed": number, "ignore_eos": True, "max_tokens": rng.randrange(1, 200)}
    return prompt, how


@pytest.fixture(scope="module")
def alone() -> list[tuple[int, ...]]:
    with toy_engine(target=ToyModel(context=CONTEXT, slots=1)) as engine:
        return [engine.generate(prompt, **how).token_ids for prompt, how in map(asked, range(40))]


@pytest.fixture
def paged() -> Iterator[tuple[PagedToy, LocalEngine]]:
    target = PagedToy(PAGES, slots=6, context=CONTEXT)
    target.info = replace(target.info, known=999)
    with toy_engine(*DRAFTERS, target=target, kept=PAGES * PagedToy.page) as engine:
        yield target, engine


def emptied(target: PagedToy, engine: LocalEngine) -> bool:
    prefixes = target.state.prefixes
    assert isinstance(prefixes, PagedPrefixes)
    return engine._scheduler.idle and not any(prefixes._held)


def test_who_waits_goes_on_with_the_same_text(
    paged: tuple[PagedToy, LocalEngine], alone: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, engine = paged
    paused, pause = [], engine._scheduler.pause

    def noting() -> Any:
        paused.append(row := pause())
        return row

    monkeypatch.setattr(engine._scheduler, "pause", noting)
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda n: engine.generate(asked(n)[0], **asked(n)[1]), range(40)))
    assert [answer.token_ids for answer in found] == alone
    assert paused
    assert all(row is not None for row in paused)
    assert all((answer.usage.cached_tokens or 0) < len(asked(n)[0]) for n, answer in enumerate(found))
    eventually(lambda: emptied(target, engine))
    check(target, target.state.prefixes)  # type: ignore[arg-type]


def test_random_requests_and_cancels_leave_nothing_behind(
    paged: tuple[PagedToy, LocalEngine], alone: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some leave early, and now and then the device has no memory for a pass."""
    target, engine = paged
    rng, run = random.Random(1), target.run

    def short(batch: Batch) -> Pass:
        if rng.random() < 0.004:
            raise torch.OutOfMemoryError
        return run(batch)

    monkeypatch.setattr(target, "run", short)

    def one(number: int) -> str:
        prompt, how = asked(number % 40)
        stream, got = engine.stream(prompt, **how), list[int]()
        stays = random.Random(1000 + number).choice([0, 1, 5, 1000, 1000])
        try:
            for event in stream:
                got += [token.id for token in event.tokens]
                if len(got) >= stays:
                    break
        except OutOfMemory:
            return "failed"
        finally:
            stream.close()
        assert tuple(got) == alone[number % 40][: len(got)]
        return "left" if len(got) >= stays else "done"

    with ThreadPoolExecutor(30) as pool:
        ends = list(pool.map(one, range(200)))
    assert {"failed", "left", "done"} == set(ends)
    assert ends.count("failed") < 40
    eventually(lambda: emptied(target, engine))
    check(target, target.state.prefixes)  # type: ignore[arg-type]
    draft = engine._rounds._drafting._drafters["model"]
    assert draft.device is None
    monkeypatch.undo()
    again = [engine.generate(prompt, **how).token_ids for prompt, how in map(asked, range(10))]
    assert again == alone[:10]


def test_who_gave_its_slot_up_in_a_step_is_not_read_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [[1, 2, 3], [*range(100)], [*range(50, 150)]]
    how: dict[str, Any] = {"temperature": 0, "max_tokens": 9, "ignore_eos": True}
    with toy_engine(target=ToyModel(slots=1)) as engine:
        alone = [engine.generate(prompt, **how).token_ids for prompt in prompts]
    read = []
    with toy_engine(target=PagedToy(200, slots=3)) as engine:
        advance = engine._prefill.advance

        def short_once(row: Running) -> torch.Tensor | None:
            read.append(engine._runs(row))
            if row.tokens[:100] == prompts[1] and len(read) == 2:
                raise PoolFull
            return advance(row)

        monkeypatch.setattr(engine._prefill, "advance", short_once)
        answer = engine.stream(prompts[0], **{**how, "max_tokens": 300})
        next(answer)
        with engine._wake:  # so that both are read in one step
            others = [engine.stream(prompt, **how) for prompt in prompts[1:]]
        texts = [tuple(token.id for event in other for token in event.tokens) for other in others]
        answer.close()
    assert texts == alone[1:]
    assert len(read) > 3
    assert all(read)


def test_a_prompt_too_long_for_the_pool_is_refused_at_the_call(paged: tuple[PagedToy, LocalEngine]) -> None:
    _, engine = paged
    expected = f"too long: {CONTEXT + 5} tokens; expected at most {CONTEXT - 1} tokens .*: the model goes up to 999; "
    with pytest.raises(PromptTooLong, match=expected):
        engine.stream([7] * (CONTEXT + 5))
    assert len(engine.generate([7] * (CONTEXT - 3), max_tokens=3, ignore_eos=True).token_ids) == 3


def test_nobody_is_let_in_for_whom_there_is_no_room() -> None:
    """One that runs needs most of the pool; a second one waits, and a third behind it."""
    target = PagedToy(PAGES, slots=4, context=CONTEXT)
    with toy_engine(target=target, kept=0) as engine:
        how: dict[str, Any] = {"temperature": 0, "ignore_eos": True, "max_tokens": 20}
        first = engine.stream([5] * 280, **how)
        next(iter(first))
        second, third = engine.stream([6] * 100, **how), engine.stream([7] * 3, **how)
        eventually(lambda: engine.stats().queued == 2)
        assert engine.stats().active == 1
        for stream in (first, second, third):
            assert sum(len(event.tokens) for event in stream) >= 19
