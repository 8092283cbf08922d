"""What the chat says to the terminal itself."""

from __future__ import annotations

import base64
from collections.abc import Mapping

KEEP_TITLE, TITLE_BACK = "\x1b[22;0t", "\x1b[23;0t"


def title(text: str) -> str:
    """Of the window or tab. The text has to be safe."""
    return f"\x1b]0;{text}\x07"


def clipboard(text: str, environment: Mapping[str, str]) -> str:
    """OSC 52, which most terminals obey and none confirms. tmux takes it in one form or the other, by its settings."""
    plain = f"\x1b]52;c;{base64.b64encode(text.encode()).decode()}\x07"
    if "TMUX" not in environment:
        return plain
    wrapped = plain.replace("\x1b", "\x1b\x1b")
    return f"{plain}\x1bPtmux;{wrapped}\x1b\\"
