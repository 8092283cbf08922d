"""The conversation. Stays at its end while the reader is there, and leaves alone a reader who has scrolled up."""

from __future__ import annotations

from collections.abc import Sequence

from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static

from specdec.types import EngineInfo
from specdec_tui.core.conversation import Conversation, Turn
from specdec_tui.widgets.keyed import Keyed
from specdec_tui.widgets.start import Start
from specdec_tui.widgets.steady import Steady
from specdec_tui.widgets.turn import AnswerView, PromptView, TurnView

_SHOWN = 20
"""Turns that are on the screen at first; earlier ones are shown when asked for."""
_MOST = 40
"""Turns on the screen beyond which the earliest leave it."""


class Earlier(Static):
    """Stands for the turns above."""

    async def on_click(self) -> None:
        await self.run_action("screen.earlier")


class Turns(Steady, Vertical):
    """All that is shown of the path."""

    BLANK = True  # as for a turn


class Transcript(Steady, VerticalScroll, Keyed, can_focus=True):
    """Views of the turns on the shown path, or of its end."""

    KEYS = "↑ ↓ scroll · Tab a turn · Esc prompt"

    BLANK = True
    HELP = "# Conversation\n\n`Tab` goes from turn to turn.\n"
    DEFAULT_CSS = """
    Transcript {
        scrollbar-size-vertical: 1; background: $background;
        #turns { height: auto; min-height: 100%; padding: 1 1 0 1; }  /* Textual anchors to the end, even a short one */
        Earlier { color: $text-muted; text-align: center; margin: 0 0 1 0; }
    }
    """

    def __init__(self) -> None:
        self._turns = Turns(Start(None), id="turns")
        super().__init__(self._turns, id="transcript")
        self._path: list[Turn] = []
        self.can_focus = False  # so that Tab goes to the examples of an empty one
        self._hidden = 0
        self._info: EngineInfo | None = None

    def show_engine(self, info: EngineInfo | None) -> None:
        """Who answers from now on."""
        self._info = info
        for start in self.query(Start):
            start.show(info)

    def view(self, turn: int) -> TurnView | None:
        views = reversed(self._turns.children)  # a query costs a tenth of a frame
        return next((v for v in views if isinstance(v, TurnView) and v.turn.id == turn), None)

    async def show(self, conversation: Conversation, most: int = _SHOWN) -> None:
        """The whole path anew."""
        self._path = conversation.path()
        self.can_focus = bool(self._path)
        self._hidden = max(0, len(self._path) - most)
        views = [view_of(conversation, turn) for turn in self._path[self._hidden :]]
        with self.app.batch_update():
            await self._turns.remove_children()
            await self._turns.mount_all([*self._earlier(), *views] or [Start(self._info)])
        self.anchor()

    async def add(self, conversation: Conversation, turns: Sequence[Turn]) -> None:
        """Turns that follow what is shown."""
        with self.app.batch_update():
            await self.query(Start).remove()
            await self._turns.mount_all([view_of(conversation, turn) for turn in turns])
        self._path += turns
        self.can_focus = True
        self.anchor()
        views = list(self.query(TurnView))
        if len(views) > _MOST:
            gone = views[: len(views) - _SHOWN]
            self._hidden += len(gone)
            with self.app.batch_update():
                await self.query(Earlier).remove()
                await self._turns.remove_children(gone)
                await self._turns.mount_all(self._earlier(), before=0)

    async def show_earlier(self, conversation: Conversation) -> None:
        """More of what is above."""
        shown = len(self._path) - self._hidden
        await self.show(conversation, shown + _SHOWN)
        self.scroll_home(animate=False)

    def _earlier(self) -> list[Earlier]:
        return [Earlier(f"▲ {self._hidden} earlier turns (Ctrl+Up)", markup=False)] if self._hidden else []


def view_of(conversation: Conversation, turn: Turn) -> TurnView:
    return (AnswerView if turn.is_answer else PromptView)(turn, conversation.branch(turn.id))
