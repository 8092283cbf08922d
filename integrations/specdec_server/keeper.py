"""Keeps an engine in its child process alive: one that died is started again, and requests are refused meanwhile."""

from __future__ import annotations

import asyncio

from specdec.engine import Engine
from specdec.errors import EngineClosed, EngineFailed, SpecDecError
from specdec.process.engine import ProcessEngine
from specdec_server.journal import line, log


class Keeper:
    """Watches one engine. An engine in this process is its owner's to keep."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine if isinstance(engine, ProcessEngine) else None
        self._failure: str | None = None
        self._revival: asyncio.Task[None] | None = None
        self.resting = False
        """Set once the engine shall not be started again."""

    @property
    def down(self) -> str | None:
        """Why the engine takes no requests, or None."""
        return (self._engine.over or self._failure) if self._engine else None

    def heard(self, error: BaseException) -> None:
        """An answer ended with this: if it is the end of the engine, start it again."""
        if self._engine and isinstance(error, EngineFailed | EngineClosed):
            self._failure = str(error)
            self.revive()

    def revive(self) -> None:
        """Start the engine again if it is down."""
        reviving = self._revival is not None and not self._revival.done()
        if self._engine and self.down and not reviving and not self.resting:
            log.error(line("engine_died", {"why": self.down}))
            self._revival = asyncio.create_task(self._restart(self._engine))

    async def _restart(self, engine: ProcessEngine) -> None:
        try:
            await asyncio.to_thread(engine.restart)
        except SpecDecError as error:
            log.error(line("engine_lost", {"why": error}))
        else:
            self._failure = None
            log.warning(line("engine_restarted", {}))
