"""Runs a command in a terminal and draws what it showed, as it came: text appears when it was written, only slower.

python docs/capture.py docs/demo.svg specdec generate --compare "Tell me a story about a fox."
"""

from __future__ import annotations

import io
import os
import pty
import re
import shlex
import subprocess
import sys
import time
from html import unescape
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH, HEIGHT = 100, 60
SLOWER = 4
_SPACE = "&#160;"
_TEXT = re.compile(r'(<text [^>]*?)x="([\d.]+)"([^>]*?)textLength="([\d.]+)"([^>]*)>([^<]+)</text>')
_UNSEEN = re.compile(r"\x1b\[\?25l.*?\x1b\[1A\x1b\[2K|\x1b\[[\d;?]*[A-Za-z]|\s", re.DOTALL)
"""A progress bar hides the cursor, and goes up and erases its line when it is done."""


def shown(command: list[str]) -> list[tuple[float, str]]:
    """All that the command wrote to a terminal of this size, each piece with the second when it came."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(WIDTH), "LINES": str(HEIGHT), "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    pieces = []
    while piece := _read(ours):
        pieces.append((time.monotonic(), piece.decode(errors="ignore").replace("\r\n", "\n")))
    process.wait()
    return pieces


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""


def settled(output: str) -> str:
    """What stays on the screen."""
    still = re.sub(r"\x1b\[\?25l.*?\x1b\[1A\x1b\[2K", "", output, flags=re.DOTALL).strip()
    return re.sub(r"(\x1b\[32m[^\x1b]*)\x1b\[0m(?=\x1b\[32m)", r"\1", still)  # one span where one colour goes on


def arrivals(pieces: list[tuple[float, str]]) -> list[float]:
    """For each character that is seen: seconds after the first one."""
    output = "".join(text for _, text in pieces)
    times = [when for when, text in pieces for _ in text]
    for unseen in reversed([found.span() for found in _UNSEEN.finditer(output)]):
        del times[slice(*unseen)]
    return [when - times[0] for when in times]


def drawn(svg: str, command: str, times: list[float]) -> str:
    """Each span's text uncovered as it came. Spaces at its edges become position: not every renderer keeps them."""
    waiting = iter([0.0] * len(re.sub(r"\s", "", command)) + times)

    def draw(found: re.Match[str]) -> str:
        head, x, middle, length, rest, text = found.groups()
        kept = re.sub(rf"^({_SPACE})+|({_SPACE})+$", "", text)
        came = [next(waiting, 0.0) for letter in unescape(kept) if not letter.isspace()]
        if not came:
            return found[0]
        cell = float(length) / len(unescape(text))
        moved = float(x) + text.index(kept) // len(_SPACE) * cell
        delay, duration = came[0] * SLOWER, (came[-1] - came[0]) * SLOWER + 0.02
        style = f"animation-delay:{delay:.2f}s;animation-duration:{duration:.2f}s"
        width = cell * len(unescape(kept))
        return f'{head}x="{moved:.1f}"{middle}textLength="{width:.1f}"{rest} class="came" style="{style}">{kept}</text>'

    moving = re.sub(r'class="([^"]*)"([^>]*) class="came"', r'class="\1 came"\2', _TEXT.sub(draw, svg))
    rule = ".came{animation:came linear both}@keyframes came{from{clip-path:inset(0 100% 0 0)}to{clip-path:inset(0)}}"
    return moving.replace("<style>", f"<style>{rule}", 1)


def main() -> None:
    target, *command = sys.argv[1:]
    pieces, line = shown(command), f"$ {shlex.join(command)}"
    output = Text.from_ansi(f"{line}\n\n{settled(''.join(text for _, text in pieces))}")
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(output)
    svg = console.export_svg(title=f"specdec, shown at 1/{SLOWER} of its speed")
    Path(target).write_text(drawn(svg, line, arrivals(pieces)), "utf-8")


if __name__ == "__main__":
    main()
