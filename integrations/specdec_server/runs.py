"""The answers that the server is giving: how many at once, for how long, and that each ends whatever happens.

A `Run` is one request's answers, as streams of the engine. Leaving it with `aclose()` frees its slots within one round.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

from specdec.engine import AsyncEventStream, Engine
from specdec.errors import EngineClosed, EngineError, InvalidRequest, SpecDecError
from specdec.process import ProcessEngine
from specdec.streams import AdmittedStream
from specdec.types import Ending, GenerationEvent, Request
from specdec_server.errors import Refusal, busy, shutting_down
from specdec_server.figures import Figures
from specdec_server.logs import line, log
from specdec_server.merging import Numbered, merged
from specdec_server.metrics import ServerMetrics
from specdec_server.settings import Settings

T = TypeVar("T")
_SMOOTHING = 0.2  # the weight of the newest answer in the average time of one


class Runs:
    """All answers of one model. Lives in one event loop."""

    def __init__(self, engine: Engine, settings: Settings, metrics: ServerMetrics) -> None:
        self.engine, self.settings, self.metrics = engine, settings, metrics
        self.draining = False
        self._running: set[Run] = set()
        self._seconds = 1.0
        """What an answer takes, smoothed."""
        self._revival: asyncio.Task[None] | None = None
        self._used = time.monotonic()
        self._finished = asyncio.Event()
        self._finished.set()

    @property
    def idle_seconds(self) -> float:
        """Since its last answer; 0 while there is one."""
        return 0.0 if self._running else time.monotonic() - self._used

    async def finished(self) -> None:
        """Returns once no answer is being given."""
        await self._finished.wait()

    @property
    def answers(self) -> int:
        return sum(len(run.endings) for run in self._running)

    async def start(self, run: Run) -> None:
        """Answer its requests. Raises Refusal when there is no room, and whatever the engine has against them."""
        self._used = time.monotonic()  # a refused request is use, too: an engine that is loaded again is waited for
        self.check_ready()
        wanted, slots, answers = len(run.endings), self.engine.info.slots, self.answers
        if wanted > self.settings.choices:
            raise InvalidRequest("n", wanted, f"at most {self.settings.choices} answers to one request")
        if answers + wanted > slots + self.settings.queue:
            raise busy(self._seconds * max(1, answers - slots) / slots)
        self._running.add(run)
        self._finished.clear()
        try:
            await run.open(self)
        except BaseException:
            self.revive()
            await run.aclose()
            raise

    async def tokenize(self, request: Request) -> tuple[int, ...]:
        """The tokens of a prompt, its tools included."""
        self._used = time.monotonic()
        self.check_ready()
        return await asyncio.to_thread(self.engine.tokenize, request)

    def check_ready(self) -> None:
        """Raises Refusal while the server shuts down, and EngineClosed while there is no engine to ask."""
        if self.draining:
            raise shutting_down()
        if down := self.engine.down:
            self.revive()
            raise EngineClosed(down)

    def revive(self) -> None:
        """Load an engine in a child process again if it will not come back by itself. Requests are refused meanwhile.
        An engine in this process is its owner's to keep."""
        engine = self.engine
        if not isinstance(engine, ProcessEngine) or not engine.over:
            return
        if self.draining or (self._revival and not self._revival.done()):
            return
        log.error(line("engine_died", {"why": engine.over}))

        async def restart() -> None:
            try:
                await asyncio.to_thread(engine.restart)
            except SpecDecError as error:
                log.error(line("engine_lost", {"why": error}))
            else:
                log.warning(line("engine_restarted", {}))

        self._revival = asyncio.create_task(restart())

    def drain(self, grace: float) -> None:
        """Take no more requests; what still runs after `grace` seconds is ended."""
        self.draining = True
        for run in self._running:
            asyncio.get_running_loop().call_later(grace, run.end, shutting_down())

    def left(self, run: Run, seconds: float) -> None:
        """A run is over, and took so long."""
        self._running.discard(run)
        self._used = time.monotonic()
        if not self._running:
            self._finished.set()
        self._seconds += _SMOOTHING * (seconds - self._seconds)
        self.metrics.observe(run.endings)


class Run:
    """The answers to the requests of one body, `choices` of which are for each prompt; `facts` is for the log. Its
    model may have to be loaded first: then it is opened later."""

    def __init__(
        self, requests: Sequence[Request], facts: dict[str, object], settings: Settings, choices: int | None = None
    ) -> None:
        if settings.log_prompts:
            facts["prompt"] = requests[0].prompt
        self._requests = list(requests)
        if key := str(facts.get("key", "")):  # whoever names no user is told apart by it
            self._requests = [r if r.client else replace(r, client=key) for r in requests]
        self._runs: Runs | None = None
        self.facts, self._settings, self._choices = facts, settings, choices or 1
        self.id = str(facts["id"])
        self.endings: list[Ending | None] = [None] * len(requests)
        self._begun = time.monotonic()
        self._prefilled = 0.0
        self._streams: list[AsyncEventStream] = []
        self._deadline = asyncio.get_running_loop().time() + settings.request_seconds
        self._waiting: asyncio.Timeout | None = None
        self._why: Refusal | None = None
        self._left = False

    async def open(self, runs: Runs) -> None:
        """Returns when the engine has taken all of them."""
        self._runs = runs
        for request in self._requests:
            self._streams.append(runs.engine.astream(request))
        for stream in self._streams:
            if isinstance(stream, AdmittedStream):
                await self._in_time(stream.admitted())

    async def events(self) -> AsyncGenerator[Numbered]:
        """What comes, with the number of the answer that it belongs to."""
        async with aclosing(merged(self._streams)) as events:
            while None in self.endings:
                index, event = await self._in_time(anext(events))
                if event.prefilled is not None or event.waiting is not None:
                    self._prefilled = event.prefilled or 0.0
                    continue
                self.endings[index] = event.end
                yield index, event

    async def all_events(self) -> list[list[GenerationEvent]]:
        """Of each answer, once all have ended."""
        answers: list[list[GenerationEvent]] = [[] for _ in self.endings]
        async with aclosing(self.events()) as events:
            async for index, event in events:
                answers[index].append(event)
        return answers

    def figures(self) -> Figures:
        """Of all answers, once they have ended."""
        return Figures.of([end for end in self.endings if end], self._choices)

    def progress(self) -> str:
        """One line for whoever waits."""
        waited = f"{time.monotonic() - self._begun:.0f} s"
        if self._runs is None:
            return f"{waited}, the model is being loaded"
        return f"{waited}, {100 * self._prefilled:.0f} % of the prompt read" if self._prefilled else waited

    def end(self, why: Refusal) -> None:
        """Let whoever waits for the next event get this instead."""
        self._why, self._deadline = why, 0.0
        if self._waiting:
            self._waiting.reschedule(0.0)

    async def aclose(self) -> None:
        if self._left or self._runs is None:
            return
        self._left = True
        self._runs.left(self, time.monotonic() - self._begun)
        finished = [end for end in self.endings if end]
        self.facts |= {"answers": len(self.endings), "finished": len(finished)}
        if len(finished) == 1:
            (end,) = finished
            self.facts |= {
                "finish": end.reason,
                "prompt_tokens": end.usage.prompt_tokens,
                "cached_tokens": end.usage.cached_tokens,
                "completion_tokens": end.usage.completion_tokens,
                "queued": end.timing.queued,
                "ttft": end.timing.ttft,
                "tokens_per_second": end.timing.tokens_per_second(end.usage.completion_tokens) or None,
                "acceptance_length": end.stats.acceptance_length,
            }
        for stream in self._streams:
            await stream.aclose()

    async def _in_time(self, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout_at(self._deadline) as self._waiting:
                return await work
        except TimeoutError:
            message = f"no answer within {self._settings.request_seconds:g} s"
            raise self._why or Refusal(504, message, code="timeout", headers={"x-should-retry": "false"}) from None
        except EngineError:
            if self._runs:
                self._runs.revive()
            raise
        finally:
            self._waiting = None
