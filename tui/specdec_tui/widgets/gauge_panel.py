"""The gauge beside the chat, where there is room for it."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Digits, Sparkline

from specdec_tui.core.gauge import GaugeState
from specdec_tui.widgets.changing import Changing
from specdec_tui.widgets.figures import rate
from specdec_tui.widgets.gauge_body import off_line, panel

_WIDTH = 34


class GaugePanel(VerticalScroll, can_focus=False):
    """Digits, a curve, and figures."""

    DEFAULT_CSS = """
    GaugePanel {
        width: 38; padding: 1 2; background: $surface; border-left: outer $panel; scrollbar-size-vertical: 1;
        #off {
            display: none; background: $warning; color: $background; text-style: bold; padding: 0 1;
            margin: 0 0 1 0;
        }
        #off.-on { display: block; }
        #unit { color: $text-muted; }
        Digits { color: $primary; width: 100%; text-style: bold; }
        Sparkline { height: 2; margin: 0 0 1 0; }
        Sparkline > .sparkline--max-color { color: $primary; }
        Sparkline > .sparkline--min-color { color: $primary 40%; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._off, self._unit, self._body = (Changing(name) for name in ("off", "unit", "body"))
        self._digits = Digits("–")
        self._curve = Sparkline([0.0])
        self._state = GaugeState()

    def compose(self) -> ComposeResult:
        yield from (self._off, self._unit, self._digits, self._curve, self._body)

    def show(self, state: GaugeState) -> None:
        self._state = state
        if self.display:
            self._draw()

    def on_show(self) -> None:
        self._draw()

    def _draw(self) -> None:
        state, reading = self._state, self._state.reading
        loud = off_line(state)
        self._off.set_class(bool(loud), "-on")
        self._off.show(loud)
        unit = "tokens/s now" if reading.running else "tokens/s"
        self._unit.show(f"{unit}, estimated from the text" if reading.estimated else unit)
        speed = reading.now if reading.running else reading.mean
        self._digits.update(rate(speed) if reading.tokens else "–")
        rates = reading.rates[-_WIDTH:]
        self._curve.data = [0.0] * (_WIDTH - len(rates)) + list(rates)
        self._body.show(panel(state, _WIDTH))
