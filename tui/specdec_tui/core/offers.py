"""What could be done, told once: about a head that is published, a draft that seldom agrees, a chat that fills its
context."""

from __future__ import annotations

from dataclasses import dataclass

from specdec.types import EngineInfo, SpecStats

_FREE = {"lookup", "memory", "prediction", "grammar"}
"""Drafters that are no model."""
_AGREES, _LOOKED = 0.5, 100
"""A draft model that agrees less often is worth another one, once it was looked at so many times."""
TRAINING_MINUTES = 20
"""What `specdec train` takes if it is told nothing: by the clock, so on any machine."""
_SUMMARY = 350
"""Tokens that asking for a summary and the summary take, about."""
_FULL = (0.95, 0.8)
"""Shares of the context at which something is said."""


@dataclass(frozen=True, slots=True)
class Offer:
    """`key` is the same for what need not be said twice; `command` does it, and `does` says so."""

    key: str
    text: str
    command: str
    does: str


def of_published_draft(info: EngineInfo) -> Offer | None:
    """A head for this target that is not here."""
    if (head := info.published_draft) is None:
        return None
    text = f"A draft is published for this model: {head}."
    return Offer(f"head {head.name}", text, f"/draft {head.name}", "fetches and loads it")


def of_training(info: EngineInfo, drafted: SpecStats) -> Offer | None:
    """Another draft, where the one that is loaded seldom agrees with the target."""
    ours = next((d for d in drafted.drafters if d.drafter not in _FREE and d.tested), None)
    if ours is None or ours.tested[0] < _LOOKED or ours.accepted[0] >= _AGREES * ours.tested[0]:
        return None
    agrees = f"{ours.accepted[0] / ours.tested[0]:.0%}"
    where = " on a machine with a GPU" if info.device == "cpu" else ""
    text = (
        f"This draft agrees with {agrees} of the target's tokens; `specdec train` can make one that fits{where}, "
        f"in as many minutes as you give it ({TRAINING_MINUTES} unless you say)."
    )
    return Offer(f"train {info.target} {info.draft}", text, "/train", "copies the command")


def of_context(chat: str, used: int, context: int) -> Offer | None:
    """Ways to go on, before it is full."""
    share = used / context if context else 0.0
    passed = next((full for full in _FULL if share >= full), None)
    if passed is None:
        return None
    text = f"This chat fills {share:.0%} of the context. "
    if has_room(used, context):
        text += "/trim goes on without its older half, /new begins anew."
        return Offer(f"context {chat} {passed}", text, "/summary", "goes on with a summary of it")
    text += "There is no room for a summary; /new begins anew."
    return Offer(f"context {chat} {passed}", text, "/trim", "goes on without its older half")


def has_room(used: int, context: int) -> bool:
    """For a summary of a chat, in the chat itself; as far as is known, if `context` is 0."""
    return not context or context - used >= _SUMMARY
