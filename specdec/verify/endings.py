"""Answers that end inside an accepted run: counts, max_tokens, stop strings."""

from __future__ import annotations

from collections.abc import Iterator

from specdec.types import Completion
from specdec.verify.cases import PROMPTS, Cases
from specdec.verify.check import Check, Verdict, drafting

_LENGTHS = 16
"""Of answers: a few runs of drafted tokens and every place inside them."""


def endings(cases: Cases) -> Iterator[Check]:
    """Every answer ends where the plain one does."""
    yield _counts(cases)
    yield _lengths(cases)
    yield _stops(cases)


def _check(name: str, wrong: str | None, answers: list[Completion]) -> Check:
    verdict: Verdict = "fail" if wrong else "pass"
    return Check(name, verdict, wrong or drafting(answers))


def _counts(cases: Cases) -> Check:
    answers = [cases.answer(p, temperature=0.0, speculative=cases.forced) for p in range(len(PROMPTS))]
    if not any(a.tokens for a in answers):
        return Check("tokens are counted as sent", "inconclusive", "the server sends no token ids")
    wrong = next((
        f"{a.usage.completion_tokens} counted, {len(a.tokens)} sent" for a in answers
        if a.usage.completion_tokens != len(a.tokens) or a.text != "".join(t.text for t in a.tokens)
    ), None)  # fmt: skip
    return _check("tokens are counted as sent", wrong, answers)


def _lengths(cases: Cases) -> Check:
    plain, answers, wrong = cases.plain(0), [], None
    for n in range(1, min(_LENGTHS, plain.usage.completion_tokens)):
        answers.append(cases.answer(0, temperature=0.0, speculative=cases.forced, max_tokens=n))
        counted = answers[-1].usage.completion_tokens
        if counted != n:
            wrong = wrong or f"{counted} tokens with max_tokens={n}"
    return _check("max_tokens inside an accepted run", wrong, answers)


def _stops(cases: Cases) -> Check:
    answers, wrong = [], None
    for p in range(len(PROMPTS)):
        text = cases.plain(p).text
        for stop in _stop_strings(text):
            answers.append(cases.answer(p, temperature=0.0, speculative=cases.forced, stop=stop))
            expected = text[: text.index(stop)]
            if answers[-1].text != expected:
                wrong = (
                    wrong or f"stop {stop!r}: ended with {answers[-1].text[-20:]!r}, not {expected[-20:]!r}"
                )
    return _check("stop strings never leak", wrong, answers)


def _stop_strings(text: str) -> list[str]:
    """Pieces of the answer that begin and end in the middle of words."""
    return [text[i : i + 6] for i in range(len(text) // 5, len(text) - 6, max(len(text) // 4, 1))]
