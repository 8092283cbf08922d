"""The same text with speculation as without: greedy, guessed, seeded, and among other requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from specdec.types import Completion, Request
from specdec.verify.cases import LENGTH, PROMPTS, Cases
from specdec.verify.check import Check, shown
from specdec.verify.difference import first_difference, judge
from specdec.verify.steps import Step

_TEMPERATURE = 0.8
SEEDS = (11, 12)
_EACH = range(len(PROMPTS))
PromptOptions = Sequence[tuple[int, dict[str, Any]]]
"""Numbers of prompts, each with the options of its request."""


def plain_answers(cases: Cases, seeds: Sequence[int] = ()) -> Iterator[Step]:
    """What the others are compared with."""

    def make() -> None:
        for p in _EACH:
            cases.plain(p)
            for seed in seeds:
                cases.plain(p, _TEMPERATURE, seed)

    yield Step("plain answers", make, len(_EACH) * (1 + len(seeds)), LENGTH)


def greedy_texts(cases: Cases) -> Iterator[Step]:
    """Greedy, at several numbers of drafted tokens."""
    for k in cases.widths:
        prompts = [(p, {"temperature": 0.0, "speculative": k}) for p in _EACH]
        yield _comparison(cases, f"greedy text, k={k}", prompts)


def guessed_texts(cases: Cases) -> Iterator[Step]:
    """Greedy, with a right and a wrong guess of the answer as prediction."""

    def make(name: str, shift: int) -> Check:
        forced = 4 if cases.abilities.switch else "auto"
        guesses = [cases.plain((p + shift) % len(_EACH)).text or "x" for p in _EACH]
        shared = {"temperature": 0.0, "speculative": forced}
        return _compared(cases, name, [(p, {**shared, "prediction": guesses[p]}) for p in _EACH])

    if cases.abilities.prediction:
        for name, shift in (("greedy text, right prediction", 0), ("greedy text, wrong prediction", 1)):
            yield Step(name, partial(make, name, shift), len(_EACH), LENGTH)


def seeded_texts(cases: Cases) -> Iterator[Step]:
    """Sampled with a seed."""
    for k in cases.widths:
        prompts = [(p, {"temperature": _TEMPERATURE, "seed": seed, "speculative": k}) for p in _EACH for seed in SEEDS]
        yield _comparison(cases, f"seeded text at T={_TEMPERATURE}, k={k}", prompts)


def among_others(cases: Cases) -> Iterator[Step]:
    """Several requests of different kinds at once, against each alone."""
    prompts: list[tuple[int, dict[str, Any]]] = [
        (p, {"temperature": 0.0, "seed": None, "speculative": k}) for p in _EACH for k in cases.mixture
    ]
    if cases.engine.info.accept_rule == "coupled":
        prompts += [
            (p, {"temperature": _TEMPERATURE, "seed": SEEDS[0], "speculative": cases.mixture[-1]}) for p in _EACH
        ]
    yield _comparison(cases, f"{len(prompts)} requests at once", prompts, at_once=len(prompts))


def repeated_texts(cases: Cases) -> Iterator[Step]:
    """The same request twice: greedy, and with a seed."""

    def make(name: str, options: dict[str, Any]) -> Check:
        requests = [cases.request(p, **options) for p in _EACH]
        first, second = ([cases.ask(cases.engine, r) for r in requests] for _ in range(2))
        held = shown(name, second)
        if not held.drafted:  # it says something of seeds even so
            held = replace(held, verdict="pass", detail=f"{held.tokens} tokens")
        return _verdict(cases, held, requests, first, second)

    for kind, options in (
        ("greedy text", {"temperature": 0.0}),
        ("seeded text", {"temperature": _TEMPERATURE, "seed": SEEDS[0]}),
    ):
        name = f"{kind}, asked twice"
        yield Step(name, partial(make, name, options), 2 * len(_EACH), LENGTH)


def _comparison(cases: Cases, name: str, prompts: PromptOptions, at_once: int = 1) -> Step:
    make = partial(_compared, cases, name, prompts, at_once)
    return Step(name, make, len(prompts), LENGTH, min(at_once, cases.engine.info.slots))


def _compared(cases: Cases, name: str, prompts: PromptOptions, at_once: int = 1) -> Check:
    plain = [cases.plain(p, options["temperature"], options.get("seed")) for p, options in prompts]
    requests = [cases.request(p, **options) for p, options in prompts]
    with ThreadPoolExecutor(at_once) as pool:
        answers = list(pool.map(partial(cases.ask, cases.engine), requests))
    drafting = [a for r, a in zip(requests, answers, strict=True) if r.speculative != "off"]
    return _verdict(cases, shown(name, drafting), requests, plain, answers)


def _verdict(
    cases: Cases,
    held: Check,
    requests: Sequence[Request],
    plain: Sequence[Completion],
    answers: Sequence[Completion],
) -> Check:
    """`held`, if no answer is another than the plain one."""
    found = held
    for request, a, b in zip(requests, plain, answers, strict=True):
        if difference := first_difference(a, b):
            verdict, detail = judge(cases.plain_engine, request, difference, cases.plain_mode)
            found = replace(held, verdict=verdict, detail=detail)
            if verdict == "fail":
                break
    return found
