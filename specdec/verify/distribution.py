"""Is what speculation samples distributed as what the target samples? Two samples, one chi-square per position."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from specdec.engine import Engine
from specdec.types import Completion, Request, RequestOptions
from specdec.verify.cases import Cases
from specdec.verify.check import Check, shown
from specdec.verify.steps import Step

_PROMPT = "One day, a"
"""Raw, so that much may follow: after a question a model is often nearly certain, and certainty hides a bias."""
_POSITIONS = 5
_MIN_BIN = 10
"""Rarer tokens are counted together: chi-square needs some of each."""
_FAIL, _DOUBT = 1e-6, 1e-3
"""p-values: a right engine fails once in 100,000 runs or so."""


def same_distribution(cases: Cases, trials: int) -> Iterator[Step]:
    """At temperature 1 over the whole vocabulary, and over few tokens, where a bias shows sooner."""

    def compare(name: str, top_k: int | None) -> Check:
        if not cases.plain(0).tokens:
            return Check(name, "not shown", "the server sends no token ids")
        options: RequestOptions = {"temperature": 1.0, "top_k": top_k, "max_tokens": _POSITIONS, "ignore_eos": True}
        drafting: RequestOptions = {"speculative": _POSITIONS - 1 if cases.abilities.switch else "auto"}
        if cases.abilities.prediction:  # something to draft from
            greedy: RequestOptions = {**options, "temperature": 0.0, "top_k": None}
            drafting["prediction"] = cases.engine.generate(_PROMPT, **greedy).text or "x"
        plain = _sample(cases, cases.plain_engine, range(trials), {**options, "speculative": cases.plain_mode})
        return judged(name, plain, _sample(cases, cases.engine, range(trials, 2 * trials), {**options, **drafting}))

    for kind, top_k in (("T=1", None), ("T=1, top_k=4", 4)):
        name = f"distribution at {kind}"
        yield Step(name, partial(compare, name, top_k), 2 * trials, _POSITIONS + 1, cases.engine.info.slots)


def _sample(cases: Cases, engine: Engine, seeds: Sequence[int], options: RequestOptions) -> list[Completion]:
    def one(seed: int) -> Completion:
        return cases.ask(engine, Request.of(_PROMPT, seed=seed, **options))

    with ThreadPoolExecutor(cases.engine.info.slots) as pool:
        return list(pool.map(one, seeds))


def judged(name: str, plain: Sequence[Completion], drafted: Sequence[Completion]) -> Check:
    """Whether the two samples come from one distribution, as far as they can tell."""
    found = shown(name, drafted)
    # The end of an answer is an outcome as any other.
    outcomes = [[(*a.token_ids, *[-1] * _POSITIONS)[:_POSITIONS] for a in sample] for sample in (plain, drafted)]
    columns = zip(*(zip(*sample, strict=True) for sample in outcomes), strict=True)
    values = [p for a, b in columns if (p := p_value(a, b)) is not None]
    if not values:
        return replace(found, verdict="not shown", detail="the model says the same in every trial")
    p = min(values)
    detail = f"{len(plain)} trials, smallest p of {len(values)} positions {p:.2g}, {found.detail}"
    if p < _FAIL:
        return replace(found, verdict="fail", detail=detail)
    if p < _DOUBT:
        return replace(found, verdict="not shown", detail=f"{detail}: doubtful, take more --trials")
    return replace(found, detail=detail)


def p_value(first: Sequence[int], second: Sequence[int]) -> float | None:
    """Of the hypothesis that two samples of the same size come from one distribution: the tail of chi-square. None:
    nearly all are one token, and nothing can be told by them."""
    counts = Counter(first), Counter(second)
    common = [token for token, n in (counts[0] + counts[1]).items() if n >= _MIN_BIN]
    a, b = ([count[token] for token in common] for count in counts)
    rare = len(first) - sum(a), len(second) - sum(b)
    if sum(rare) >= _MIN_BIN:
        a, b = [*a, rare[0]], [*b, rare[1]]
    if len(a) < 2:
        return None
    statistic = sum((x - y) ** 2 / (x + y) for x, y in zip(a, b, strict=True))
    return chi_square_tail(statistic, len(a) - 1)


def chi_square_tail(statistic: float, degrees: int) -> float:
    """The probability of more: of one degree or of two, and a term for every two more."""
    half = statistic / 2
    if not half:
        return 1.0
    a, tail = (0.5, math.erfc(math.sqrt(half))) if degrees % 2 else (1.0, math.exp(-half))
    while a < degrees / 2:
        tail += math.exp(a * math.log(half) - half - math.lgamma(a + 1))
        a += 1
    return tail
