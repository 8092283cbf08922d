"""The same text with speculation as without: greedy, guessed, seeded, and among other requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from specdec.types import Completion, Request
from specdec.verify.cases import PROMPTS, Cases
from specdec.verify.check import Check, drafting
from specdec.verify.difference import first_difference, judge

_TEMPERATURE = 0.8
_SEEDS = (11, 12)


def greedy_texts(cases: Cases) -> Iterator[Check]:
    """Greedy, at several numbers of drafted tokens."""
    for k in cases.widths:
        yield _compared(cases, f"greedy text, k={k}", [
            (p, {"temperature": 0.0, "speculative": k}) for p in range(len(PROMPTS))
        ])  # fmt: skip


def guessed_texts(cases: Cases) -> Iterator[Check]:
    """Greedy, with a right and a wrong guess of the answer as prediction."""
    if not cases.abilities.prediction:
        return
    count = len(PROMPTS)
    forced = 4 if cases.abilities.switch else "auto"
    for name, shift in (("right", 0), ("wrong", 1)):
        yield _compared(cases, f"greedy text, {name} prediction", [
            (p, {"temperature": 0.0, "speculative": forced, "prediction": cases.plain((p + shift) % count).text or "x"})
            for p in range(count)
        ])  # fmt: skip


def seeded_texts(cases: Cases) -> Iterator[Check]:
    """Sampled with a seed."""
    for k in cases.widths:
        yield _compared(cases, f"seeded text at T={_TEMPERATURE}, k={k}", [
            (p, {"temperature": _TEMPERATURE, "seed": seed, "speculative": k})
            for p in range(len(PROMPTS)) for seed in _SEEDS
        ])  # fmt: skip


def among_others(cases: Cases) -> Iterator[Check]:
    """Several requests of different kinds at once, against each alone."""
    sampled = cases.engine.info.accept_rule == "coupled"
    asked: list[tuple[int, dict[str, Any]]] = [
        (p, {"temperature": 0.0, "seed": None, "speculative": k})
        for p in range(len(PROMPTS)) for k in cases.mixture
    ]  # fmt: skip
    if sampled:
        asked += [
            (p, {"temperature": _TEMPERATURE, "seed": _SEEDS[0], "speculative": 3})
            for p in range(len(PROMPTS))
        ]
    yield _compared(cases, f"{len(asked)} requests at once", asked, together=True)


def repeated_texts(cases: Cases) -> Iterator[Check]:
    """The same request twice: greedy, and with a seed."""
    for name, options in (
        ("greedy text", {"temperature": 0.0}),
        ("seeded text", {"temperature": _TEMPERATURE, "seed": _SEEDS[0]}),
    ):
        requests = [cases.request(p, **options) for p in range(len(PROMPTS))]
        first, second = ([cases.engine.generate(r) for r in requests] for _ in range(2))
        yield _verdict(cases, f"{name}, asked twice", requests, first, second)


def _compared(
    cases: Cases, name: str, asked: Sequence[tuple[int, dict[str, Any]]], *, together: bool = False
) -> Check:
    plain = [cases.plain(p, options["temperature"], options.get("seed")) for p, options in asked]
    requests = [cases.request(p, **options) for p, options in asked]
    with ThreadPoolExecutor(len(asked) if together else 1) as pool:
        answers = list(pool.map(cases.engine.generate, requests))
    return _verdict(cases, name, requests, plain, answers)


def _verdict(
    cases: Cases,
    name: str,
    requests: Sequence[Request],
    plain: Sequence[Completion],
    answers: Sequence[Completion],
) -> Check:
    found = Check(name, "pass", drafting(answers))
    for request, a, b in zip(requests, plain, answers, strict=True):
        if difference := first_difference(a, b):
            verdict, detail = judge(cases.plain_engine, request, difference, cases.plain_mode)
            found = Check(name, verdict, detail)
            if verdict == "fail":
                return found
    if not sum(a.stats.drafted for a in answers) and found.verdict == "pass" and _forced(requests):
        return Check(name, "inconclusive", "nothing was drafted")
    return found


def _forced(requests: Sequence[Request]) -> bool:
    """Whether drafts were asked for; `auto` may well find that they do not pay."""
    return any(isinstance(r.speculative, int) and r.speculative for r in requests)
