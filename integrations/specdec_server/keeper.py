"""Keeps an engine in its child process alive: one that died is started again. Requests are refused meanwhile."""

from __future__ import annotations

import asyncio

from specdec.engine import Engine
from specdec.errors import SpecDecError
from specdec.process.engine import ProcessEngine
from specdec_server.journal import line, log


class Keeper:
    """Watches one engine. An engine in this process is its owner's to keep."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine if isinstance(engine, ProcessEngine) else None
        self._revival: asyncio.Task[None] | None = None
        self.resting = False
        """Set once the engine shall not be started again."""

    def revive(self) -> None:
        """Start the engine again if it will not come back by itself."""
        reviving = self._revival is not None and not self._revival.done()
        if self._engine and self._engine.over and not reviving and not self.resting:
            log.error(line("engine_died", {"why": self._engine.over}))
            self._revival = asyncio.create_task(self._restart(self._engine))

    async def _restart(self, engine: ProcessEngine) -> None:
        try:
            await asyncio.to_thread(engine.restart)
        except SpecDecError as error:
            log.error(line("engine_lost", {"why": error}))
        else:
            log.warning(line("engine_restarted", {}))
