"""A chat app under test: over a scripted engine, driven by Textual's pilot, waited for by predicates."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual import events
from textual.pilot import Pilot
from textual.widget import Widget

from specdec.engine import Engine, Progress
from specdec.types import LoadOptions
from specdec_tui.app import ChatApp
from specdec_tui.core.config import Config
from specdec_tui.widgets.gauge_panel import GaugePanel

_PATIENCE = 60.0


class Garage:
    """Makes engines as a test wants them: gives the ones it has in turn, the last one for ever; an error is raised."""

    def __init__(self, *engines: Engine | Exception) -> None:
        self._engines = list(engines)
        self.choices: list[LoadOptions] = []

    def __call__(self, options: LoadOptions, progress: Progress) -> Engine:
        self.choices.append(options)
        progress("target", 0.5)
        engine = self._engines.pop(0) if len(self._engines) > 1 else self._engines[0]
        if isinstance(engine, Exception):
            raise engine
        return engine


@dataclass
class Driver:
    """The app and how to use it."""

    app: ChatApp
    pilot: Pilot[None]

    async def until(self, predicate: Callable[[], object]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not predicate():
            assert time.monotonic() < deadline, "it did not come to that"
            await self.pilot.pause(0.01)

    async def ready(self) -> None:
        await self.until(lambda: self.app.engines.engine is not None and self.app.screen_stack[0].query(GaugePanel))

    async def enter(self, text: str) -> None:
        self.app.main.prompt.focus()  # as the first letter would
        self.app.main.prompt.put(text)
        await self.pilot.press("enter")

    async def ask(self, text: str) -> None:
        """Ask, and wait for the whole answer."""
        answers = sum(t.is_answer for t in self.app.main.chat.conversation.path())
        await self.enter(text)
        await self.until(lambda: self.answered > answers)

    def at_once(self, *keys: str) -> None:
        """Press them faster than anything can follow, where the pilot waits behind each."""
        for key in keys:
            self.app.post_message(events.Key(key, key if len(key) == 1 else None))

    async def compare(self) -> None:
        """As F5 does, once the answer is there to its last frame."""
        await self.until(lambda: not self.app.main.busy)
        await self.pilot.press("f5")

    @property
    def answered(self) -> int:
        """Answers that are there to their last frame, which commands wait for too; 0 while one is under way."""
        turns = self.app.main.chat.conversation.path()
        return 0 if self.app.main.busy else sum(t.is_answer and t.state != "running" for t in turns)

    @property
    def toasts(self) -> list[str]:
        """What the app has said so far in toasts, and what it says went wrong."""
        problem = self.app.main.problem.text
        return [n.message for n in self.app._notifications] + ([problem] if problem else [])

    @property
    def texts(self) -> list[str]:
        return [t.text for t in self.app.main.chat.conversation.path()]

    def text_of(self, selector: str | type[Widget]) -> str:
        """What a widget of one line or a few shows."""
        return str(self.app.screen.query_one(selector).render())


@asynccontextmanager
async def running(
    *engines: Engine | Exception,
    garage: Garage | None = None,
    config: Config | None = None,
    size: tuple[int, int] = (120, 40),
    database: Path | None = None,
    resume: str | None = None,
    typed: str = "",
    **options: Any,
) -> AsyncIterator[Driver]:
    app = ChatApp(config or Config(), garage or Garage(*engines), database=database, resume=resume, typed=typed)
    async with app.run_test(size=size, **options) as pilot:
        yield Driver(app, pilot)


def words(text: str) -> Sequence[str]:
    """A script of one token a word."""
    return [word if i == 0 else f" {word}" for i, word in enumerate(text.split(" "))]
