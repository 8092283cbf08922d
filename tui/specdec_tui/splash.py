"""The first paint: the chat's frame, drawn before anything large is imported. The app then draws over it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from specdec_tui.core.palette import Palette, palette

EXAMPLES = (
    "Tell me a story about a shy fox who finds a silver bell.",
    "Replace Tom with Mia: Tom took his boat to the lake. The wind took Tom's hat, and Tom rowed after it.",
    "Who are you, and what can you do?",
)
"""Prompts to begin with, which the bundled model can answer, too."""
GREETING = "Ask something below."
HINTS = """\
Ctrl+T shows an answer as tokens, by where each came from.
F1 lists the keys, / the commands."""

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_LEAST = (40, 16)


@contextmanager
def splash(theme: str) -> Iterator[None]:
    """Paint, if this is a terminal of some size; leave it as it was if what follows fails."""
    size = shutil.get_terminal_size()
    if not sys.__stdout__ or not sys.__stdout__.isatty() or size < _LEAST:
        yield
        return
    colours = None if "NO_COLOR" in os.environ else palette(theme)
    _write(_ENTER + frame(*size, colours))
    try:
        yield
    except BaseException:
        _write(_LEAVE)
        raise


def frame(width: int, height: int, colours: Palette | None) -> str:
    """The whole screen, line by line."""
    bar = plain = dim = "\x1b[0m"
    if (c := colours) is not None:
        bar, plain, dim = _style(c.primary, c.panel), _style(c.border, c.background), _style(c.muted, c.background)
    inner = width - 2
    body = ["", "", f"    {GREETING}"][: height - 5]
    lines = [
        f"{bar}{' ◆ SpecDec New chat':<{width}.{width}}",
        *(f"{dim}{line:<{width}.{width}}" for line in body + [""] * (height - 5 - len(body))),
        f"{plain}╭{'─' * inner}╮",
        f"│{'':<{inner}}│",
        f"╰{'─' * inner}╯",
        f"{bar}{' starting':<{width}}",
    ]
    return "\x1b[H" + "\r\n".join(lines) + "\x1b[0m"


def _style(foreground: str, background: str) -> str:
    return f"\x1b[38;2;{_rgb(foreground)};48;2;{_rgb(background)}m"


def _rgb(colour: str) -> str:
    return ";".join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))


def _write(text: str) -> None:
    assert sys.__stdout__
    sys.__stdout__.write(text)
    sys.__stdout__.flush()
