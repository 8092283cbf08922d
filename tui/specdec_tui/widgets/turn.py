"""One turn on the screen: a prompt, a tool's result, or an answer that may still be coming."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from specdec_tui.core.code import as_markdown
from specdec_tui.core.conversation import Turn
from specdec_tui.core.files import asked
from specdec_tui.core.frames import FRAME, Frames
from specdec_tui.core.generation import Generation
from specdec_tui.core.safe import one_line, safe
from specdec_tui.widgets.calls import Calls
from specdec_tui.widgets.figures import answer_parts, fitting
from specdec_tui.widgets.keyed import Keyed
from specdec_tui.widgets.reasoning import Reasoning
from specdec_tui.widgets.steady import Steady

if TYPE_CHECKING:
    from textual.widgets import Markdown

_MOST = 6000
"""Characters of a prompt that are shown; the rest is still sent."""
_ENDINGS = {
    "cancelled": "stopped by you",
    "interrupted": "the chat ended while this came: r answers again",
    "failed": "failed",
}


class FiguresLine(Static):
    """As much of it as there is room for."""

    DEFAULT_CSS = "FiguresLine { height: 1; }"

    def __init__(self) -> None:
        super().__init__("", classes="meta", markup=False)
        self._parts: list[str] = []

    def show(self, parts: list[str]) -> None:
        self._parts = parts
        self.display = bool(parts)
        self.refresh()

    def render(self) -> str:
        return fitting(self._parts, self.content_size.width)


class FocusBar(Steady, Widget):
    """Stands beside the turn that has the focus. A border there would be drawn anew, all of it, in every frame."""

    BLANK = True
    DEFAULT_CSS = "FocusBar { dock: left; width: 1; height: 100%; margin: 0 1 0 0; }"


class TurnView(Steady, Vertical, Keyed, can_focus=True):
    """What all turns have: focus, and keys that act on this very turn."""

    KEYS = "c copy · r again · e edit · t tokens · Esc prompt"

    BLANK = True  # else an empty text as tall as the turn would be laid out whenever it grows
    HELP = "# A turn\n\n`Tab` and `Shift+Tab` go from turn to turn.\n"
    BINDINGS: ClassVar[list[BindingType]] = [
        ("c", "turn('copy')", "Copy"),
        ("b", "turn('code')", "Copy its last code block"),
        ("r", "turn('retry')", "Answer again"),
        ("e", "turn('edit')", "Change the prompt and branch"),
        ("t", "turn('tokens')", "Show an answer's tokens"),
        ("left_square_bracket", "turn('before')", "Branch before"),
        ("right_square_bracket", "turn('after')", "Branch after"),
    ]
    DEFAULT_CSS = """
    TurnView {
        height: auto; max-width: 104; padding: 0 1 0 0; margin: 0 0 1 0;
        &:focus > FocusBar { background: $primary; }
        .meta { color: $text-muted; height: auto; padding: 0 2; }
        .failed { color: $error; height: auto; padding: 0 2; margin: 1 0 0 0; }
    }
    """

    def __init__(self, turn: Turn, branch: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.turn, self.branch = turn, branch

    async def action_turn(self, what: str) -> None:
        await self.run_action(f"screen.turn({self.turn.id}, '{what}')")

    @property
    def branch_mark(self) -> str:
        at, of = self.branch
        return f"‹ {at}/{of} ›" if of > 1 else ""


class PromptView(TurnView):
    """What the user said, or what a tool returned."""

    DEFAULT_CSS = """
    PromptView {
        margin: 0;
        .said { height: auto; padding: 0 1; background: $surface; border-left: outer $primary; }
        .file { height: 1; padding: 0 3; color: $text-muted; }
        &.-tool .said { border-left: outer $secondary; color: $text-muted; }
    }
    """

    def compose(self) -> ComposeResult:
        self.set_class(self.turn.message.role == "tool", "-tool")
        yield FocusBar()
        text, files = asked(self.turn.text) if self.turn.message.role == "user" else (self.turn.text, [])
        more = f"\n… and {len(text) - _MOST:,} more characters" if len(text) > _MOST else ""
        tool = (
            f"⚙ {one_line(self.turn.message.name)}\n" if self.turn.message.name else ""
        )  # several may have been called
        yield Static(Content.assemble((tool, "dim"), safe(text[:_MOST]), (more, "dim")), classes="said")
        for path, content in files:
            yield Static(f"▤ {safe(path)}  {len(content.split()):,} words", classes="file", markup=False)
        if self.branch_mark:
            yield Static(self.branch_mark, classes="meta", markup=False)


class AnswerView(TurnView):
    """An answer. While it comes, `draw` shows what is due; `finish` draws the whole once more, as it stays."""

    DEFAULT_CSS = """
    AnswerView {
        Markdown { padding: 0 2; background: transparent; }
        Markdown > MarkdownBlock { margin: 1 0 0 0; }  /* above: a rule for :last-child costs in every frame */
        MarkdownFence { background: $surface; }
        MarkdownH1 { content-align: left middle; }
        .meta { margin: 1 0 0 0; }
    }
    """

    def __init__(self, turn: Turn, branch: tuple[int, int] = (1, 1)) -> None:
        # a twentieth of a second that the first paint does without
        from specdec_tui.widgets.code_block import AnswerMarkdown

        super().__init__(turn, branch)
        self._frames = Frames()
        self._fed = 0
        self._reasoning, self._calls = Reasoning(), Calls()
        self._markdown: Markdown = AnswerMarkdown(safe(as_markdown(turn.text)))
        self._failed = Static("", classes="failed", markup=False)
        self._meta = FiguresLine()

    def compose(self) -> ComposeResult:
        yield from (FocusBar(), self._reasoning, self._markdown, self._calls, self._failed, self._meta)

    def on_mount(self) -> None:
        self._settle()

    @property
    def source(self) -> str:
        """What is shown, as Markdown."""
        return self._markdown.source

    async def draw(self, generation: Generation, now: float) -> bool:
        """Show what is due, if anything is; whether it was. Costs nothing when nothing is."""
        frames, answer = self._frames, generation.answer
        if not (self._meta.is_mounted and frames.due(now)):
            return False
        begun = time.thread_time()
        changed = self._reasoning.show(answer.reasoning, thinking=not answer.content)
        changed |= self._calls.show(tuple(answer.calls.values()))
        frames.feed(safe(answer.content[self._fed :]))
        self._fed = len(answer.content)
        if text := frames.take():
            await self._markdown.append(text)
        if not (changed or text):
            return False
        frames.begin(now, generation.drawing)
        self.call_after_refresh(lambda: frames.spent(time.thread_time() - begun))
        return True

    async def finish(self, turn: Turn, branch: tuple[int, int]) -> None:
        """What is left, at once, and then the whole once more: what came in pieces may read differently as a whole."""
        self.turn, self.branch = turn, branch
        self._frames.feed(safe(turn.text[self._fed :]))
        if self.is_on_screen and (rest := self._frames.rest()):
            await self._markdown.append(rest)
        await asyncio.sleep(FRAME)  # so that the end is on the screen before the work on the whole begins
        await self._markdown.update(safe(as_markdown(turn.text)))
        self._settle()

    def _settle(self) -> None:
        """Everything but the text."""
        turn = self.turn
        self._reasoning.show(turn.message.reasoning or "", thinking=False)
        self._calls.show(turn.message.tool_calls)
        ending = _ENDINGS.get(turn.state, "")
        error = one_line(turn.figures.get("error", ""))
        self._failed.update(": ".join(part for part in (ending, error) if part))
        self._failed.display = bool(ending)
        parts = [self.branch_mark] if self.branch_mark else []
        self._meta.show(parts + (answer_parts(turn.figures) if turn.figures.get("tokens") else []))
