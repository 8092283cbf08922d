"""Rates, ratios and orders of the bench, and the prompts that it reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specdec.bench.figures import Figure
from specdec.bench.plain import Mode, plain_and_speculative
from specdec.bench.prompts import BenchPrompt, built_in, from_file
from specdec.bench.timing import (
    System,
    counted,
    interleaved,
    ratio,
    speed,
    tokens_per_second,
)
from specdec.errors import InvalidRequest
from specdec.types import Completion, Ending, Message, SpecStats, Timing, Token, Usage
from tests.fakes import SCRIPT, ScriptedEngine


def sample(tokens: int, seconds: float, ttft: float = 1.0) -> Completion:
    end = Ending("stop", Usage(1, tokens), Timing(0.0, ttft, ttft + seconds), SpecStats(0), 0)
    return Completion("", "", tuple(Token(i, "", "plain") for i in range(tokens)), end, Message("assistant", ""))


def test_rates_are_pooled_over_answers() -> None:
    assert tokens_per_second([sample(11, 1), sample(31, 3)]) == pytest.approx(10)
    assert tokens_per_second([sample(11, 1), sample(1, 9)]) == pytest.approx(10), "one token has no decode time"
    assert tokens_per_second([]) == 0


def test_order_turns_around() -> None:
    order: list[str] = []

    def system(name: str) -> System:
        def answer() -> Completion:
            order.append(name)
            return sample(2, 1)

        return answer

    prompts = [{n: system(n + at) for n in "ab"} for at in "12"]
    told: list[tuple[str, float]] = []
    runs = interleaved(prompts, 2, "story", counted(lambda *done: told.append(done), 8))
    assert order == ["a1", "b1", "b2", "a2", "b1", "a1", "a2", "b2"]
    assert [{n: len(s) for n, s in run.items()} for run in runs] == [{"a": 2, "b": 2}] * 2
    assert told[0] == ("story: a, prompt 1 of 2", 0.0), "before it begins"
    assert told[-1] == ("story: b, prompt 2 of 2", 7 / 8)


def test_ratios_are_medians_of_each_repeat() -> None:
    runs = [{"fast": [sample(11, 1 / f)], "slow": [sample(11, 1 / s)]} for f, s in ((2, 1), (30, 10), (8, 1))]
    assert ratio(runs, "fast", "slow") == pytest.approx(3)
    assert speed(runs, "slow") == pytest.approx(10)


def test_figures_know_their_direction() -> None:
    assert Figure("speed", 1.6, 1.5).met
    assert not Figure("speed", 1.4, 1.5).met
    assert Figure("memory", 1.0, 1.1, at_most=True).met
    assert not Figure("memory", 1.2, 1.1, at_most=True).met


def _modes(engine: ScriptedEngine) -> dict[str, Mode]:
    return {"plain": Mode(engine, "off"), "speculative": Mode(engine, "auto")}


def test_rows() -> None:
    with ScriptedEngine() as engine:
        prompts = [BenchPrompt("a", (Message("user", "x"),)), BenchPrompt("b", (Message("user", "y"),))]
        told: list[float] = []
        measured = plain_and_speculative(
            _modes(engine), prompts, [0.0, 0.8], max_tokens=50, repeats=2, progress=lambda _, done: told.append(done)
        )
        rows = list(measured)
    assert [(r.category, r.temperature) for r in rows] == [("a", 0.0), ("a", 0.8), ("b", 0.0), ("b", 0.8)]
    assert told == [i / 16 for i in range(16)]
    row = rows[0]
    assert (row.plain, row.speculative) == pytest.approx((250, 650))
    assert (row.speed_up, row.acceptance_length) == pytest.approx((2.6, 2.6))
    assert (row.identical, row.answers, row.tokens) == (2, 2, len(SCRIPT))


def test_modes_differ_only_in_speculation() -> None:
    with ScriptedEngine() as engine:
        prompts = [BenchPrompt("a", (Message("user", "x"),))]
        list(plain_and_speculative(_modes(engine), prompts, [0.8], max_tokens=50, repeats=1))
        plain, speculative = (r for r in engine.requests if r.sampling.max_tokens == 50)
    assert (plain.speculative, speculative.speculative) == ("off", "auto")
    assert (plain.prompt, plain.sampling) == (speculative.prompt, speculative.sampling)
    assert not plain.remember and not speculative.remember, "a server would draft the second from the first"


def test_built_in_prompts() -> None:
    prompts = built_in()
    assert {p.category for p in prompts} == {"story", "copy", "chat", "tools", "json"}
    assert all(p.messages[-1].role == "user" for p in prompts)
    assert all(p.tools for p in prompts if p.category == "tools")
    assert {p.category for p in built_in(["copy"])} == {"copy"}
    with pytest.raises(InvalidRequest, match="category is 'poem'"):
        built_in(["poem"])


@pytest.mark.parametrize(
    ("record", "messages"),
    [
        ({"prompt": "p"}, (Message("user", "p"),)),
        ({"text": "t", "id": 3}, (Message("user", "t"),)),
        ({"question": "q", "answer": "a"}, (Message("user", "q"),)),
        ({"turns": ["one", "two"], "category": "writing"}, (Message("user", "one"),)),
        (
            {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]},
            (Message("system", "s"), Message("user", "u")),
        ),
    ],
)
def test_jsonl_in_its_usual_shapes(tmp_path: Path, record: dict[str, object], messages: tuple[Message, ...]) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(record) + "\n\n")
    (prompt,) = from_file(path)
    assert prompt.messages == messages
    assert prompt.category == record.get("category", "mine")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"prompt": "x"}\nnot json', "a.jsonl:2 is 'not json'"),
        (
            "a.jsonl",
            '{"story": "x"}',
            "expected a JSON object with one of messages, turns, prompt, text, question",
        ),
        ("a.jsonl", '["x"]', "expected a JSON object"),
        ("a.txt", "\n\n", "expected a file with at least one prompt"),
        ("a.csv", "x", r"expected a \.txt or \.jsonl file"),
        ("a.jsonl", "\udcff", "a file of text in UTF-8"),
        ("a.jsonl", '{"prompt": "x"}\n{"prompt": 5}', r"a\.jsonl:2: messages\.content is 5"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InvalidRequest, match=said):
        from_file(tmp_path / name)


def test_a_chat_without_a_template_is_its_words() -> None:
    prompt = BenchPrompt("a", (Message("system", "s"), Message("user", "u")))
    assert prompt.content(chat=True) == prompt.messages
    assert prompt.content(chat=False) == "s\n\nu"
