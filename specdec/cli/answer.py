"""Streams one answer to the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby

from rich.color import ColorSystem
from rich.console import Console
from rich.style import Style

from specdec.engine import Engine
from specdec.types import Completion, GenerationEvent, Request, SpecStats, Token

_ACCEPTED = Style(color="green")


class Stopped(KeyboardInterrupt):
    """Ctrl-C came while an answer was running; `events` are what had come so far."""

    def __init__(self, events: list[GenerationEvent]) -> None:
        super().__init__()
        self.events = events

    @property
    def text(self) -> str:
        return "".join(e.text for e in self.events)

    @property
    def tokens(self) -> int:
        return sum(len(e.tokens) for e in self.events)


@dataclass
class Answer:
    """Listens to a stream; shows each event on `console` if there is one. Ctrl-C raises Stopped."""

    console: Console | None = None
    mark_accepted: bool = False
    """Colour what was drafted and accepted."""
    _events: list[GenerationEvent] = field(default_factory=list)

    def listen(self, engine: Engine, request: Request) -> Completion:
        """The whole answer, once it is there."""
        try:
            with closing(engine.stream(request)) as events:
                for event in events:
                    self._events.append(event)
                    self._show(event)
        except KeyboardInterrupt:
            self._end_line()
            raise Stopped(self._events) from None
        self._end_line()
        return Completion.of(self._events)

    def _show(self, event: GenerationEvent) -> None:
        if self.console is not None:
            self._write(coloured(event.tokens) if self._colours else event.text)

    @property
    def _colours(self) -> bool:
        return self.mark_accepted and self.console is not None and self.console.color_system is not None

    def _write(self, text: str) -> None:
        """Past the console, whose buffer is printed twice when Ctrl-C hits it at the wrong moment."""
        assert self.console is not None
        self.console.file.write(text)
        self.console.file.flush()

    def _end_line(self) -> None:
        if self.console is not None and any(e.text for e in self._events):
            self._write("\n")


def coloured(tokens: Sequence[Token]) -> str:
    """The tokens' text for a terminal, with accepted drafts in green."""
    pieces = groupby(tokens, key=lambda t: t.origin == "accepted")
    styled = (("".join(t.text for t in group), _ACCEPTED if accepted else Style.null()) for accepted, group in pieces)
    return "".join(style.render(text, color_system=ColorSystem.STANDARD) for text, style in styled)


def stats_line(completion: Completion) -> str:
    """One line on how the answer came about."""
    parts = [
        f"{completion.usage.completion_tokens} tokens",
        f"{completion.tokens_per_second:.0f} tok/s",
        f"TTFT {completion.timing.ttft * 1000:.0f} ms",
        *_speculation(completion.stats),
        f"seed {completion.seed}",
        *([completion.stats.warning] if completion.stats.warning else []),
    ]
    return " · ".join(parts)


def _speculation(stats: SpecStats) -> list[str]:
    off = f"speculation off: {stats.off_reason}" if stats.off_reason else None
    if not stats.drafted:
        return [off or "speculation off: no round was long enough to draft"]
    accepted = f"accepted {stats.accepted} of {stats.drafted} drafted"
    return [f"acceptance length {stats.acceptance_length:.2f}", accepted, *([off] if off else [])]
