"""Checks, on a user's own pair, that speculation changes nothing but the speed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from specdec.engine import Engine, Progress
from specdec.errors import EngineError
from specdec.types import Speculative
from specdec.verify.cases import Abilities, Cases
from specdec.verify.check import Check
from specdec.verify.distribution import same_distribution
from specdec.verify.endings import endings
from specdec.verify.steps import Step, run
from specdec.verify.texts import (
    SEEDS,
    among_others,
    greedy_texts,
    guessed_texts,
    plain_answers,
    repeated_texts,
    seeded_texts,
)


def _silent(_stage: str, _fraction: float) -> None:
    pass


QUICK: tuple[Speculative, ...] = ("auto", 3)
"""Numbers of drafted tokens of a quick check."""
LEFT_OUT = "the distribution, guesses, requests among others, and how answers end"
"""Of a quick check."""


def verify(engine: Engine, trials: int, progress: Progress = _silent, *, quick: bool = False) -> Iterator[Check]:
    """All checks of one engine, each as soon as it is made; if `quick` only of texts, greedy and with seeds. `progress`
    is told which one is under way, and which share of all the work is done."""
    if engine.info.speculation_unavailable:
        yield Check("speculation", "not shown", f"off: {engine.info.speculation_unavailable}")
        return
    cases = Cases(engine)
    seeded = engine.info.accept_rule == "coupled"  # the rejection rule promises the distribution, not the text
    if quick:
        cases.widths = QUICK
    steps = [
        *plain_answers(cases, SEEDS if seeded else ()),
        *greedy_texts(cases),
        *(seeded_texts(cases) if seeded else ()),
    ]
    if not quick:
        steps += [*guessed_texts(cases), *among_others(cases), *endings(cases), *same_distribution(cases, trials)]
    yield from run(steps, cases, progress)


def verify_server(
    engine: Engine,
    plain: Engine | None,
    abilities: Abilities,
    trials: int,
    progress: Progress = _silent,
) -> Iterator[Check]:
    """The same checks of a server, as far as it lets them be asked. `plain`: one with the same target that does not
    speculate, for servers whose speculation cannot be switched off. A server that breaks down has failed the check."""
    cases = Cases(engine, plain, abilities)
    if cases.comparable:
        texts = [*greedy_texts(cases), *guessed_texts(cases)]
        sampled = list(same_distribution(cases, trials))
    else:
        why = "speculation cannot be switched off per request; name a server without it by --plain-url"
        names = ("greedy text against plain", "distribution against plain")
        texts, sampled = ([Step(name, partial(Check, name, "not shown", why))] for name in names)
    before, after = [*repeated_texts(cases), *plain_answers(cases)], [*among_others(cases), *endings(cases)]
    last = "answers at all"
    try:
        for check in run([*before, *texts, *after, *sampled], cases, progress):
            last = f"still answers after {check.name!r}"
            yield check
    except EngineError as error:
        yield Check(last, "fail", f"it broke down: {error}")
