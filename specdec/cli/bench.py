"""`specdec bench`: how fast, on this machine?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from specdec.bench.plain import Mode, plain_and_speculative
from specdec.bench.prompts import BenchPrompt, built_in, chosen_prompts
from specdec.cli import options as o
from specdec.cli.compare import MANY, number, percentages
from specdec.cli.jsonable import print_json
from specdec.cli.screen import loaded, loaded_apart, stdout
from specdec.cli.servers import PlainUrl, Url, only_beside_url, servers
from specdec.cli.time_left import TimeLeft
from specdec.errors import InvalidRequest
from specdec.types import LoadOptions, SamplingParams

if TYPE_CHECKING:
    from specdec.bench.figures import Figure


@o.command
def bench(
    prompts: Annotated[
        list[Path] | None,
        typer.Argument(help=".txt (one a line) or .jsonl files; none takes built-in prompts."),
    ] = None,
    loading: LoadOptions = o.FORGETFUL,
    url: Url = None,
    plain_url: PlainUrl = None,
    category: Annotated[list[str] | None, typer.Option(help="Of the built-in prompts. Repeatable.")] = None,
    temperature: Annotated[list[float] | None, typer.Option(help="Repeatable; default 0 and 0.8.")] = None,
    speculative: Annotated[str, typer.Option(help="auto, or drafted tokens a round.")] = "auto",
    max_tokens: Annotated[int, typer.Option(min=2, help="Longest answer.")] = 128,
    repeats: Annotated[int, typer.Option(min=1, help="Medians are taken over these.")] = 3,
    limit: Annotated[int | None, typer.Option(min=1, help="No more prompts than this.")] = None,
    peers: Annotated[
        bool,
        typer.Option("--peers", help="Also every promised figure, against transformers in the same run."),
    ] = False,
    serving: Annotated[
        bool,
        typer.Option("--serving", help="Only the figures of many requests, long chats and the engine's process."),
    ] = False,
    prompt_tokens: Annotated[
        list[int] | None,
        typer.Option(min=1, help="With --serving: only what prompts of so many tokens cost: 8000 32000."),
    ] = None,
    json: o.Json = False,
) -> None:
    """Measure plain against speculative generation."""
    only_beside_url(url, plain_url)
    temperatures = temperature or [0.0, 0.8]
    for value in temperatures:
        SamplingParams(temperature=value, max_tokens=max_tokens)
    if url and serving:
        raise InvalidRequest("url", url, "none beside --serving, which measures the engine here")
    if prompt_tokens and not serving:
        raise InvalidRequest("prompt_tokens", prompt_tokens[0], "--serving beside it")
    lengths = _lengths(prompt_tokens, prompts or ()) if prompt_tokens else []
    chosen = chosen_prompts((() if lengths else prompts) or (), category or (), over_http=url is not None)[:limit]
    with closing(TimeLeft(lines=False)) as left, ExitStack() as stack:
        if lengths:
            report = _long_prompts(loading, lengths, max_tokens, repeats, left, quiet=json)
        elif serving:
            from specdec.bench.serving import Serving  # torch comes in here

            figures = Serving(loading, chosen, max_tokens, repeats, left).figures()
            report = {"figures": _shown(figures, left, quiet=json)}
        else:
            report = _promised_figures(loading, max_tokens, repeats, left, quiet=json) if peers else {}
            if url:
                modes = stack.enter_context(servers(url, plain_url, slots=1)).modes(o.speculative_of(speculative))
            else:  # apart from transformers where that has computed here
                engine = stack.enter_context((loaded_apart if peers else loaded)(loading))
                modes = {"plain": Mode(engine, "off"), "speculative": Mode(engine, o.speculative_of(speculative))}
            report |= _speeds(modes, chosen, temperatures, max_tokens, repeats, left, quiet=json)
    if json:
        print_json(report)


def _lengths(first: Sequence[int], prompts: Sequence[Path]) -> list[int]:
    """Of prompts: `first`, and what stands behind it, which the command line takes for files."""
    for prompt in map(str, prompts):
        if not prompt.lstrip("0").isdecimal():
            raise InvalidRequest("prompts", prompt, "none beside --prompt-tokens, but further numbers of tokens")
    return [*first, *(int(str(prompt)) for prompt in prompts)]


def _speeds(
    modes: Mapping[str, Mode],
    chosen: Sequence[BenchPrompt],
    temperatures: Sequence[float],
    max_tokens: int,
    repeats: int,
    left: TimeLeft,
    *,
    quiet: bool,
) -> dict[str, Any]:
    """Plain against speculative, a line for each kind of prompts and temperature."""
    many: dict[str, Any] = {"max_tokens": max_tokens, "repeats": repeats, "progress": left}
    rows = list(plain_and_speculative(modes, chosen, temperatures, **many))
    left.close()
    if not quiet:
        _print_table(
            {
                "prompts": r.category,
                "T": f"{r.temperature:g}",
                "tokens/s\nplain": f"{r.plain:.0f}",
                "\nspeculative": f"{r.speculative:.0f}",
                "speed-up": f"{r.speed_up:.2f}x",
                "acceptance\nlength": number(r.acceptance_length),
                "acceptance\nper position": percentages(r.acceptance_per_position[:3]),
                "identical": f"{r.identical}/{r.answers}",
            }
            for r in rows
        )
        _print_blocks((f"{r.category}, T={r.temperature:g}", r.acceptance_per_position) for r in rows)
    return {"rows": [asdict(r) for r in rows], "info": asdict(modes["speculative"].engine.info)}


def _long_prompts(
    loading: LoadOptions, lengths: Sequence[int], max_tokens: int, repeats: int, left: TimeLeft, *, quiet: bool
) -> dict[str, Any]:
    """What prompts of these lengths cost, a line for each."""
    from specdec.bench.long_prompts import long_prompts

    costs = list(long_prompts(loading, lengths, max_tokens, repeats, left))
    left.close()
    if not quiet:
        _print_table(
            {
                "prompt\ntokens": f"{c.tokens:,}",
                "first token\nalone": f"{c.ttft * 1e3:,.0f} ms",
                "\nbeside an answer": f"{c.ttft_beside * 1e3:,.0f} ms",
                "that answer's\nlongest gap": f"{c.gap * 1e3:,.0f} ms",
                "tokens/s\nbehind it": f"{c.decode:.0f}",
                "\nbehind a few": f"{c.decode_short:.0f}",
            }
            for c in costs
        )
    return {"long_prompts": [asdict(cost) for cost in costs]}


def _promised_figures(
    loading: LoadOptions, max_tokens: int, repeats: int, left: TimeLeft, *, quiet: bool
) -> dict[str, Any]:
    """Every promised figure, and both accept rules."""
    from specdec.bench.figures import Bench  # torch and transformers come in here

    bench = Bench(loading, loaded_apart, built_in(), max_tokens, repeats, left)
    figures = _shown(bench.figures(), left, quiet=quiet)
    rules = list(bench.rules())
    left.close()
    if not quiet:
        _print_table(
            {
                "accept rule": r.rule,
                "T": f"{r.temperature:g}",
                "tokens/s": f"{r.tokens_per_second:.0f}",
                "acceptance\nlength": number(r.acceptance_length),
                "acceptance\nper position": percentages(r.acceptance_per_position[:3]),
            }
            for r in rules
        )
        _print_blocks((f"{r.rule}, T={r.temperature:g}", r.acceptance_per_position) for r in rules)
    return {"figures": figures, "accept_rules": [asdict(r) for r in rules]}


def _shown(figures: Iterable[Figure], left: TimeLeft, *, quiet: bool) -> list[dict[str, Any]]:
    """The figures as JSON objects; each is printed as soon as it is known, unless `quiet`."""
    done = []
    for figure in figures:
        left.close()
        done.append(asdict(figure) | {"met": figure.met})
        if not quiet:
            mark = Text("met   ", style="green") if figure.met else Text("missed", style="bold red")
            bound = f"{'<=' if figure.at_most else '>='} {figure.target:g}"
            line = f"  {figure.name:<44} {figure.value:6.2f}  ({bound})  "
            stdout().print(mark + Text(line) + Text(figure.detail, style="dim"))
    return done


def _print_blocks(rates: Iterable[tuple[str, Sequence[float]]]) -> None:
    """Acceptance at every position of what drafts many tokens at once, for which a table has no room."""
    for name, positions in rates:
        if len(positions) > MANY:
            stdout().print(f"{name}, per position: {percentages(positions)}", style="dim", soft_wrap=True)


def _print_table(rows: Iterable[dict[str, str]]) -> None:
    """Of rows that all name the same columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for row in rows:
        if not table.columns:
            for i, name in enumerate(row):
                table.add_column(name, justify="right" if i else "left", no_wrap=True)
        table.add_row(*row.values())
    stdout().print(table)
