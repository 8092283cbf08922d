"""The last prompt answered twice with one seed: plain and speculative, side by side."""

from __future__ import annotations

import time
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from specdec.engine import Engine
from specdec.errors import SpecDecError
from specdec.types import Answer, GenerationEvent, Request
from specdec.verify.comparison import SIDES, Comparison, Side
from specdec_tui.core.compare import compare, forgets
from specdec_tui.core.gauge import Gauge
from specdec_tui.core.safe import one_line, safe
from specdec_tui.screens.dialog import Dialog
from specdec_tui.widgets.figures import first_token, fitting, rate

_FRAME = 1 / 15
_EDGES = 6
"""Columns around a title."""


class Column(VerticalScroll):
    """One side: its text as it comes, its figures above."""

    DEFAULT_CSS = """
    Column {
        border-title-color: $primary; border-subtitle-color: $primary;
        width: 1fr; padding: 0 1; border: round $border; scrollbar-size-vertical: 1;
        Static { padding: 0 1 0 0; }
    }
    """

    def __init__(self, side: Side) -> None:
        super().__init__(Static("", markup=False), id=side)
        self.border_title = side
        self._gauge: Gauge | None = None
        self._answer = Answer()

    def add(self, event: GenerationEvent) -> None:
        now = time.perf_counter()
        self._gauge = self._gauge or Gauge(now)
        self._gauge.add(event, now)
        self._answer.add(event)

    def draw(self) -> None:
        if self._gauge:
            reading = self._gauge.read(time.perf_counter())
            figures = (f"{rate(reading.mean)} tokens/s", f"{reading.tokens} tokens")
            self.border_subtitle = fitting(figures, self.outer_size.width - _EDGES)
            self.query_one(Static).update(safe(self._answer.text))
            self.scroll_end(animate=False)


class CompareScreen(Dialog[float | None]):
    """Returns the measured speed-up."""

    HELP = "# Compare\n\nThe same prompt and seed without and with speculation. `Esc` stops and closes.\n"
    BINDINGS: ClassVar[list[BindingType]] = [("escape,enter,q", "close", "Close")]
    DEFAULT_CSS = """
    CompareScreen { align: center middle; }
    CompareScreen > Vertical {
        width: 98%; height: 90%; background: $surface; border: round $primary; border-title-color: $primary;
        border-subtitle-color: $text-muted;
    }
    CompareScreen #verdict { height: auto; padding: 1; text-align: center; }
    """

    def __init__(self, engine: Engine, request: Request) -> None:
        super().__init__()
        self._engine, self._request = engine, request
        self._speed_up: float | None = None

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title, box.border_subtitle = "Compare: the last prompt, same seed", "Esc closes"
            yield Static("answering plain …", id="verdict", markup=False)
            with Horizontal():
                for side in SIDES:
                    yield Column(side)

    def on_mount(self) -> None:
        self.set_interval(_FRAME, self._draw)
        self._compare()

    def action_close(self) -> None:
        self.dismiss(self._speed_up)

    @work
    async def _compare(self) -> None:
        shown = self.query_one("#verdict", Static)

        def add(side: Side, event: GenerationEvent) -> None:
            self.query_one(f"#{side}", Column).add(event)
            if side == "speculative":
                shown.update("answering speculative …")

        try:
            result = await compare(self._engine, self._request, add)
        except SpecDecError as error:
            shown.update(Content.styled(one_line(error), "$error"))
            return
        self._speed_up = result.speed_up
        self._draw()
        shown.update(verdict(result, may_know=not forgets(self._engine)))

    def _draw(self) -> None:
        for column in self.query(Column):
            column.draw()


def verdict(result: Comparison, *, may_know: bool = False) -> Content:
    """Speed-up, red below 1, and whether the texts are the same. `may_know`: the second side may have been drafted from
    the first one's answer."""
    factor = result.speed_up
    colour = "$success" if factor and factor >= 1 else "$error"
    same = result.verdict == "identical"
    stats = result.speculative.stats
    length = f"{stats.acceptance_length:.2f}" if stats.drafted and stats.acceptance_length else "–"
    parts: list[str | tuple[str, str]] = [
        ("speed-up unknown", "bold") if factor is None else (f"{factor:.2f}x plain", f"bold {colour}"),
        "   ",
        (result.verdict, "bold $success" if same else "bold $warning"),
        f"\nacceptance length {length} · TTFT {first_token(result.speculative.timing.ttft)}",
    ]
    if stats.off_reason:
        parts.append((f"\nSpeculation off: {one_line(stats.off_reason)}", "$warning"))
    if stats.unknown:
        parts.append((f"\nSpeculation {one_line(stats.unknown)}", "dim"))
    if may_know:
        parts.append(
            ("\nThis server cannot be told to forget: it may draft from the answer it has just given.", "$warning")
        )
    return Content.assemble(*parts)
