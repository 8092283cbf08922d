"""The checks of `specdec verify` pass a right engine and catch wrong ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

from specdec.errors import EngineFailed
from specdec.types import (
    AcceptRule,
    Completion,
    DrafterStats,
    GenerationEvent,
    Request,
    SpecStats,
    Token,
    TokenLogprob,
)
from specdec.verify import verify, verify_server
from specdec.verify.cases import Abilities, Cases
from specdec.verify.check import Check, Verdict, exit_code, shown, summary
from specdec.verify.difference import Difference, first_difference, judge
from specdec.verify.distribution import judged, p_value, same_distribution
from specdec.verify.steps import run
from tests.decoding.toy import toy_engine
from tests.fakes import SCRIPT, SCRIPTED_INFO, ScriptedEngine, end_of

ALWAYS = {"greedy text, right prediction", "distribution at T=1", "distribution at T=1, top_k=4"}
GUESSED = {"greedy text, wrong prediction", "tokens are counted as sent", "stop strings never leak"}
"""What a prediction alone makes possible: of a random model's text hardly any token is predicted."""


@pytest.mark.parametrize(
    ("kinds", "rule", "expected"),
    [
        (("near",), "rejection", {"greedy text, k=3", "max_tokens inside an accepted run", *GUESSED, *ALWAYS}),
        (("hostile", "lookup"), "rejection", {"greedy text, k=3", *ALWAYS}),
        (("prediction",), "coupled", {*GUESSED, *ALWAYS}),
    ],
)
def test_right_engines_pass(kinds: tuple[str, ...], expected: set[str], rule: AcceptRule) -> None:
    with toy_engine(*kinds, accept_rule=rule) as engine:
        checks = list(verify(engine, 150))
    assert {c.verdict for c in checks} <= {"pass", "not shown"}, checks
    assert expected <= {c.name for c in checks if c.verdict == "pass"}, checks


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
        end = end_of([event])
        usage = replace(end.usage, completion_tokens=(end.usage.completion_tokens or 0) + 1)
        return replace(event, end=replace(end, usage=usage))

    with Tampered(one_more) as engine:
        assert "tokens are counted as sent" in _failed(verify(engine, 100))


def test_leaked_stop_strings_fail() -> None:
    with ScriptedEngine(SCRIPT * 5) as engine:  # knows no stop strings
        assert "stop strings never leak" in _failed(verify(engine, 100))


def test_of_an_engine_that_cannot_speculate_nothing_is_shown() -> None:
    info = replace(SCRIPTED_INFO, speculation_unavailable="its state cannot be rolled back")
    with ScriptedEngine(info=info) as engine:
        assert [c.verdict for c in verify(engine, 100)] == ["not shown"]


def test_where_nothing_was_drafted_nothing_is_shown() -> None:
    with ScriptedEngine(SCRIPT * 5, width=1, off_reason="it does not pay") as engine:
        checks = {c.name: c for c in verify(engine, 100)}
    greedy = checks["greedy text, k=3"]
    assert (greedy.verdict, greedy.detail) == ("not shown", "accepted 0 of 0 drafted: off: it does not pay")
    assert {c.verdict for c in checks.values()} <= {"not shown", "fail"}
    assert {n for n, c in checks.items() if c.verdict == "fail"} == {"stop strings never leak"}


def test_where_nothing_was_accepted_no_answer_ended_inside_a_run() -> None:
    with ScriptedEngine() as engine:
        plain = engine.generate("x")
    rejected = replace(plain, end=replace(plain.end, stats=SpecStats(3, (DrafterStats("model", (3,), (0,), (3,)),))))
    assert shown("texts", [rejected]).verdict == "pass", "that a draft is rejected is also part of it"
    ending = shown("max_tokens", [rejected], inside=True)
    assert (ending.verdict, ending.detail) == (
        "not shown",
        "accepted 0 of 3 drafted: there was no accepted run to end in",
    )
    assert shown("max_tokens", [], inside=True).verdict == "not shown"


def test_answers_too_short_to_end_inside_show_nothing() -> None:
    with ScriptedEngine(["Hi"]) as engine:
        checks = {c.name: c for c in verify(engine, 100)}
    assert checks["max_tokens inside an accepted run"].detail == "the plain answer has no more than 1 tokens"
    assert checks["stop strings never leak"].detail == "the plain answers are too short to be stopped inside"


def test_the_same_in_every_trial_shows_no_distribution() -> None:
    with ScriptedEngine() as engine:
        check = judged("T=1", *[[engine.generate("x") for _ in range(20)] for _ in range(2)])
    assert (check.verdict, check.detail) == ("not shown", "the model says the same in every trial")


def test_the_share_of_the_work_that_is_done() -> None:
    told: list[tuple[str, float]] = []
    with ScriptedEngine(SCRIPT * 5) as engine:
        checks = list(verify(engine, 100, lambda stage, fraction: told.append((stage, fraction))))
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0
    assert fractions[-1] == pytest.approx(1.0)
    assert {"plain answers", *(c.name for c in checks)} == {stage for stage, _ in told}


def _checks(*verdicts: Verdict) -> list[Check]:
    return [Check(f"c{i}", verdict, "", 10, 4, 3) for i, verdict in enumerate(verdicts)]


OVER = "over 20 tokens and 6 accepted of 8 drafted"


@pytest.mark.parametrize(
    ("verdicts", "code", "said"),
    [
        (("pass", "pass"), 0, f"lossless as far as shown: 2 of 2 checks held, {OVER}"),
        (
            ("near-tie", "not shown", "pass"),
            3,
            f"lossless as far as shown: 2 of 3 checks held (1 but for near-ties), {OVER}; not shown: c1",
        ),
        (("pass", "fail", "not shown", "fail"), 1, "not lossless: 2 of 4 checks failed: c1; c3"),
        (("not shown",), 3, "nothing was shown, for none of 1 checks could be made; not shown: c0"),
    ],
)
def test_the_last_line_says_what_was_shown(verdicts: tuple[Verdict, ...], code: int, said: str) -> None:
    checks = _checks(*verdicts)
    assert (exit_code(checks), summary(checks)) == (code, said)


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
        end = end_of([last])
        return [
            replace(
                last,
                text="xxxxx",
                tokens=tuple(tokens),
                end=replace(end, usage=replace(end.usage, completion_tokens=4)),
            )
        ]


@pytest.mark.parametrize(("excess", "verdict"), [(0.0, "pass"), (0.15, "fail")])
def test_a_biased_rule_fails(excess: float, verdict: str) -> None:
    with Biased(excess) as engine:
        cases = Cases(engine)
        checks = list(run(list(same_distribution(cases, 1000)), cases, lambda *_: None))
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
    pooled = p_value([*common, *range(1, 9)], [*common, *range(11, 19)])
    assert pooled is not None and pooled > 0.5
    assert p_value([0] * 5, [1] * 4) is None, "too few"
    assert p_value(common, common) is None, "nothing but one token"


def _completion(ids: Sequence[int], logprobs: dict[int, float] | None = None) -> Completion:
    with ScriptedEngine() as engine:
        scores = tuple(TokenLogprob(i, f"<{i}>", score, b"") for i, score in (logprobs or {}).items())
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
        ("bfloat16", 0.8, 0.9, "not shown"),
        ("float32", 0.8, 1e-5, "fail"),
    ],
)
def test_near_ties_are_told_apart(dtype: str, temperature: float, gap: float, verdict: str) -> None:
    engine = Scored(dtype, {2: -0.5, 4: -0.5 - gap})
    found, detail = judge(engine, Request.of("x", temperature=temperature), Difference(1, 2, 4))
    assert found == verdict
    assert "they part at token 1: 2 and 4" in detail


def test_a_quick_one_looks_at_texts_alone() -> None:
    with toy_engine("near") as engine:
        checks = list(verify(engine, 150, quick=True))
    names = {check.name for check in checks}
    assert "greedy text, k=3" in names and not any("distribution" in name or "prediction" in name for name in names)
    assert {check.verdict for check in checks} <= {"pass", "not shown"}
    assert {c.name for c in checks if c.verdict == "not shown"} <= {n for n in names if "k=auto" in n}, "may stay off"
