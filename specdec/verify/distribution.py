"""Is what speculation samples distributed as what the target samples? Two samples, one chi-square per position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from specdec.engine import Engine
from specdec.types import Completion, Speculative
from specdec.verify.cases import Cases
from specdec.verify.check import Check, Verdict

_PROMPT = "One day, a"
"""Raw, so that much may follow: after a question a model is often nearly certain, and certainty hides a bias."""
_POSITIONS = 5
_MIN_BIN = 10
"""Rarer tokens are counted together: chi-square needs some of each."""
_FAIL, _DOUBT = 1e-6, 1e-3
"""p-values: a right engine fails once in 100,000 runs or so."""


def same_distribution(cases: Cases, trials: int) -> Iterator[Check]:
    """At temperature 1 over the whole vocabulary, and over few tokens, where a bias shows sooner."""
    open_ended = {"max_tokens": _POSITIONS, "ignore_eos": True}
    greedy = cases.engine.generate(_PROMPT, temperature=0.0, **open_ended)
    guess = (
        {"prediction": greedy.text or "x"} if cases.abilities.prediction else {}
    )  # something to draft from
    forced: Speculative = _POSITIONS - 1 if cases.abilities.switch else "auto"
    for name, shaping in (("T=1", {}), ("T=1, top_k=4", {"top_k": 4})):
        options = {"temperature": 1.0, **open_ended, **shaping}
        plain = _sample(cases, cases.plain_engine, range(trials), cases.plain_mode, options)
        drafted = _sample(cases, cases.engine, range(trials, 2 * trials), forced, options | guess)
        yield _judge(f"distribution at {name}", plain, drafted)


def _sample(
    cases: Cases, engine: Engine, seeds: Sequence[int], speculative: Speculative, options: Any
) -> list[Completion]:
    def one(seed: int) -> Completion:
        return engine.generate(_PROMPT, seed=seed, speculative=speculative, **options)

    with ThreadPoolExecutor(cases.engine.info.slots) as pool:
        return list(pool.map(one, seeds))


def _judge(name: str, plain: Sequence[Completion], drafted: Sequence[Completion]) -> Check:
    p = min(p_value(*([a.token_ids[i] for a in s] for s in (plain, drafted))) for i in range(_POSITIONS))
    accepted, proposed = sum(a.stats.accepted for a in drafted), sum(a.stats.drafted for a in drafted)
    verdict: Verdict = "fail" if p < _FAIL else "inconclusive" if p < _DOUBT or not proposed else "pass"
    seen = f"accepted {accepted} of {proposed} drafted" if proposed else "nothing was drafted"
    return Check(name, verdict, f"{len(plain)} trials, smallest p of {_POSITIONS} positions {p:.2g}, {seen}")


def p_value(first: Sequence[int], second: Sequence[int]) -> float:
    """Of the hypothesis that two samples of the same size come from one distribution."""
    a, b = _bins(Counter(first), Counter(second))
    if len(a) < 2:
        return 1.0
    statistic = sum((x - y) ** 2 / (x + y) for x, y in zip(a, b, strict=True))
    return _chi_square_tail(statistic, len(a) - 1)


def _bins(first: Counter[int], second: Counter[int]) -> tuple[list[int], list[int]]:
    both = first + second
    common = [t for t, n in both.items() if n >= _MIN_BIN]
    a, b = [first[t] for t in common], [second[t] for t in common]
    rare = first.total() - sum(a), second.total() - sum(b)
    if sum(rare) >= _MIN_BIN:
        return [*a, rare[0]], [*b, rare[1]]
    return a, b


def _chi_square_tail(statistic: float, freedom: int) -> float:
    import torch

    half = torch.tensor([freedom / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))
