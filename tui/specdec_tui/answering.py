"""Runs one answer at a time: listens in a task, shows frames, saves as it goes, and ends in order whatever happens."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from specdec.engine import Engine
from specdec.errors import EngineError
from specdec_tui.core.conversation import Turn
from specdec_tui.core.engines import is_beside
from specdec_tui.core.frames import FRAME
from specdec_tui.core.live import Live
from specdec_tui.core.tokenlog import TokenLog
from specdec_tui.widgets.transcript import branch_of
from specdec_tui.widgets.turn import AnswerView

if TYPE_CHECKING:
    from specdec_tui.app import ChatApp

_SAVE_EVERY = _LOOK_EVERY = 0.1
"""Seconds; the second between looks at an answer whose engine decodes on the cores that draw: its frames are rarer."""
_LOGS = 8
"""Answers whose tokens are kept."""


class Answering:
    """What the app knows of the answer under way and of the last ones."""

    def __init__(self, app: ChatApp) -> None:
        self._app = app
        self.live: Live | None = None
        """Under way, or the last one."""
        self._listening: asyncio.Task[None] | None = None
        self._logs: OrderedDict[tuple[str, int], TokenLog] = OrderedDict()
        self._saved = 0.0

    @property
    def running(self) -> bool:
        return self.live is not None and self.live.running

    def log(self, turn: int) -> TokenLog | None:
        return self._logs.get((self._app.chat.id, turn))

    def cancel(self) -> None:
        """The stream is left at once; what came stays."""
        if self._listening:
            self._listening.cancel()

    async def answer(self, engine: Engine, prompt: Turn) -> None:
        """Answer the turn, from first frame to last. Cancelling this leaves the turn as it is then."""
        chat = self._app.chat
        request = chat.request(prompt.id)
        live = self.live = Live(chat.begin_answer(prompt.id), request, beside=is_beside(engine))
        self._keep(live)
        await self._app.transcript.add(chat.conversation, [live.turn])
        if self._app.shows_tokens and self._app.pane:
            self._app.pane.show(live.log)
        self._app.prompt.cursor_blink = not live.beside  # half of what is drawn while no frame is
        self._listening = asyncio.create_task(live.listen(engine))
        try:
            await self._attend(live)
        finally:
            self._listening.cancel()
            self._app.prompt.cursor_blink = True
            if live.running:  # the app is leaving
                chat.keep(live.now("interrupted"))
        await self._settle(live)

    async def _attend(self, live: Live) -> None:
        assert self._listening
        pause = _LOOK_EVERY if live.beside else FRAME
        while not self._listening.done():
            await asyncio.wait({self._listening}, timeout=pause)
            await self._frame(live)
        if not self._listening.cancelled():
            self._listening.result()

    async def _frame(self, live: Live) -> None:
        now = time.perf_counter()
        if now - self._saved > _SAVE_EVERY and (new := live.take()):
            self._saved = now
            self._app.chat.grow(live.now(), new)
        if self._app.shows_tokens and self._app.pane:
            self._app.pane.tokens.grow()
        elif isinstance(view := self._app.transcript.view(live.turn.id), AnswerView):
            await view.frame(live, now)

    async def _settle(self, live: Live) -> None:
        app = self._app
        if live.empty and (live.refused or live.turn.state == "cancelled"):
            await self._take_back(live)
            return
        app.chat.keep(live.turn)
        view = app.transcript.view(live.turn.id)
        if isinstance(view, AnswerView):
            await view.finish(live.turn, branch_of(app.chat.conversation, live.turn.id))
        if live.error:
            app.tell(live.error)
        if isinstance(live.error, EngineError):
            app.watch_engine()

    async def _take_back(self, live: Live) -> None:
        """Nothing came: the prompt goes back to where it can be changed."""
        app = self._app
        prompt = app.chat.conversation[live.turn.parent] if live.turn.parent else None
        app.chat.take_back(live.turn)
        if prompt and prompt.message.role == "user" and not app.chat.conversation.followers(prompt.id):
            app.chat.take_back(prompt)
            app.prompt.put(prompt.text)
        await app.transcript.show(app.chat.conversation)
        if live.error:
            app.tell(live.error)

    def _keep(self, live: Live) -> None:
        self._logs[self._app.chat.id, live.turn.id] = live.log
        while len(self._logs) > _LOGS:
            self._logs.popitem(last=False)
