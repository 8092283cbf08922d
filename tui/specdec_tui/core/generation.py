"""An answer under way: listens to the engine's stream, and says what has come so far."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from time import perf_counter

from specdec.engine import Engine
from specdec.errors import InvalidRequest, SpecDecError
from specdec.text.tools.formats import AnswerFormat
from specdec.text.tools.parser import AnswerParser
from specdec.types import Answer, ContentDelta, Delta, Request
from specdec_tui.core.conversation import State, Turn
from specdec_tui.core.engines import causes
from specdec_tui.core.frames import DRAWING, DRAWING_SHARED
from specdec_tui.core.gauge import Gauge
from specdec_tui.core.tokenlog import TokenLog

_THOUGHTS = AnswerFormat(thought=("<think>", "</think>"))
"""What a server may leave in the text that does not tell thoughts apart itself."""
_PATIENCE = 0.01
"""Seconds of events on end after which everything else gets its turn."""
_SAVE_EVERY, _SAVE_UNSEEN = 0.1, 2.0
"""Seconds; the second of what was not shown yet, where the engine decodes on the cores that save."""


class Generation:
    """From request to last event. Nothing here waits for a screen."""

    def __init__(self, turn: Turn, request: Request, *, shares_cores: bool = False) -> None:
        self.turn, self.request = turn, request
        self.shares_cores = shares_cores
        """Whether the engine decodes on the cores that draw."""
        self.answer = Answer()
        self._parser = AnswerParser(_THOUGHTS, thoughts=True)
        self.gauge = Gauge(perf_counter())
        self.log = TokenLog()
        self.error: SpecDecError | None = None
        self.waiting = ""
        """What there is to say while nothing has come yet."""
        self.running = True
        self._task: asyncio.Task[None] | None = None
        self._unsaved: list[Delta] = []
        self._saved = 0.0

    @property
    def drawing(self) -> float:
        """The share of the time that drawing it may take."""
        return DRAWING_SHARED if self.shares_cores else DRAWING

    @property
    def refused(self) -> bool:
        """The engine would not begin."""
        return isinstance(self.error, InvalidRequest) and not self.begun

    @property
    def begun(self) -> bool:
        """Whether anything of the answer came; not every server tells its tokens."""
        return bool(self.log.entries or self.answer.content or self.answer.reasoning or self.answer.calls)

    async def run(self, engine: Engine, every: float, look: Callable[[], Awaitable[None]]) -> None:
        """Until the answer is there, or cannot come. `look` is called every so many seconds, and at the end. Cancelling
        this leaves the turn as it is then."""
        self._task = asyncio.create_task(self._listen(engine))
        try:
            while not self._task.done():
                await asyncio.wait({self._task}, timeout=every)
                await look()
            if not self._task.cancelled():
                self._task.result()
        finally:
            self.cancel()

    def cancel(self) -> None:
        """The stream is left at once; what came stays."""
        if self._task:
            self._task.cancel()

    def now(self, state: State = "running") -> Turn:
        """The turn as it is at this moment."""
        reading = self.gauge.read(perf_counter())
        figures: dict[str, float | str] = {
            "tokens": reading.tokens,
            "tokens_per_second": round(reading.mean, 4),
            "ttft": round(reading.ttft or 0.0, 5),
        }
        if (stats := reading.stats).rounds or stats.drafted:
            figures |= {"rounds": stats.rounds, "drafted": stats.drafted, "accepted": stats.accepted}
        if reading.estimated:
            figures["estimated"] = 1
        if reading.speed_up:
            figures["speed_up"] = round(reading.speed_up, 3)
        if end := self.answer.end:
            if (prompt := end.usage.prompt_tokens) is not None:
                figures["prompt_tokens"] = prompt
            if (cached := end.usage.cached_tokens) is not None:
                figures["cached_tokens"] = cached
            figures |= {"seed": end.seed, "finish": end.reason}
            if end.stats.off_reason:
                figures["off"] = end.stats.off_reason
        if self.error:
            figures["error"] = causes(self.error)
        return replace(self.turn, message=self.answer.message, state=state, figures=figures)

    def unsaved(self, *, shown: bool) -> list[Delta]:
        """What has come since the last call; often nothing, since it is not to be saved with every round."""
        now = perf_counter()
        every = _SAVE_UNSEEN if self.shares_cores and not shown else _SAVE_EVERY
        if now - self._saved <= every or not self._unsaved:
            return []
        self._saved = now
        new, self._unsaved = self._unsaved, []
        return new

    async def _listen(self, engine: Engine) -> None:
        """Cancelling the task cancels the request."""
        state: State = "cancelled"
        try:
            async with aclosing(engine.astream(self.request)) as events:
                breath = perf_counter()
                async for event in events:
                    now = perf_counter()
                    deltas: list[Delta] = []  # thoughts that were left in its text are told apart
                    for delta in event.deltas:
                        deltas += self._parser.push(-1, delta.text) if isinstance(delta, ContentDelta) else [delta]
                    deltas += self._parser.finish() if event.end else []
                    event = replace(event, deltas=tuple(deltas))  # noqa: PLW2901
                    if event.prefilled is not None:
                        self.waiting = f"{event.prefilled:.0%} of the prompt read"
                    self.waiting = event.waiting or self.waiting
                    self.answer.add(event)
                    self._unsaved += event.deltas
                    self.gauge.add(event, now)
                    self.log.add(event)
                    if now - breath > _PATIENCE:  # a stream that always has more never waits by itself
                        await asyncio.sleep(0)
                        breath = perf_counter()
            state = "done"
        except SpecDecError as error:
            self.error, state = error, "failed"
        finally:
            for delta in self._parser.finish(cut=True):
                self.answer.grow(delta)
            self.running = False
            self.turn = self.now(state)
