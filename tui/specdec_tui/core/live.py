"""An answer under way: listens to the engine's stream, and says what has come so far."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

from specdec.engine import Engine
from specdec.errors import InvalidRequest, SpecDecError
from specdec.types import Delta, GenerationEvent, Request
from specdec_tui.core.answer import Answer
from specdec_tui.core.conversation import State, Turn
from specdec_tui.core.engines import causes
from specdec_tui.core.gauge import Gauge
from specdec_tui.core.tokenlog import TokenLog

_PATIENCE = 0.01
"""Seconds of events on end after which everything else gets its turn."""


class Live:
    """From request to last event. Nothing here waits for a screen."""

    def __init__(
        self,
        turn: Turn,
        request: Request,
        clock: Callable[[], float] = time.perf_counter,
        *,
        beside: bool = False,
    ) -> None:
        self.turn, self.request, self._clock = turn, request, clock
        self.beside = beside
        """Whether the engine decodes on the cores that draw."""
        self.answer = Answer()
        self.gauge = Gauge(clock())
        self.log = TokenLog()
        self.error: SpecDecError | None = None
        self.running = True
        self._last: GenerationEvent | None = None
        self._new: list[Delta] = []

    @property
    def tokens(self) -> int:
        return self.gauge.tokens

    @property
    def refused(self) -> bool:
        """The engine would not begin."""
        return isinstance(self.error, InvalidRequest) and not self.log.entries

    @property
    def empty(self) -> bool:
        """Nothing came."""
        return not self.log.entries

    async def listen(self, engine: Engine) -> None:
        """Until the answer is there, or cannot come. Cancelling the task cancels the request."""
        state: State = "cancelled"
        try:
            async with aclosing(engine.astream(self.request)) as events:
                breath = self._clock()
                async for event in events:
                    self._see(event)
                    if self._clock() - breath > _PATIENCE:  # a stream that always has more never waits by itself
                        await asyncio.sleep(0)
                        breath = self._clock()
            state = "done"
        except SpecDecError as error:
            self.error, state = error, "failed"
        finally:
            self.running = False
            self.turn = self.now(state)

    def now(self, state: State = "running") -> Turn:
        """The turn as it is at this moment."""
        return replace(self.turn, message=self.answer.message, state=state, figures=self._figures())

    def take(self) -> list[Delta]:
        """What has come since this was asked last."""
        new, self._new = self._new, []
        return new

    def _see(self, event: GenerationEvent) -> None:
        for delta in event.deltas:
            self.answer.add(delta)
        self._new += event.deltas
        self.gauge.see(event, self._clock())
        self.log.see(event)
        if event.finish_reason:
            self._last = event

    def _figures(self) -> dict[str, float | str]:
        reading = self.gauge.read(self._clock())
        found: dict[str, float | str] = {
            "tokens": reading.tokens,
            "tokens_per_second": round(reading.mean, 2),
            "ttft": round(reading.ttft or 0.0, 5),
            "rounds": reading.stats.rounds,
            "drafted": reading.stats.drafted,
            "accepted": reading.stats.accepted,
        }
        if self._last and self._last.usage and self._last.seed is not None:
            found |= {
                "prompt_tokens": self._last.usage.prompt_tokens,
                "cached_tokens": self._last.usage.cached_tokens,
                "seed": self._last.seed,
                "finish": self._last.finish_reason or "",
            }
        if reading.off:
            found["off"] = reading.off
        if self.error:
            found["error"] = causes(self.error)
        return found
