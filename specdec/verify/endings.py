"""Answers that end inside an accepted run: counts, max_tokens, stop strings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from specdec.types import Completion
from specdec.verify.cases import LENGTH, PROMPTS, Cases
from specdec.verify.check import Check, shown
from specdec.verify.steps import Step

_LENGTHS = 16
"""Of answers: a few runs of drafted tokens and every place inside them."""
_STOPS = 4
"""Stop strings for each answer."""
Forced = Callable[..., Completion]
"""The greedy answer to the prompt of that number, much drafted."""


def endings(cases: Cases) -> Iterator[Step]:
    """Every answer ends where the plain one does."""

    def forced(prompt: int, **options: Any) -> Completion:
        return cases.answer(prompt, temperature=0.0, speculative=cases.forced, **options)

    def predicted(prompt: int, **options: Any) -> Completion:
        return forced(prompt, prediction=cases.plain(prompt).text or "x", **options)

    def make(name: str, check: Callable[[Cases, str, Forced], Check]) -> Check:
        """By what the engine drafts of itself; where that comes to nothing, with the plain answer as prediction."""
        found = check(cases, name, forced)
        again = found.verdict == "not shown" and cases.abilities.prediction
        return check(cases, name, predicted) if again else found

    for name, check, answers, tokens in (
        ("tokens are counted as sent", _counts, len(PROMPTS), LENGTH),
        ("max_tokens inside an accepted run", _lengths, _LENGTHS, _LENGTHS // 2),
        ("stop strings never leak", _stops, _STOPS * len(PROMPTS), LENGTH // 2),
    ):
        yield Step(name, partial(make, name, check), answers, tokens)


def _counts(_cases: Cases, name: str, forced: Forced) -> Check:
    answers = [forced(p) for p in range(len(PROMPTS))]
    if not any(a.tokens for a in answers):
        return Check(name, "not shown", "the server sends no token ids")
    for a in answers:
        counted, sent = a.usage.completion_tokens, len(a.tokens)
        if counted != sent:
            return Check(name, "fail", f"{counted} counted, {sent} sent")
        if a.text != "".join(t.text for t in a.tokens):
            return Check(name, "fail", "the texts of the tokens are not the answer's")
    return shown(name, answers, inside=True)


def _lengths(cases: Cases, name: str, forced: Forced) -> Check:
    whole, answers = cases.plain(0).usage.completion_tokens or 0, []
    for n in range(1, min(_LENGTHS, whole)):
        answers.append(forced(0, max_tokens=n))
        counted = answers[-1].usage.completion_tokens
        if counted != n:
            return Check(name, "fail", f"{counted} tokens with max_tokens={n}")
    if not answers:
        return Check(name, "not shown", f"the plain answer has no more than {whole} tokens")
    return shown(name, answers, inside=True)


def _stops(cases: Cases, name: str, forced: Forced) -> Check:
    answers = []
    for p in range(len(PROMPTS)):
        text = cases.plain(p).text
        # pieces of the answer that begin and end in the middle of words
        for at in range(len(text) // 5, len(text) - 6, max(len(text) // _STOPS, 1)):
            stop = text[at : at + 6]
            answers.append(forced(p, stop=stop))
            expected, found = text[: text.index(stop)], answers[-1].text
            if found != expected:
                return Check(name, "fail", f"stop {stop!r}: ended with {found[-20:]!r}, not {expected[-20:]!r}")
    if not answers:
        return Check(name, "not shown", "the plain answers are too short to be stopped inside")
    return shown(name, answers, inside=True)
