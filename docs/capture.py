"""Runs a command in a terminal and draws what it showed.

python docs/capture.py docs/demo.svg specdec generate --compare
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH, HEIGHT = 100, 60
_SPACE = "&#160;"


def shown(command: list[str]) -> str:
    """All that the command wrote, as a terminal of this size got it."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(WIDTH), "LINES": str(HEIGHT), "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    pieces = []
    while piece := _read(ours):
        pieces.append(piece)
    process.wait()
    return b"".join(pieces).decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""


def settled(output: str) -> str:
    """What stays on the screen: a progress bar hides the cursor, and goes up and erases its line when it is done."""
    still = re.sub(r"\x1b\[\?25l.*?\x1b\[1A\x1b\[2K", "", output, flags=re.DOTALL).strip()
    return re.sub(r"(\x1b\[32m[^\x1b]*)\x1b\[0m(?=\x1b\[32m)", r"\1", still)  # one span where one colour goes on


def tight(svg: str) -> str:
    """Spaces at the edges of a span moved into its position: not every renderer keeps them."""

    def trim(found: re.Match[str]) -> str:
        head, x, middle, length, rest, text = found.groups()
        kept = re.sub(rf"^({_SPACE})+|({_SPACE})+$", "", text)
        lead = text.index(kept) // len(_SPACE)
        cell = float(length) / len(unescape(text))
        width = cell * len(unescape(kept))
        return f'{head}x="{float(x) + lead * cell:.1f}"{middle}textLength="{width:.1f}"{rest}>{kept}</text>'

    return re.sub(r'(<text [^>]*?)x="([\d.]+)"([^>]*?)textLength="([\d.]+)"([^>]*)>([^<]+)</text>', trim, svg)


def main() -> None:
    target, *command = sys.argv[1:]
    output = Text.from_ansi(f"$ {' '.join(command)}\n\n{settled(shown(command))}")
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(output)
    Path(target).write_text(tight(console.export_svg(title="specdec")), "utf-8")


if __name__ == "__main__":
    main()
