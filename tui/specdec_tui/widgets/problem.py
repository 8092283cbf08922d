"""What went wrong, above the prompt, until something else is done."""

from __future__ import annotations

from textual.widgets import Static


class Problem(Static):
    """Whole, however long it is."""

    DEFAULT_CSS = """
    Problem {
        display: none; height: auto; max-height: 8; padding: 0 2; margin: 0 1; color: $error;
        border-left: outer $error;
    }
    Problem.-some { display: block; }
    """

    def __init__(self) -> None:
        super().__init__(markup=False, id="problem")
        self.text = ""

    def show(self, text: str) -> None:
        """Nothing takes it away."""
        if text != self.text:
            self.text = text
            self.set_class(bool(text), "-some")
            self.update(text)
