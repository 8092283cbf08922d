"""Is what speculation samples distributed as what the target samples? Two samples, one chi-square per position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from specdec.engine import Engine
from specdec.types import Completion, Request, Speculative
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
    for kind, shaping in (("T=1", {}), ("T=1, top_k=4", {"top_k": 4})):
        name = f"distribution at {kind}"
        make = partial(_compared, cases, name, trials, shaping)
        yield Step(name, make, 2 * trials, _POSITIONS + 1, cases.engine.info.slots)


def _compared(cases: Cases, name: str, trials: int, shaping: dict[str, int]) -> Check:
    if not cases.plain(0).tokens:
        return Check(name, "not shown", "the server sends no token ids")
    options: dict[str, Any] = {"temperature": 1.0, "max_tokens": _POSITIONS, "ignore_eos": True} | shaping
    plain = _sample(cases, cases.plain_engine, range(trials), options | {"speculative": cases.plain_mode})
    forced: Speculative = _POSITIONS - 1 if cases.abilities.switch else "auto"
    drafted = _sample(cases, cases.engine, range(trials, 2 * trials), options | _guess(cases) | {"speculative": forced})
    return judged(name, plain, drafted)


def _guess(cases: Cases) -> dict[str, str]:
    """Something to draft from, where it is taken."""
    if not cases.abilities.prediction:
        return {}
    greedy = cases.engine.generate(_PROMPT, temperature=0.0, max_tokens=_POSITIONS, ignore_eos=True)
    return {"prediction": greedy.text or "x"}


def _sample(cases: Cases, engine: Engine, seeds: Sequence[int], options: dict[str, Any]) -> list[Completion]:
    def one(seed: int) -> Completion:
        return cases.ask(engine, Request.of(_PROMPT, seed=seed, **options))

    with ThreadPoolExecutor(cases.engine.info.slots) as pool:
        return list(pool.map(one, seeds))


def judged(name: str, plain: Sequence[Completion], drafted: Sequence[Completion]) -> Check:
    """Whether the two samples come from one distribution, as far as they can tell."""
    found = shown(name, drafted)
    columns = ([[_token(a, i) for a in sample] for sample in (plain, drafted)] for i in range(_POSITIONS))
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


def _token(answer: Completion, position: int) -> int:
    """The end of an answer is an outcome as any other."""
    return answer.token_ids[position] if position < len(answer.tokens) else -1


def p_value(first: Sequence[int], second: Sequence[int]) -> float | None:
    """Of the hypothesis that two samples of the same size come from one distribution. None: nearly all are one token,
    and nothing can be told by them."""
    a, b = _bins(Counter(first), Counter(second))
    if len(a) < 2:
        return None
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
