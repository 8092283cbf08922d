"""The gauge beside the chat, where there is room for it."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.reactive import reactive
from textual.widgets import Digits, Sparkline

from specdec_tui.core.gauge import GaugeState
from specdec_tui.widgets.changing import Changing
from specdec_tui.widgets.figures import speed
from specdec_tui.widgets.gauge_body import LEAST_RATES, calm, full, note

_WIDTH, _CALM_WIDTH = 33, 21


class GaugePanel(VerticalScroll, can_focus=False):
    """The speed in digits, a curve, and figures: those that people look at, or all."""

    DEFAULT_CSS = """
    GaugePanel {
        width: 26; padding: 1 2; background: $surface; border-left: outer $panel; scrollbar-size-vertical: 1;
        &.-details { width: 38; }
        #note { display: none; color: $text-muted; margin: 0 0 1 0; }
        #note.-on { display: block; }
        #note.-alarm { background: $warning; color: $background; text-style: bold; padding: 0 1; }
        #unit { color: $text-muted; }
        Digits { color: $primary; width: 100%; text-style: bold; }
        Sparkline { height: 2; margin: 0 0 1 0; }
        Sparkline > .sparkline--max-color { color: $primary; }
        Sparkline > .sparkline--min-color { color: $primary 40%; }
    }
    """

    details: reactive[bool] = reactive(False, toggle_class="-details")

    def __init__(self) -> None:
        super().__init__()
        self._note, self._unit, self._body = (Changing(name) for name in ("note", "unit", "body"))
        self._digits = Digits("–")
        self._curve = Sparkline([0.0])
        self._state = GaugeState()

    def compose(self) -> ComposeResult:
        yield from (self._note, self._unit, self._digits, self._curve, self._body)

    def show(self, state: GaugeState) -> None:
        self._state = state
        if self.display:
            self._draw()

    def on_show(self) -> None:
        self._draw()

    def watch_details(self) -> None:
        self._draw()

    def _draw(self) -> None:
        state, reading, width = self._state, self._state.reading, _WIDTH if self.details else _CALM_WIDTH
        text, alarm = note(state)
        self._note.set_class(bool(text), "-on").set_class(alarm, "-alarm")
        self._note.show(text)
        unit = "tokens/s now" if reading.running else "tokens/s"
        self._unit.show(f"{unit}, estimated from the text" if reading.estimated else unit)
        self._digits.update(speed(reading))
        rates = reading.rates[-width:]
        self._curve.visible = len(rates) >= LEAST_RATES
        self._curve.data = [0.0] * (width - len(rates)) + list(rates)
        self._body.show(full(state, width) if self.details else calm(state, width))
