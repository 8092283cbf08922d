"""Text from models, files and other processes, made fit for a terminal.

A terminal acts on control characters wherever they come from. They become visible pictures instead: `␛` for ESC. So do
the characters that turn the direction of what follows, which could make a text read other than it is.
"""

from __future__ import annotations

_PICTURES = 0x2400  # U+2400 "symbol for null", and so on through the C0 controls
_CONTROLS = {code: chr(_PICTURES + code) for code in range(0x20) if chr(code) not in "\n\t"}
_CONTROLS |= {0x7F: "␡"} | dict.fromkeys(range(0x80, 0xA0), "�")
_BIDI = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], "�")
_TABLE = _CONTROLS | _BIDI


def safe(text: str) -> str:
    """The text with nothing in it that a terminal would obey; line ends become `\\n`."""
    return text.replace("\r\n", "\n").translate(_TABLE)


def one_line(text: object, most: int = 300) -> str:
    """A safe line of at most `most` characters, for messages and titles."""
    line = " ".join(safe(str(text)).split())
    return line if len(line) <= most else line[: most - 1] + "…"
