"""The same request, plain and speculative, one after the other."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.console import Console
from rich.table import Table

from specdec.cli.answer import Answer
from specdec.engine import Engine
from specdec.types import MAX_SEED, Completion, Request
from specdec.verify.difference import first_difference

_WARM_UP_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two answers to one request with one seed."""

    plain: Completion
    speculative: Completion

    @property
    def speed_up(self) -> float:
        slow = self.plain.tokens_per_second
        return self.speculative.tokens_per_second / slow if slow else 0.0

    @property
    def identical(self) -> bool:
        return first_difference(self.plain, self.speculative) is None


def compare(engine: Engine, request: Request, console: Console | None) -> Comparison:
    """Both answers, streamed to `console`. Each side gets a short untimed run first, and neither finds the other's
    prompt in the cache."""
    seed = request.sampling.seed
    seed = secrets.randbelow(MAX_SEED) if seed is None else seed
    seeded = replace(request, sampling=replace(request.sampling, seed=seed))
    speculative = "auto" if request.speculative in ("off", 0) else request.speculative
    plain = _side(engine, replace(seeded, speculative="off", id="plain"), console)
    return Comparison(
        plain, _side(engine, replace(seeded, speculative=speculative, id="speculative"), console)
    )


def _side(engine: Engine, request: Request, console: Console | None) -> Completion:
    if console:
        legend = ", accepted drafts in green" if console.color_system and request.speculative != "off" else ""
        console.print(f"── {request.id}{legend}", style="bold")
    engine.generate("Warm up.", max_tokens=_WARM_UP_TOKENS, ignore_eos=True, speculative=request.speculative)
    completion = Answer(console, mark_accepted=True).listen(engine, request)
    if console:
        console.print()
    return completion


def comparison_table(result: Comparison, accept_rule: str) -> Table:
    """The figures side by side."""
    table = Table(show_header=True, box=None, pad_edge=False)
    for name in ("", "plain", "speculative"):
        table.add_column(name, justify="left" if not name else "right")
    sides = (result.plain, result.speculative)
    table.add_row("tokens/s", *(f"{c.tokens_per_second:.1f}" for c in sides))
    table.add_row("TTFT", *(f"{c.timing.ttft * 1000:.0f} ms" for c in sides))
    table.add_row("tokens", *(str(len(c.tokens)) for c in sides))
    table.add_row("acceptance length", "", f"{result.speculative.stats.acceptance_length:.2f}")
    table.add_row(
        "acceptance per position", "", percentages(result.speculative.stats.acceptance_per_position)
    )
    table.add_row("speed-up", "", f"{result.speed_up:.2f}x")
    table.add_row("identical", "", _identical(result, accept_rule))
    return table


def percentages(rates: Sequence[float]) -> str:
    """The first positions' rates; later ones are few drafts and much room."""
    return " ".join(f"{r:.0%}" for r in rates[:5]) or "nothing drafted"


def _identical(result: Comparison, accept_rule: str) -> str:
    difference = first_difference(result.plain, result.speculative)
    if difference is None:
        return "yes"
    why = " (the rejection rule keeps the distribution, not the text)" if accept_rule == "rejection" else ""
    return f"no, they part at token {difference.position}{why}"
