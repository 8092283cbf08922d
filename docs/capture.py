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
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH, HEIGHT = 100, 60


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
    return re.sub(r"\x1b\[\?25l.*?\x1b\[1A\x1b\[2K", "", output, flags=re.DOTALL).strip()


def main() -> None:
    target, *command = sys.argv[1:]
    output = Text.from_ansi(f"$ {' '.join(command)}\n\n{settled(shown(command))}")
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(output)
    Path(target).write_text(console.export_svg(title="specdec"), "utf-8")


if __name__ == "__main__":
    main()
