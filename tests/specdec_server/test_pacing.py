"""Smooth pacing: the same text, a token at a time, spread over the rounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from itertools import count

import pytest

from specdec.types import ContentDelta, GenerationEvent, ReasoningDelta, Token
from specdec_server import Settings, pacing
from specdec_server.merging import Numbered
from specdec_server.pacing import pieces_of, smooth
from specdec_server.settings import Pacing
from tests.fakes import SCRIPT, ScriptedEngine
from tests.specdec_server.client import AppClient, content, deltas


def event(*texts: str) -> GenerationEvent:
    tokens = tuple(Token(i, text, "plain") for i, text in enumerate(texts))
    return GenerationEvent("r", "".join(texts), tokens, deltas=(ContentDelta("".join(texts)),))


def test_pieces_are_tokens() -> None:
    assert [p.text for p in pieces_of(event("a", "b", "c"))] == ["a", "b", "c"]
    assert [p.deltas for p in pieces_of(event("a", "b"))] == [(ContentDelta("a"),), (ContentDelta("b"),)]


def test_what_is_not_plain_text_stays_whole() -> None:
    thought = GenerationEvent("r", "ab", event("a", "b").tokens, deltas=(ReasoningDelta("ab"),))
    assert list(pieces_of(thought)) == [thought]


async def test_the_same_answer_in_smaller_parts(engine: ScriptedEngine) -> None:
    chunks = await AppClient(engine, Settings(pacing="smooth")).chat_chunks()
    assert content(chunks) == "".join(SCRIPT)
    assert len([d for d in deltas(chunks) if d.get("content")]) == len(SCRIPT)
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("pacing", ["round", "smooth"])
async def test_figures_come_once(engine: ScriptedEngine, pacing: Pacing) -> None:
    chunks = await AppClient(engine, Settings(pacing=pacing)).chat_chunks(n=3)
    assert [i for i, chunk in enumerate(chunks) if "timings" in chunk] == [len(chunks) - 1]


async def test_pieces_are_spread_over_the_time_of_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes a second a round."""
    waited: list[float] = []

    async def pause(_: object, seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(pacing, "_pause", pause)
    now = count()
    first, second = asyncio.Event(), asyncio.Event()
    events = held([event("a"), event("b", "c", "d", "e")], [first, second])
    first.set()
    paced = smooth(events, lambda: float(next(now)))
    assert (await anext(paced))[1].text == "a"
    second.set()
    assert [(await anext(paced))[1].text for _ in range(4)] == ["b", "c", "d", "e"]
    assert waited == [pytest.approx(pacing._LONGEST / 4)] * 3
    await paced.aclose()


async def held(events: Sequence[GenerationEvent], gates: Sequence[asyncio.Event]) -> AsyncGenerator[Numbered]:
    for item, gate in zip(events, gates, strict=True):
        await gate.wait()
        yield 0, item
    await asyncio.Event().wait()


async def test_what_is_late_goes_out_at_once() -> None:
    """Once the next round is there, nobody waits for the last."""
    gates = [asyncio.Event() for _ in range(3)]
    for gate in gates:
        gate.set()
    paced = smooth(held([event(*"abc"), event(*"def"), event(*"ghi")], gates))
    async with asyncio.timeout(5):
        texts = [(await anext(paced))[1].text for _ in range(9)]
    assert "".join(texts) == "abcdefghi"
    await paced.aclose()
