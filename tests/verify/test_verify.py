"""The checks of `specdec verify` pass a right engine and catch wrong ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

from specdec.engine import AcceptRule
from specdec.errors import EngineFailed
from specdec.types import Completion, GenerationEvent, Request, Token, TokenLogprob
from specdec.verify import verify, verify_server
from specdec.verify.cases import Abilities, Cases
from specdec.verify.check import Check
from specdec.verify.difference import Difference, first_difference, judge
from specdec.verify.distribution import p_value, same_distribution
from tests.decoding.toy import toy_engine
from tests.fakes import SCRIPT, SCRIPTED_INFO, ScriptedEngine


@pytest.mark.parametrize("rule", ["coupled", "rejection"])
@pytest.mark.parametrize("kinds", [("near",), ("hostile", "lookup"), ("prediction",)])
def test_right_engines_pass(kinds: tuple[str, ...], rule: AcceptRule) -> None:
    with toy_engine(*kinds, accept_rule=rule) as engine:
        checks = list(verify(engine, 150))
    assert {c.verdict for c in checks} <= {"pass", "inconclusive"}, checks
    assert sum(c.verdict == "pass" for c in checks) >= 8


class Tampered(ScriptedEngine):
    """Says the script, but a wrong last event when speculating."""

    def __init__(self, change: Callable[[GenerationEvent], GenerationEvent]) -> None:
        super().__init__(SCRIPT * 5)
        self.change = change

    def _events(self, request: Request) -> list[GenerationEvent]:
        events = super()._events(request)
        if request.speculative != "off":
            events[-1] = self.change(events[-1])
        return events


def _failed(checks: Iterable[Check]) -> set[str]:
    return {c.name for c in checks if c.verdict == "fail"}


def test_wrong_text_fails() -> None:
    with ScriptedEngine(SCRIPT * 5, speculative_script=SCRIPT * 4) as engine:
        assert {"greedy text, k=3", "seeded text at T=0.8, k=3", "15 requests at once"} <= {
            name.replace("12 requests", "15 requests") for name in _failed(verify(engine, 100))
        }


def test_a_server_that_breaks_down_fails_and_ends_the_report() -> None:
    class Mortal(ScriptedEngine):
        def _events(self, request: Request) -> list[GenerationEvent]:
            if request.sampling.temperature:
                raise EngineFailed("http://host ended the answer with an error")
            return super()._events(request)

    with Mortal(SCRIPT * 5) as engine:
        *before, last = verify_server(engine, None, Abilities(switch=False, prediction=False), 100)
    assert "fail" not in {check.verdict for check in before}
    assert (last.verdict, last.detail) == (
        "fail",
        "it broke down: http://host ended the answer with an error",
    )


def test_wrong_counts_fail() -> None:
    def one_more(event: GenerationEvent) -> GenerationEvent:
        assert event.usage
        return replace(event, usage=replace(event.usage, completion_tokens=event.usage.completion_tokens + 1))

    with Tampered(one_more) as engine:
        assert "tokens are counted as sent" in _failed(verify(engine, 100))


def test_leaked_stop_strings_fail() -> None:
    with ScriptedEngine(SCRIPT * 5) as engine:  # knows no stop strings
        assert "stop strings never leak" in _failed(verify(engine, 100))


def test_an_engine_that_cannot_speculate_is_inconclusive() -> None:
    info = replace(SCRIPTED_INFO, speculation_unavailable="its state cannot be rolled back")
    with ScriptedEngine(info=info) as engine:
        assert [c.verdict for c in verify(engine, 100)] == ["inconclusive"]


class Biased(ScriptedEngine):
    """Says token 1 a little too often when it speculates."""

    def __init__(self, excess: float) -> None:
        super().__init__()
        self.excess = excess

    def _events(self, request: Request) -> list[GenerationEvent]:
        events = super()._events(request)
        seed = request.sampling.seed or 0
        share = 0.5 + (self.excess if request.speculative != "off" else 0)
        # 997 is a generator of the numbers modulo 10,007: a low-discrepancy coin
        tokens = [Token(int(seed * 997 * (i + 1) % 10_007 < share * 10_007), "x", "plain") for i in range(5)]
        last = events[-1]
        assert last.usage
        return [
            replace(last, text="xxxxx", tokens=tuple(tokens), usage=replace(last.usage, completion_tokens=4))
        ]


@pytest.mark.parametrize(("excess", "verdict"), [(0.0, "pass"), (0.15, "fail")])
def test_a_biased_rule_fails(excess: float, verdict: str) -> None:
    with Biased(excess) as engine:
        checks = list(same_distribution(Cases(engine), 1000))
    assert {c.verdict for c in checks} == {verdict}, checks


@pytest.mark.parametrize(
    ("a", "b"), [((30, 30, 40), (45, 25, 30)), ((50, 50), (50, 50)), ((10, 20, 30, 40), (40, 30, 20, 10))]
)
def test_p_value_is_scipys(a: Sequence[int], b: Sequence[int]) -> None:
    samples = [[i for i, n in enumerate(counts) for _ in range(n)] for counts in (a, b)]
    expected = stats.chi2_contingency([a, b], correction=False).pvalue
    assert p_value(*samples) == pytest.approx(expected)


def test_p_value_pools_what_is_rare() -> None:
    common = [0] * 100
    assert p_value([*common, *range(1, 9)], [*common, *range(11, 19)]) > 0.5
    assert p_value([0] * 5, [1] * 4) == 1.0


def _completion(ids: Sequence[int], logprobs: dict[int, float] | None = None) -> Completion:
    with ScriptedEngine() as engine:
        scores = tuple(TokenLogprob(i, f"<{i}>", score) for i, score in (logprobs or {}).items())
        tokens = tuple(Token(i, f"<{i}>", "plain", (logprobs or {}).get(i), scores) for i in ids)
        return replace(engine.generate("x"), tokens=tokens, text="".join(t.text for t in tokens))


def test_first_difference() -> None:
    assert first_difference(_completion([1, 2]), _completion([1, 2])) is None
    assert first_difference(_completion([1, 2, 3]), _completion([1, 4, 3])) == Difference(1, 2, 4)
    assert first_difference(_completion([1, 2]), _completion([1])) == Difference(1, 2, None)


class Scored(ScriptedEngine):
    """Its plain answer comes with logprobs."""

    def __init__(self, dtype: str, logprobs: dict[int, float]) -> None:
        super().__init__(info=replace(SCRIPTED_INFO, dtype=dtype))
        self.logprobs = logprobs

    def generate(self, prompt: Any, **options: Any) -> Completion:
        return _completion([1, 2], self.logprobs)


@pytest.mark.parametrize(
    ("dtype", "temperature", "gap", "verdict"),
    [
        ("bfloat16", 0.0, 0.1, "near-tie"),
        ("bfloat16", 0.0, 0.9, "fail"),
        ("float32", 0.0, 0.1, "fail"),
        ("float32", 0.0, 1e-5, "near-tie"),
        ("bfloat16", 0.8, 0.9, "inconclusive"),
        ("float32", 0.8, 1e-5, "fail"),
    ],
)
def test_near_ties_are_told_apart(dtype: str, temperature: float, gap: float, verdict: str) -> None:
    engine = Scored(dtype, {2: -0.5, 4: -0.5 - gap})
    found, detail = judge(engine, Request.of("x", temperature=temperature), Difference(1, 2, 4))
    assert found == verdict
    assert "they part at token 1: 2 and 4" in detail
