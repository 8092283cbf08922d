"""What a check came to, and what all of them together show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from specdec.types import Completion, SpecStats

Verdict = Literal["pass", "near-tie", "not shown", "fail"]
"""near-tie: the texts part where the target itself gives two tokens the same probability up to rounding. not shown: the
check could not be made."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. `detail` says what was put to the test, what is wrong, or why nothing could be shown."""

    name: str
    verdict: Verdict
    detail: str
    tokens: int = 0
    """Of the answers that were looked at."""
    drafted: int = 0
    accepted: int = 0


def shown(name: str, answers: Sequence[Completion], *, inside: bool = False) -> Check:
    """A check in which nothing was wrong. It passes if the answers put it to the test: something was drafted, and,
    where it is about the `inside` of accepted runs, something was accepted."""
    stats = SpecStats.of_all(a.stats for a in answers)
    tokens = sum(a.usage.completion_tokens or 0 for a in answers)
    counts = f"accepted {stats.accepted} of {stats.drafted} drafted"
    verdict: Verdict = "pass" if stats.accepted or (stats.drafted and not inside) else "not shown"
    if verdict == "pass":
        detail = f"{tokens} tokens, {counts}"
    elif stats.drafted:
        detail = f"{counts}: there was no accepted run to end in"
    else:
        off = f"off: {stats.off_reason}" if stats.off_reason else "no drafter had anything to propose"
        why = stats.unknown or off
        detail = f"{counts}: {why}"
    return Check(name, verdict, detail, tokens, stats.drafted, stats.accepted)


def summary(checks: Sequence[Check]) -> str:
    """What has been shown, in a line."""
    failed, missing, ties = (
        [c.name for c in checks if c.verdict == verdict] for verdict in ("fail", "not shown", "near-tie")
    )
    of = f"of {len(checks)} checks"
    if failed:
        return f"not lossless: {len(failed)} {of} failed: {'; '.join(failed)}"
    held = [c for c in checks if c.verdict != "not shown"]
    left = f"; not shown: {'; '.join(missing)}" if missing else ""
    if not held:
        return f"nothing was shown, for none {of} could be made{left}"
    tokens, drafted, accepted = (sum(getattr(c, f) for c in held) for f in ("tokens", "drafted", "accepted"))
    but = f" ({len(ties)} but for near-ties)" if ties else ""
    return (
        f"lossless as far as shown: {len(held)} {of} held{but}, over {tokens} tokens and "
        f"{accepted} accepted of {drafted} drafted{left}"
    )


def exit_code(checks: Sequence[Check]) -> int:
    """0: every check was made and held. 1: one failed. 3: none failed, but one or more could not be made."""
    verdicts = {c.verdict for c in checks}
    return 1 if "fail" in verdicts else 3 if "not shown" in verdicts or not checks else 0
