"""One answer has the same figures wherever they are shown. What each means: docs/measuring.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage
from typer.testing import CliRunner

from langchain_specdec import ChatSpecDec
from llama_index.llms.specdec import SpecDec
from specdec.cli import app, screen
from specdec.types import DrafterStats, FinishReason, GenerationEvent, Request, Round, Timing, Usage
from tests.fakes import ScriptedEngine
from tests.specdec_server.client import AppClient
from tests.specdec_tui.running import running

TIMING = Timing(queued=0.004, ttft=0.012, total=0.052)
DRAFTED, ACCEPTED, TESTED = (4, 3), (3, 1), (4, 3)
ROUNDS = 8
SPEED = 325.0
"""13 tokens after the first in 40 ms."""
RATE, LENGTH, POSITIONS = 4 / 7, 1.5, [3 / 4, 1 / 3]


class Drafting(ScriptedEngine):
    """Its answers have these figures."""

    def _last(
        self,
        event: GenerationEvent,
        request: Request,
        usage: Usage,
        rounds: Sequence[Round | None],
        finish: FinishReason,
    ) -> GenerationEvent:
        last = super()._last(event, request, usage, rounds, finish)
        assert last.end
        stats = replace(last.end.stats, rounds=ROUNDS, drafters=(DrafterStats("model", DRAFTED, ACCEPTED, TESTED),))
        return replace(last, end=replace(last.end, timing=TIMING, stats=stats))


def _command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[str, str]:
    monkeypatch.setattr(screen, "load_engine", lambda _options, _progress: Drafting())
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout, done.stderr


def test_generate(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "14 tokens · 325 tokens/s · TTFT 12 ms · accepted 57% of 7 drafted · acceptance length 1.50"
    assert line in _command(monkeypatch, "generate", "Hello")[1]
    found = json.loads(_command(monkeypatch, "generate", "Hello", "--json")[0])
    assert found["tokens_per_second"] == pytest.approx(SPEED)
    assert found["timing"] == asdict(TIMING)
    _speculated(found["stats"])


def test_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("bench", "--category", "story", "--limit", "1", "--repeats", "1", "--temperature", "0", "--json")
    (row,) = json.loads(_command(monkeypatch, *options)[0])["rows"]
    assert row["plain"] == pytest.approx(SPEED) and row["speed_up"] == pytest.approx(1)
    assert row["acceptance_length"] == LENGTH
    assert row["acceptance_per_position"] == pytest.approx(POSITIONS)


async def test_endpoint() -> None:
    found = await AppClient(Drafting()).chat()
    timings, speculated = found["timings"], found["metrics"]["speculative_decoding"]
    assert timings["predicted_per_second"] == pytest.approx(SPEED)
    assert timings["queued_ms"] + timings["prompt_ms"] == pytest.approx(1000 * TIMING.ttft)
    assert (timings["draft_n"], timings["draft_n_accepted"]) == (7, 4)
    assert found["usage"]["completion_tokens"] == timings["predicted_n"] == 14
    assert speculated["draft_acceptance_rate"] == RATE
    assert speculated["mean_acceptance_length"] == LENGTH
    assert speculated["acceptance_per_position"] == pytest.approx(POSITIONS)


def test_frameworks() -> None:
    langchain = ChatSpecDec(engine=Drafting()).invoke("Hello").response_metadata
    llama_index = SpecDec(engine=Drafting()).chat([ChatMessage("Hello")]).additional_kwargs
    for found in (langchain, llama_index):
        assert found["timing"] == asdict(TIMING) | {"tokens_per_second": pytest.approx(SPEED)}
        _speculated(found["speculative"])


async def test_chat() -> None:
    async with running(Drafting()) as chat:
        await chat.ready()
        await chat.pilot.press("f6")
        await chat.ask("Hello")
        line = "325 tokens/s · acceptance 57%, length 1.50 · 14 tokens · TTFT 12.0 ms"
        await chat.until(lambda: line in chat.text_of("AnswerView .meta"))

        def gauge() -> str:
            return " ".join(chat.text_of("GaugePanel #body").split())  # its columns aside

        await chat.until(lambda: "acceptance 57% length 1.50" in gauge())
        for figure in ("mean 325 TTFT 12.0 ms", " 75%", " 33%"):
            assert figure in gauge()
        await chat.pilot.resize_terminal(60, 20)  # what has no room is left out, and nothing wraps
        await chat.until(lambda: chat.text_of("AnswerView .meta") == line[: line.index(" · 14 tokens")])
        assert chat.app.screen.query_one("AnswerView .meta").size.height == 1


def _speculated(found: dict[str, Any]) -> None:
    assert (found["rounds"], found["drafted"], found["accepted"]) == (ROUNDS, 7, 4)
    assert (found["acceptance_rate"], found["acceptance_length"]) == (RATE, LENGTH)
    assert found["acceptance_per_position"] == pytest.approx(POSITIONS)
