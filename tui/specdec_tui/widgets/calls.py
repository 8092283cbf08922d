"""A call that the model made, laid out to be read."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from specdec.types import ToolCall
from specdec_tui.core.code import pretty_json
from specdec_tui.core.safe import safe


class Calls(Static):
    """Tool calls, each its name and its arguments."""

    DEFAULT_CSS = """
    Calls {
        display: none; height: auto; margin: 1 2 0 2; padding: 0 1; background: $surface;
        border-left: outer $secondary;
    }
    Calls.-some { display: block; }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._shown: tuple[ToolCall, ...] = ()

    def show(self, calls: Sequence[ToolCall]) -> bool:
        """Whether that changed anything."""
        if tuple(calls) == self._shown:
            return False
        from textual.highlight import highlight

        self._shown = tuple(calls)
        self.set_class(bool(calls), "-some")
        lines = []
        for call in calls:
            arguments = highlight(safe(pretty_json(call.arguments) or call.arguments), language="json")
            lines.append(Content.assemble(("⚙ ", "dim"), (safe(call.name), "bold"), "\n", arguments))
        self.update(Content("\n").join(lines))
        return True
