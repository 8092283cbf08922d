"""The answers that the server is giving: how many at once, for how long, and that each ends whatever happens.

A `Run` is one request's answers, as streams of the engine. Leaving it with `aclose()` frees its slots within one round.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, MutableMapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

from specdec.engine import AsyncEventStream, Engine
from specdec.errors import EngineClosed, EngineError, InvalidRequest
from specdec.streams import AdmittedStream
from specdec.types import Request
from specdec_server.common.figures import Tally
from specdec_server.errors import Refusal, busy
from specdec_server.journal import tally_facts
from specdec_server.keeper import Keeper
from specdec_server.merging import Numbered, merged
from specdec_server.metrics import ServerMetrics
from specdec_server.settings import Settings

T = TypeVar("T")
_SMOOTHING = 0.2  # the weight of the newest answer in the average time of one


class Runs:
    """All answers of one server. Lives in one event loop."""

    def __init__(self, engine: Engine, settings: Settings, metrics: ServerMetrics) -> None:
        self.engine, self.settings, self.metrics = engine, settings, metrics
        self._running: set[Run] = set()
        self._seconds = 1.0
        """What an answer takes, smoothed."""
        self.draining = False
        self.keeper = Keeper(engine)

    @property
    def answers(self) -> int:
        return sum(len(run.tallies) for run in self._running)

    async def start(
        self, requests: Sequence[Request], prompts: Sequence[int], facts: MutableMapping[str, object]
    ) -> Run:
        """Answer all of `requests`; `prompts` numbers what each of them answers, `facts` is for the log.

        Raises Refusal when there is no room, and whatever the engine has against the requests.
        """
        self._check_room(len(requests))
        if self.settings.log_prompts:
            facts["prompt"] = requests[0].prompt
        run = Run(self, prompts, facts)
        self._running.add(run)
        try:
            await run.open(requests)
        except BaseException:
            await run.aclose()
            raise
        return run

    def drain(self, grace: float) -> None:
        """Take no more requests; what still runs after `grace` seconds is ended."""
        self.draining = self.keeper.resting = True
        asyncio.get_running_loop().call_later(grace, self._end_all)

    def left(self, run: Run, seconds: float) -> None:
        self._running.discard(run)
        self._seconds += _SMOOTHING * (seconds - self._seconds)

    def check_engine(self) -> None:
        """Raises EngineClosed while there is no engine to ask."""
        if down := self.engine.down:
            self.keeper.revive()
            raise EngineClosed(down)

    def _check_room(self, wanted: int) -> None:
        if self.draining:
            raise shutting_down()
        self.check_engine()
        if wanted > self.settings.choices:
            raise InvalidRequest("n", wanted, f"at most {self.settings.choices} answers to one request")
        slots = self.engine.info.slots
        if self.answers + wanted > slots + self.settings.queue:
            raise busy(self._seconds * max(1, self.answers - slots) / slots)

    def _end_all(self) -> None:
        for run in list(self._running):
            run.end(shutting_down())


def shutting_down() -> Refusal:
    return Refusal(503, "the server is shutting down", code="shutting_down", headers={"Retry-After": "5"})


class Run:
    """The answers to one request."""

    def __init__(self, runs: Runs, prompts: Sequence[int], facts: MutableMapping[str, object]) -> None:
        self._runs, self.facts = runs, facts
        self.id = str(facts["id"])
        self.tallies = [Tally(prompt) for prompt in prompts]
        self._begun = time.monotonic()
        self._prefilled = 0.0
        self._streams: list[AsyncEventStream] = []
        self._deadline = asyncio.get_running_loop().time() + runs.settings.request_seconds
        self._waiting: asyncio.Timeout | None = None
        self._why = Refusal(504, f"no answer within {runs.settings.request_seconds:g} s", code="timeout",
                            headers={"x-should-retry": "false"})  # fmt: skip
        self._left = False

    async def open(self, requests: Sequence[Request]) -> None:
        """Returns when the engine has taken all of them."""
        await self._in_time(self._admitted(requests))

    async def _admitted(self, requests: Sequence[Request]) -> None:
        for request in requests:
            self._streams.append(self._runs.engine.astream(replace(request, progress=True)))
        for stream in self._streams:
            if isinstance(stream, AdmittedStream):
                await stream.admitted()

    async def events(self) -> AsyncGenerator[Numbered]:
        """What comes, with the number of the answer that it belongs to."""
        async with aclosing(merged(self._streams)) as events:
            while True:
                if (item := await self._in_time(anext(events, None))) is None:
                    return
                index, event = item
                if event.prefilled is not None:
                    self._prefilled = event.prefilled
                    continue
                self.tallies[index].add(event)
                yield item

    def progress(self) -> str:
        """One line for whoever waits."""
        waited = f"{time.monotonic() - self._begun:.0f} s"
        return f"{waited}, {100 * self._prefilled:.0f} % of the prompt read" if self._prefilled else waited

    def end(self, why: Refusal) -> None:
        """Let whoever waits for the next event get this instead."""
        self._why, self._deadline = why, 0.0
        if self._waiting:
            self._waiting.reschedule(0.0)

    async def aclose(self) -> None:
        if self._left:
            return
        self._left = True
        self._runs.left(self, time.monotonic() - self._begun)
        self._runs.metrics.observe(self.tallies)
        self.facts.update(tally_facts(self.tallies))
        for stream in self._streams:
            await stream.aclose()

    async def _in_time(self, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout_at(self._deadline) as self._waiting:
                return await work
        except TimeoutError:
            raise self._why from None
        except EngineError:
            self._runs.keeper.revive()
            raise
        finally:
            self._waiting = None
