"""Log probabilities on the wire."""

from __future__ import annotations

_LEAST = -9999.0


def floor(logprob: float | None) -> float:
    """-inf is no JSON; OpenAI's own floor stands for it, and for a token that has none."""
    return _LEAST if logprob is None else max(logprob, _LEAST)
