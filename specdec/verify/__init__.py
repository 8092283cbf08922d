"""Checks, on a user's own pair, that speculation changes nothing but the speed."""

from __future__ import annotations

from collections.abc import Iterator

from specdec.engine import Engine
from specdec.errors import EngineError
from specdec.verify.cases import Abilities, Cases
from specdec.verify.check import Check
from specdec.verify.distribution import same_distribution
from specdec.verify.endings import endings
from specdec.verify.texts import among_others, greedy_texts, guessed_texts, repeated_texts, seeded_texts


def verify(engine: Engine, trials: int) -> Iterator[Check]:
    """All checks of one engine, each as soon as it is done."""
    if engine.info.speculation_unavailable:
        yield Check("speculation", "inconclusive", f"off: {engine.info.speculation_unavailable}")
        return
    cases = Cases(engine)
    yield from greedy_texts(cases)
    yield from guessed_texts(cases)
    if engine.info.accept_rule == "coupled":  # the rejection rule promises the distribution, not the text
        yield from seeded_texts(cases)
    yield from among_others(cases)
    yield from endings(cases)
    yield from same_distribution(cases, trials)


def verify_server(engine: Engine, plain: Engine | None, abilities: Abilities, trials: int) -> Iterator[Check]:
    """The same checks of a server, as far as it lets them be asked. `plain`: one with the same target that does not
    speculate, for servers whose speculation cannot be switched off. A server that breaks down has failed the check."""
    last = "answers at all"
    try:
        for check in _server_checks(Cases(engine, plain, abilities), trials):
            last = f"still answers after {check.name!r}"
            yield check
    except EngineError as error:
        yield Check(last, "fail", f"it broke down: {error}")


def _server_checks(cases: Cases, trials: int) -> Iterator[Check]:
    yield from repeated_texts(cases)
    if cases.comparable:
        yield from greedy_texts(cases)
        yield from guessed_texts(cases)
    else:
        why = "speculation cannot be switched off per request; name a server without it by --plain-url"
        yield Check("greedy text against plain", "inconclusive", why)
    yield from among_others(cases)
    yield from endings(cases)
    if cases.comparable and cases.plain(0).tokens:
        yield from same_distribution(cases, trials)
