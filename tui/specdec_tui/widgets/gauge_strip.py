"""The gauge in two lines, for small terminals."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical

from specdec_tui.core.gauge import GaugeState
from specdec_tui.widgets.changing import Changing
from specdec_tui.widgets.gauge_body import off_line, strip


class GaugeStrip(Vertical):
    """Two lines, and a third when speculation is off."""

    DEFAULT_CSS = """
    GaugeStrip {
        height: auto; background: $surface; padding: 0 1;
        Static { height: auto; text-wrap: nowrap; text-overflow: ellipsis; }
        #off { display: none; background: $warning; color: $background; text-style: bold; }
        #off.-on { display: block; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._off, self._lines = Changing("off"), Changing("lines")
        self._state = GaugeState()

    def compose(self) -> ComposeResult:
        yield self._off
        yield self._lines

    def show(self, state: GaugeState) -> None:
        self._state = state
        if self.display:
            self._draw()

    def on_show(self) -> None:
        self._draw()

    def _draw(self) -> None:
        loud = off_line(self._state)
        self._off.set_class(bool(loud), "-on")
        self._off.show(loud)
        self._lines.show(strip(self._state))
