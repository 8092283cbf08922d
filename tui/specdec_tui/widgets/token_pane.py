"""The token view with its legend above and one token's details below."""

from __future__ import annotations

import math
import re
import textwrap
import time

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from specdec_tui.core.frames import FrameClock
from specdec_tui.core.safe import safe
from specdec_tui.core.tokenlog import Entry, TokenLog
from specdec_tui.widgets.figures import milliseconds
from specdec_tui.widgets.token_view import TokenView

_LEGEND = (
    ("accepted", "$token-accepted on $token-accepted 12%"),
    ("recovered", "underline $token-recovered"),
    ("bonus", "italic $token-bonus"),
    ("plain", "$foreground"),
    ("rejected", "strike $token-rejected"),
)
_HINT = "← → or the mouse choose a token"
_UNIT = re.compile(r"(?<=\d) (?=ms\b)")
_KEPT = "\N{NO-BREAK SPACE}"
_PADDING = 4
_EMPTY = "No tokens so far. Of a server that sends no token ids there are none."


class TokenPane(Vertical):
    """Takes the transcript's place."""

    DEFAULT_CSS = """
    TokenPane {
        display: none; background: $background;
        Static { height: 1; padding: 0 2; background: $surface; text-wrap: nowrap; text-overflow: ellipsis; }
        #detail { height: 2; text-wrap: wrap; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self.tokens = TokenView()
        self._clock = FrameClock()
        self._detail = Static(id="detail", markup=False)
        self._told = _HINT

    def compose(self) -> ComposeResult:
        spans = (part for name, style in _LEGEND for part in ((name, style), "  "))
        yield Static(Content.assemble(*spans), id="legend")
        yield self.tokens
        yield self._detail

    def show(self, log: TokenLog | None) -> None:
        """An answer's tokens; None where they are no longer kept."""
        self.tokens.show(log or TokenLog())
        missing = "Tokens are kept for the last answers since the start; this one's are gone."
        self._tell(missing if log is None else _HINT if log.entries else _EMPTY)

    def grow(self, now: float, share: float) -> bool:
        """Show the tokens that have come, if a frame is due; whether it was."""
        if not (self.tokens.behind and self._clock.due(now)):
            return False
        self._clock.begin(now, share)
        begun = time.thread_time()
        self.rest()
        self.call_after_refresh(lambda: self._clock.spent(time.thread_time() - begun))
        return True

    def rest(self) -> None:
        """Show all that has come."""
        if not self.tokens.entries and self.tokens.behind:
            self._tell(_HINT)
        self.tokens.grow()

    def on_resize(self) -> None:
        self._tell(self._told)

    def on_token_view_looked(self, event: TokenView.Looked) -> None:
        self._tell(detail(event.entry) if event.entry else _HINT)

    def _tell(self, text: str) -> None:
        """A figure has its unit on the same line, for which Textual's wrapping knows no sign."""
        self._told = text
        lines = textwrap.wrap(_UNIT.sub(_KEPT, text), max(self.size.width - _PADDING, 1))
        self._detail.update("\n".join(lines).replace(_KEPT, " "))


def detail(entry: Entry) -> str:
    """All that is known of one token."""
    text = safe(entry.text.replace("\n", "⏎"))
    parts = [f"“{text}” id {entry.id}", entry.kind]
    if entry.logprob is not None:
        parts.append(f"p {math.exp(entry.logprob):.3f}")
    if (at := entry.timing) is None:
        return " · ".join([*parts, "from prefill" if not entry.round else f"round {entry.round}"])
    drafted = f"{at.drafter} drafted {len(at.drafted)}, {at.accepted} accepted" if at.drafter else "nothing drafted"
    times = f"draft {milliseconds(1000 * at.draft_seconds)} ms, verify {milliseconds(1000 * at.verify_seconds)} ms"
    return " · ".join([*parts, f"round {entry.round}: {drafted}", times])
