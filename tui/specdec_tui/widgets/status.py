"""The last line: how the engine is, how full the context, and which keys come next."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content

from specdec_tui.widgets.changing import Changing
from specdec_tui.widgets.figures import bar, fitting

_WARN, _FULL = 0.8, 0.95
_METER = 8
_EDGES = 6
"""Columns around what is in the line."""


class Status(Horizontal):
    """Three short texts."""

    DEFAULT_CSS = """
    Status {
        height: 1; background: $panel; padding: 0 1; color: $text-muted;
        Static { width: auto; text-wrap: nowrap; text-overflow: ellipsis; }
        #state { width: 1fr; }
        #context { padding: 0 2; }
        .-warn { color: $warning; text-style: bold; }
        .-full { color: $error; text-style: bold; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._state, self._meter, self._keys = Changing("state"), Changing("context"), Changing("keys")
        self._hints = ["F1 keys"]

    def compose(self) -> ComposeResult:
        yield self._state
        yield self._meter
        yield self._keys

    def show_state(self, text: str, *, style: str = "") -> None:
        """The engine's."""
        self._state.show(Content.styled(text, style))
        self._fit()

    def show_keys(self, text: str) -> None:
        """Of what has the focus."""
        self._hints = ["F1 keys", *text.split(" · ")] if text else ["F1 keys"]
        self._fit()

    def show_context(self, used: int, context: int) -> None:
        """The context meter; a nearly full one is coloured. A `context` of 0 is unknown."""
        share = used / context if context else 0.0
        meter = self._meter
        meter.set_class(_WARN <= share < _FULL, "-warn")
        meter.set_class(share >= _FULL, "-full")
        full = "  nearly full" if share >= _FULL else ""
        most = f"{context:,}"  # what is used is as wide as that, so that growing it moves nothing
        known = f"{bar(share, _METER):─<{_METER}} {used:>{len(most)},} / {most}{full}"
        meter.show(known if context else "context unknown")
        self._fit()

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        """The state and the context go before the keys."""
        self._keys.show(fitting(self._hints, self.size.width - self._state.cells - self._meter.cells - _EDGES))
