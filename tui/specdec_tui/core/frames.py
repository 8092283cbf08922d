"""When a streamed text is shown: in frames, as fast as the screen can follow and no faster.

A screen that draws every token cannot keep up with a fast engine, and inside a long code block each drawing costs
more than the one before. So text is gathered, and let out a frame at a time: 20 times a second in prose, calmer and by
whole lines inside a code fence, and never so often that drawing takes more than a share of the time.
"""

from __future__ import annotations

import re

FRAME, _FENCE = 1 / 20, 1 / 6
"""Seconds between frames at best, in prose and in a fence."""
_LONGEST = 0.6
DRAWING, DRAWING_SHARED = 0.3, 0.02
"""Shares of the time that drawing may take; the second where the engine decodes on the same cores and waits for it."""
_MARK = re.compile(r"^ {0,3}(`{3,}|~{3,})[^`\n]*$", re.MULTILINE)


class FrameClock:
    """When the next frame is due. Whatever of an answer is drawn, all of it is drawn in frames."""

    def __init__(self) -> None:
        self._next = 0.0
        self._cost = 0.015  # until it is known

    def due(self, now: float) -> bool:
        return now >= self._next

    def begin(self, now: float, share: float = DRAWING, least: float = FRAME) -> None:
        """Draw a frame. Drawing may take `share` of the time until the next, at least so many seconds later."""
        self._next = now + min(max(least, self._cost / share), _LONGEST)

    def spent(self, seconds: float) -> None:
        """How long drawing the last frame took."""
        self._cost = 0.7 * self._cost + 0.3 * seconds


class Frames(FrameClock):
    """Gathers text; `take` gives what is ready."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[str] = []
        self._line = ""
        self._fence: str | None = None

    @property
    def in_fence(self) -> bool:
        return self._fence is not None

    def begin(self, now: float, share: float = DRAWING, least: float = FRAME) -> None:
        super().begin(now, share, _FENCE if self.in_fence else least)

    def feed(self, text: str) -> None:
        self._waiting.append(text)

    def take(self) -> str:
        """The text to show in a frame, sometimes none."""
        text = "".join(self._waiting)
        if self.in_fence:  # half a line would be coloured one way now and another way in the next frame
            text = text[: text.rfind("\n") + 1]
        self._keep("".join(self._waiting)[len(text) :])
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:  # does the text so far end inside a fence?
            mark = _MARK.match(line)
            if mark and self._fence is None:
                self._fence = mark[1]
            elif mark and self._fence and mark[1].startswith(self._fence) and not line.strip().strip(mark[1][0]):
                self._fence = None
        return text

    def rest(self) -> str:
        """All that is left."""
        text = "".join(self._waiting)
        self._keep("")
        return text

    def _keep(self, text: str) -> None:
        self._waiting = [text] if text else []
