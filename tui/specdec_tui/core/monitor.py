"""What the gauge is to show, and that it is drawn no more often than it changes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from specdec.engine import Engine
from specdec.types import EngineInfo, EngineStats, SpecStats
from specdec_tui.core.conversation import Conversation
from specdec_tui.core.gauge import LETTERS, GaugeState, Reading
from specdec_tui.core.generation import Generation

_SHARED_EVERY, _SHARED_ALONE = 1.0, 2.0
"""Seconds between drawings at least, where the engine decodes on the same cores and waits for them: along with a frame
of the answer, since two drawings cost twice, and without."""


class Monitor:
    """From the answer under way, and the engine's own statistics, to the gauge."""

    def __init__(self) -> None:
        self.stats = EngineStats()
        self.drafted = SpecStats(0)
        """Of all answers that this engine gave."""
        self._shown: GaugeState | None = None
        self._drawn = 0.0
        self._fetching = False

    def forget(self) -> None:
        """Another engine: what was known of the last one is void."""
        self.stats, self.drafted = EngineStats(), SpecStats(0)

    async def fetch(self, engine: Engine | None) -> None:
        """The engine's statistics, which may take a moment."""
        if engine is None or self._fetching:
            return
        self._fetching = True
        try:
            self.stats = await asyncio.to_thread(engine.stats)
        finally:
            self._fetching = False

    def changed(
        self,
        now: float,
        engine: Engine | None,
        conversation: Conversation,
        generation: Generation | None,
        *,
        beside_frame: bool = False,
    ) -> GaugeState | None:
        """What is to be drawn, or None where it would be the same or too soon. The gauge stands beside the last answer
        of the shown path."""
        running = generation is not None and generation.running
        if generation and running:
            if not beside_frame:
                generation.gauge.tick(now)
            every = _SHARED_EVERY if beside_frame else _SHARED_ALONE
            if generation.shares_cores and now - self._drawn < every:
                return None
        answer = conversation.last("assistant")
        if answer is None:
            reading = Reading()
        elif generation and generation.turn.id == answer.id:
            measured = Reading.of(answer.figures).measured
            reading = generation.gauge.read(now, self.stats.speculation.plain_rate)
            reading = replace(reading, running=running, measured=measured)
        else:
            reading = Reading.of(answer.figures)
        used = context_used(conversation) + (reading.tokens if running else 0)
        state = GaugeState(reading, engine.info if engine else None, self.stats, context_used=used)
        if state == self._shown:
            return None
        self._shown, self._drawn = state, now
        return state


def context_used(conversation: Conversation) -> int:
    """Tokens of the shown path, as the last answer that knew them said. Later prompts, whose answers did not end,
    are guessed from their letters."""
    used = 0
    for turn in reversed(conversation.path()):
        tokens = int(turn.figures.get("tokens", 0))
        if "prompt_tokens" in turn.figures:
            return used + int(turn.figures["prompt_tokens"]) + tokens
        if turn.state != "running":
            used += tokens or len(turn.text) // LETTERS
    return used


def known_context(info: EngineInfo) -> int:
    """0 where the server does not say."""
    return info.context if info.context_known else 0
