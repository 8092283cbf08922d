"""The same request, plain and speculative, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from specdec.cli.answer import print_answer
from specdec.cli.jsonable import completion_json, print_json
from specdec.cli.screen import stdout
from specdec.engine import Engine
from specdec.types import Request
from specdec.verify.comparison import WARM_UP_TOKENS, Comparison, sides


def compared(engine: Engine, request: Request, console: Console | None) -> Comparison:
    """Both answers, on `console` as they come. Each side gets a short untimed run first, and neither finds the other's
    prompt in the cache."""
    answers = []
    for side, one in sides(request).items():
        if console:
            legend = ", accepted drafts in green" if console.color_system and one.speculative != "off" else ""
            console.print(f"── {side}{legend}", style="bold")
        engine.generate("Warm up.", max_tokens=WARM_UP_TOKENS, speculative=one.speculative)
        answers.append(print_answer(engine, one, console, mark_accepted=True))
        if console:
            console.print()
    return Comparison(answers[0], answers[1], engine.info.accept_rule)


def print_comparison(engine: Engine, request: Request, *, json: bool) -> None:
    """Both answers and their figures."""
    console = stdout()
    result = compared(engine, request, None if json else console)
    if json:
        print_json(
            {
                "plain": completion_json(result.plain),
                "speculative": completion_json(result.speculative),
                "speed_up": result.speed_up,
                "identical": result.identical,
                "info": asdict(engine.info),
            }
        )
        return
    console.print(comparison_table(result))
    stats = result.speculative.stats
    if reason := stats.unknown or (stats.off_reason and f"off: {stats.off_reason}"):
        console.print(f"speculation {reason}", style="yellow")


def comparison_table(result: Comparison) -> Table:
    """The figures side by side."""
    table = Table(show_header=True, box=None, pad_edge=False)
    for name in ("", "plain", "speculative"):
        table.add_column(name, justify="left" if not name else "right")
    both = (result.plain, result.speculative)
    table.add_row("tokens/s", *(number(c.tokens_per_second or None, "{:.1f}") for c in both))
    table.add_row("TTFT", *(f"{c.timing.ttft * 1000:.0f} ms" for c in both))
    table.add_row("tokens", *(number(c.usage.completion_tokens, "{}") for c in both))
    stats = result.speculative.stats
    table.add_row("acceptance length", "", number(stats.acceptance_length))
    table.add_row("acceptance per position", "", percentages(stats.acceptance_per_position))
    table.add_row("speed-up", "", number(result.speed_up, "{:.2f}x"))
    table.add_row("identical", "", "yes" if result.identical else f"no, {result.verdict}")
    return table


MANY = 5
"""More positions than these are a block's."""


def number(value: float | None, form: str = "{:.2f}") -> str:
    """As text, if it is known."""
    return "–" if value is None else form.format(value)


def percentages(rates: Sequence[float]) -> str:
    """Rates by position, as far as they are known; those of a block in few columns."""
    if len(rates) > MANY:
        return " ".join(f"{r * 100:.0f}" for r in rates) + " %"
    return " ".join(f"{r:.0%}" for r in rates) or "–"
