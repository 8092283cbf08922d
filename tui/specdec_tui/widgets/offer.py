"""What could be done now, above the prompt, until it is done or left."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from specdec_tui.core.offers import Offer
from specdec_tui.core.safe import one_line


class OfferLine(Static):
    """Takes no focus: whoever types goes on typing. Each is made once."""

    DEFAULT_CSS = """
    OfferLine { display: none; height: auto; padding: 0 2; margin: 0 1; border-left: outer $primary; }
    OfferLine.-some { display: block; }
    """

    def __init__(self) -> None:
        super().__init__(markup=False, id="offer")
        self.offer: Offer | None = None
        self._made: set[str] = set()

    def make(self, offer: Offer | None) -> None:
        if offer and offer.key not in self._made:
            self._made.add(offer.key)
            self._show(offer)

    def take(self) -> str | None:
        """The command that does it, if there is something to do; then it is gone."""
        taken = self.offer
        self._show(None)
        return taken.command if taken else None

    def _show(self, offer: Offer | None) -> None:
        self.offer = offer
        self.set_class(offer is not None, "-some")
        if offer:
            keys = Content.styled(f"F9 {offer.does} · Esc hides this", "dim")
            self.update(Content("\n").join([Content(one_line(offer.text, 400)), keys]))
