"""Keeps the gauge: what it shows, and that it is drawn no more often than it changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from specdec.types import EngineStats, Speculation
from specdec_tui.core.gauge import Reading
from specdec_tui.widgets.gauge_body import Dial

if TYPE_CHECKING:
    from specdec_tui.app import ChatApp

_BESIDE = 1.0
"""Seconds between drawings at least, where the engine decodes on the same cores and waits for them."""


class Dials:
    """From the answer under way, and the engine's own statistics, to the widgets."""

    def __init__(self, app: ChatApp) -> None:
        self._app = app
        self._shown: Dial | None = None
        self._drawn = 0.0
        self._stats: EngineStats | None = None
        self.measured: float | None = None
        self._asking = False

    def refresh(self) -> None:
        """Draw what has changed."""
        now = time.perf_counter()
        live = self._app.answering.live
        if live and live.running:
            live.gauge.tick(now)
            if live.beside and now - self._drawn < _BESIDE:
                return
        dial = self._dial(live.gauge.read(now) if live else Reading())
        if dial != self._shown:
            self._shown, self._drawn = dial, now
            self._app.show_dial(dial)

    async def ask(self) -> None:
        """The engine's statistics, which may take a moment."""
        engine = self._app.desk.engine
        if engine is None or self._asking:
            return
        self._asking = True
        try:
            self._stats = await asyncio.to_thread(engine.stats)
        finally:
            self._asking = False

    def forget(self) -> None:
        """Another engine: what was known of the last one is void."""
        self._stats = self.measured = None

    @property
    def used(self) -> int:
        """Tokens of the context that are taken."""
        path = reversed(self._app.chat.conversation.path())
        told: Mapping[str, float | str] = next((t.figures for t in path if "prompt_tokens" in t.figures), {})
        live = self._app.answering.live
        growing = live.tokens if live and live.running else 0
        return int(told.get("prompt_tokens", 0)) + int(told.get("tokens", 0)) + growing

    def _dial(self, reading: Reading) -> Dial:
        engine = self._app.desk.engine
        return Dial(
            reading=reading,
            info=engine.info if engine else None,
            speculation=self._stats.speculation if self._stats else Speculation(),
            warning=self._stats.warning if self._stats else None,
            device_bytes=self._stats.device_bytes if self._stats else None,
            context_used=self.used,
            measured=self.measured,
        )
