"""What is typed before there is a prompt: kept off the screen, and given to the prompt."""

from __future__ import annotations

import os
import re
import select
import sys
from typing import Any, Self

_KEYS = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O.|.)?|.", re.DOTALL)


class EarlyKeys:
    """While it is open, the terminal keeps keys to itself; afterwards it is as it was. Nothing without a terminal."""

    def __init__(self) -> None:
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        if sys.platform != "win32" and sys.__stdin__ and sys.__stdin__.isatty():
            import termios
            import tty

            self._before = termios.tcgetattr(sys.__stdin__)
            tty.setcbreak(sys.__stdin__, termios.TCSANOW)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before and sys.platform != "win32":
            import termios

            termios.tcsetattr(sys.stdin, termios.TCSANOW, self._before)

    def read(self) -> str:
        """What has been typed so far; never waits."""
        typed = b""
        while self._before and sys.__stdin__ and select.select([sys.__stdin__], [], [], 0)[0]:
            if not (more := os.read(sys.__stdin__.fileno(), 4096)):
                break
            typed += more
        return written(typed.decode(errors="ignore"))


def written(keys: str) -> str:
    """What keys come to: Enter ends a line, Backspace takes a character back, what writes nothing is left out."""
    text = ""
    for key in _KEYS.findall(keys):
        if key in ("\x7f", "\b"):
            text = text[:-1]
        elif key in "\r\n":
            text += "\n"
        elif key.isprintable():
            text += key
    return text
