"""Where two answers part, and whether rounding alone explains it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from specdec.engine import Engine
from specdec.types import MAX_LOGPROBS, Completion, Request, Speculative
from specdec.verify.check import Verdict

_ROUNDING = {"float32": 1e-3}
_ROUNDING_HALF = 0.25
"""Two steps of bfloat16 for logits of ordinary size."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first position at which the answers differ."""

    position: int
    plain: int | None
    speculative: int | None


def first_difference(plain: Completion, other: Completion) -> Difference | None:
    """None if the answers are the same, token for token and character for character."""
    a, b = plain.token_ids, other.token_ids
    if a == b and plain.text == other.text:
        return None
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return Difference(at, a[at] if at < len(a) else None, b[at] if at < len(b) else None)


def judge(engine: Engine, request: Request, difference: Difference, plain: Speculative = "off") -> tuple[Verdict, str]:
    """A verdict on a difference, with its reason. `request` is the one that was answered speculatively; `engine`
    answers it plainly when asked with speculative=`plain`."""
    expected, found = difference.plain, difference.speculative
    if expected is None and found is None:
        return "fail", "the texts differ"
    where = f"they part at token {difference.position}: {expected} and {found}"
    gap = None
    if expected is not None and found is not None:
        scored = replace(request.sampling, logprobs=MAX_LOGPROBS, max_tokens=difference.position + 1)
        token = engine.generate(replace(request, sampling=scored, speculative=plain)).tokens[-1]
        other = {t.id: t.logprob for t in token.top_logprobs}.get(found)
        gap = None if token.logprob is None or other is None else abs(token.logprob - other)
    if gap is None:
        return "fail", where
    where += f", whose logprobs differ by {gap:.3g}"
    bound = _ROUNDING.get(engine.info.dtype, _ROUNDING_HALF)
    if request.sampling.temperature == 0:
        return ("near-tie" if gap <= bound else "fail"), where
    # A sampled token is a tie of logprob plus noise, which nobody sees from outside.
    if engine.info.dtype == "float32":
        return "fail", where
    return "not shown", f"{where}: in {engine.info.dtype} that may be rounding"
