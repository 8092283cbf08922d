"""How long a piece of work may still take, on stderr while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from specdec.cli.screen import stderr

_EVERY = 30.0
"""Seconds between lines where there is no terminal."""
_KNOWN = 0.02
"""The share of the work after which an estimate is better than none."""


class TimeLeft:
    """Takes the share that is done; 0 begins anew. A bar on a terminal; elsewhere a line now and then, or nothing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, lines: bool = True) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._clock, self._lines = clock, lines
        self._console = stderr()
        columns = TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[left]}")
        self._bar = Progress(
            *columns, console=self._console, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._task = self._bar.add_task("", total=1.0, left="")
        self._begun = self._printed = clock()

    def __call__(self, stage: str, fraction: float) -> None:
        now = self._clock()
        if not fraction:
            self._begun = now
        left = time_left(now - self._begun, fraction)
        if self._console.is_terminal:
            self._bar.update(self._task, description=stage, completed=fraction, left=left)
            self._bar.start()
        elif self._lines and left and now - self._printed >= _EVERY:
            self._printed = now
            self._console.print(f"{fraction:.0%} done ({stage}), {left}", style="dim", soft_wrap=True)

    def close(self) -> None:
        """Before something else is shown. The bar comes back when there is more to tell."""
        if self._console.is_terminal:
            self._bar.stop()


def time_left(seconds: float, fraction: float) -> str:
    """In words, from how long a share of the work took. Nothing while too little is known."""
    if fraction < _KNOWN:
        return ""
    left = seconds * (1 - fraction) / fraction
    return f"about {max(round(left / 10), 1) * 10} s left" if left < 95 else f"about {round(left / 60)} min left"
