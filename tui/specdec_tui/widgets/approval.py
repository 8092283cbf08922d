"""Whether a call may be run: asked above the prompt."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Static

from specdec.types import ToolCall
from specdec_tui.core.calls import Verdict
from specdec_tui.core.safe import one_line
from specdec_tui.widgets.keyed import Keyed


class Approval(Static, Keyed, can_focus=True):
    """Takes the focus while it asks."""

    KEYS = "y once · a always · n no · x never · Esc stops"
    HELP = "# A call\n\nThe model wants to call a tool. `y` allows this call, `a` all of this tool, `x` none of it.\n"
    BINDINGS: ClassVar[list[BindingType]] = [
        ("y", "say('once')", "Allow this call"),
        ("a", "say('always')", "Allow all calls of this tool"),
        ("n", "say('no')", "Do not allow this call"),
        ("x", "say('never')", "Never allow this tool"),
    ]
    DEFAULT_CSS = """
    Approval {
        display: none; height: auto; max-height: 12; padding: 0 2; margin: 0 1; border-left: outer $secondary;
    }
    Approval.-asks { display: block; }
    Approval:focus { background: $surface; }
    """

    def __init__(self) -> None:
        super().__init__(markup=False, id="approval")
        self._answer: asyncio.Future[Verdict] | None = None

    async def ask(self, call: ToolCall) -> Verdict:
        """Until a key says so. Cancelling ends the question."""
        self._answer = asyncio.get_running_loop().create_future()
        line = Content.assemble(("⚙ ", "dim"), (one_line(call.name), "bold"), "  ", one_line(call.arguments, 2000))
        keys = self.KEYS.removesuffix(" · Esc stops")  # the last line says so
        self.update(Content("\n").join([Content.styled(f"Run it?  {keys}", "dim"), line]))  # a call may be long
        self.add_class("-asks")
        self.focus()
        try:
            return await self._answer
        finally:
            self.remove_class("-asks")

    def action_say(self, verdict: Verdict) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_result(verdict)
