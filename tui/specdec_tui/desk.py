"""Looks after the engine: loads it behind the screen, changes it, notices its end, brings it back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from textual.message import Message

from specdec.engine import Engine
from specdec_tui.core.engines import EngineChoice, Open


class Progress(Message):
    """How far loading has come."""

    def __init__(self, stage: str, fraction: float) -> None:
        super().__init__()
        self.stage, self.fraction = stage, fraction


class Ready(Message):
    """The engine answers."""


class Failed(Message):
    """No engine: it could not be loaded. `previous` is what was loaded before."""

    def __init__(self, choice: EngineChoice, error: Exception, previous: EngineChoice | None) -> None:
        super().__init__()
        self.choice, self.error, self.previous = choice, error, previous


class _GivenUp(Exception):
    """Another engine is wanted by now."""


class Desk:
    """Holds at most one engine. Every method returns at once; `tell` hears what came of it."""

    def __init__(self, opening: Open, choice: EngineChoice, tell: Callable[[Message], object]) -> None:
        self._open, self._tell = opening, tell
        self.choice = choice
        self.engine: Engine | None = None
        self._generation = 0

    @property
    def loading(self) -> bool:
        return self.engine is None and self._generation > 0

    def load(self, choice: EngineChoice) -> None:
        """Load this one. The present engine ends first: two of them may not fit into memory."""
        previous = self.choice if self.engine and choice != self.choice else None
        self.choice = choice
        self._begin(previous)

    def restart(self) -> None:
        """The same again."""
        self._begin(None)

    @property
    def down(self) -> str | None:
        """Why the engine, if there is one, takes no requests."""
        return self.engine.down if self.engine else None

    def close(self) -> None:
        self._generation += 1
        engine, self.engine = self.engine, None
        if engine:
            engine.close()

    def _begin(self, previous: EngineChoice | None) -> None:
        self._generation += 1
        old, self.engine = self.engine, None
        arguments = (self._generation, self.choice, old, previous)
        threading.Thread(target=self._load, args=arguments, name="specdec-loading", daemon=True).start()

    def _load(self, generation: int, choice: EngineChoice, old: Engine | None, previous: EngineChoice | None) -> None:
        try:
            if old:
                old.close()
            engine = self._open(choice, partial(self._progress, generation))
        except _GivenUp:
            return
        except Exception as error:  # noqa: BLE001  (whatever it is, the screen tells it and goes on)
            if generation == self._generation:
                self._tell(Failed(choice, error, previous))
            return
        if generation != self._generation:
            engine.close()
            return
        self.engine = engine
        self._tell(Ready())

    def _progress(self, generation: int, stage: str, fraction: float) -> None:
        if generation != self._generation:
            raise _GivenUp
        self._tell(Progress(stage, fraction))
