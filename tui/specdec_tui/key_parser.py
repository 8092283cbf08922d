"""What a terminal's bytes are as keys."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

from textual._xterm_parser import XTermParser
from textual.events import Key

_ESCAPE = "\x1b"
_INTRODUCERS = set("[]NOPX^_")
"""Behind the byte of Esc they begin what terminals say by themselves, of which some is not known."""


class KeyParser(XTermParser):
    """Most terminals write Alt and a key as they write Esc and then the key. Textual takes what comes within a tenth of
    a second for Alt, so that Esc is lost; here it is Esc, but for keys that are `bound` with Alt."""

    def __init__(self, bound: Container[str], *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._bound = bound

    def _sequence_to_key_events(self, sequence: str, alt: bool = False) -> Iterable[Key]:
        plain = list(super()._sequence_to_key_events(sequence))
        if not alt or sequence in _INTRODUCERS or not plain:
            return plain
        with_alt = f"alt+{plain[0].key}"
        if with_alt in self._bound:
            return [Key(with_alt, None)]
        return [*super()._sequence_to_key_events(_ESCAPE), *plain]
