"""Streams one answer to the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from itertools import groupby

from rich.color import ColorSystem
from rich.console import Console
from rich.style import Style

from specdec.engine import Engine
from specdec.types import Answer, Completion, Request, Token

_ACCEPTED = Style(color="green")


class Stopped(KeyboardInterrupt):
    """Ctrl-C came while an answer was running; `answer` is what had come so far."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


def print_answer(
    engine: Engine, request: Request, console: Console | None, *, mark_accepted: bool = False
) -> Completion:
    """The whole answer, once it is there; shown on `console` as it comes, in colours that say what was drafted and
    accepted if it has any. Ctrl-C raises Stopped."""
    answer = Answer()
    colours = mark_accepted and console is not None and console.color_system is not None

    def write(text: str) -> None:  # past the console, whose buffer is printed twice if Ctrl-C hits it at a wrong moment
        if console is not None:
            console.file.write(text)
            console.file.flush()

    try:
        with closing(engine.stream(request)) as events:
            for event in events:
                answer.add(event)
                write(coloured(event.tokens) if colours else event.text)
    except KeyboardInterrupt:
        write("\n" if answer.text else "")
        raise Stopped(answer) from None
    write("\n" if answer.text else "")
    return answer.completion


def coloured(tokens: Sequence[Token]) -> str:
    """The tokens' text for a terminal, with accepted drafts in green."""
    pieces = groupby(tokens, key=lambda t: t.origin == "accepted")
    styled = (("".join(t.text for t in group), _ACCEPTED if accepted else Style.null()) for accepted, group in pieces)
    return "".join(style.render(text, color_system=ColorSystem.STANDARD) for text, style in styled)


def stats_line(completion: Completion) -> str:
    """One line on how the answer came about."""
    stats = completion.stats
    tokens, speed = completion.usage.completion_tokens, completion.tokens_per_second
    parts = ["tokens unknown" if tokens is None else f"{tokens} tokens"]
    parts += [f"{speed:.0f} tokens/s"] if speed else []
    parts.append(f"TTFT {completion.timing.ttft * 1000:.0f} ms")
    if stats.drafted:
        parts.append(f"accepted {stats.acceptance_rate:.0%} of {stats.drafted} drafted")
        parts += [f"acceptance length {stats.acceptance_length:.2f}"] if stats.acceptance_length else []
    elif stats.unknown:
        parts.append(f"speculation {stats.unknown}")
    else:
        parts.append(f"speculation off: {stats.off_reason or 'no round was long enough to draft'}")
    parts.append(f"seed {completion.seed}")
    if stats.warning:
        parts.append(stats.warning)
    return " · ".join(parts)
