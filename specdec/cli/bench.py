"""`specdec bench`: how fast, on this machine?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from specdec.bench.plain import Mode, Row, plain_and_speculative
from specdec.bench.prompts import BenchPrompt, built_in, from_file
from specdec.cli import options as o
from specdec.cli.compare import percentages
from specdec.cli.jsonable import info_json, print_json
from specdec.cli.screen import loaded, loaded_apart, reported, stdout, working
from specdec.cli.servers import PlainUrl, Url, only_beside_url, servers
from specdec.engine import Engine
from specdec.errors import InvalidRequest
from specdec.types import SamplingParams, Speculative

if TYPE_CHECKING:
    from specdec.bench.figures import Figure, RuleRow


def bench(
    prompts: Annotated[
        list[Path] | None,
        typer.Argument(help=".txt (one a line) or .jsonl files; none takes built-in prompts."),
    ] = None,
    target: o.Target = "bundled",
    draft: o.Draft = "auto",
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
    device: o.Device = "auto",
    dtype: o.DType = "auto",
    context: o.Context = None,
    accept_rule: o.Rule = "coupled",
    trust_remote_code: o.RemoteCode = False,
    json: o.Json = False,
) -> None:
    """Measure plain against speculative generation."""
    with reported():
        models = o.EngineOptions(target, draft, device, dtype, context, accept_rule, trust_remote_code).forgetful
        temperatures = temperature or [0.0, 0.8]
        for value in temperatures:
            SamplingParams(temperature=value, max_tokens=max_tokens)
        chosen = _prompts(prompts or [], category or [])
        if url and not (prompts or category):
            chosen = [p for p in chosen if not p.tools]  # which servers parse only if they were started so
        chosen = chosen[:limit]
        only_beside_url(url, plain_url)
        if serving:
            if url:
                raise InvalidRequest("url", url, "none beside --serving, which measures the engine here")
            _serving(models, chosen, max_tokens, repeats, json=json)
            return
        report: dict[str, Any] = {}
        if peers:
            report |= _figures(models, built_in(), max_tokens, repeats, quiet=json)
        with ExitStack() as stack:
            load = partial(loaded_apart if peers else loaded, models)  # transformers has computed here
            modes = _modes(stack, load, url, plain_url, o.speculative_of(speculative))
            engine = modes["speculative"].engine
            stack.enter_context(working("measuring"))
            rows = list(plain_and_speculative(modes, chosen, temperatures, max_tokens=max_tokens, repeats=repeats))
            report |= {"rows": [asdict(r) for r in rows], "info": info_json(engine.info)}
        if json:
            print_json(report)
        else:
            stdout().print(_rows_table(rows))


def _modes(
    stack: ExitStack,
    load: Callable[[], Engine],
    url: str | None,
    plain_url: str | None,
    speculative: Speculative,
) -> dict[str, Mode]:
    """Plain and speculative: one engine in both modes, or two servers."""
    if url is None:
        engine = stack.enter_context(load())
        return {"plain": Mode(engine, "off"), "speculative": Mode(engine, speculative)}
    found = stack.enter_context(servers(url, plain_url, slots=1))
    if not found.comparable:
        where = found.engine.info.runner
        raise InvalidRequest("plain_url", None, f"a server with the same target and no speculation, for {where} cannot "
                             "switch it off for a request")  # fmt: skip
    plain = Mode(found.engine, "off") if found.plain is None else Mode(found.plain, "auto")
    return {"plain": plain, "speculative": Mode(found.engine, speculative)}


def _prompts(paths: list[Path], categories: list[str]) -> list[BenchPrompt]:
    if paths and categories:
        raise InvalidRequest("category", categories[0], "no prompt files beside it")
    return [p for path in paths for p in from_file(path)] or built_in(categories)


def _figures(
    models: o.EngineOptions, prompts: list[BenchPrompt], max_tokens: int, repeats: int, *, quiet: bool
) -> dict[str, Any]:
    from specdec.bench.figures import Bench  # torch and transformers come in here

    bench = Bench(
        models.target, models.draft, lambda draft, rule: loaded_apart(replace(models, draft=draft, accept_rule=rule)),
        prompts, max_tokens, repeats,
    )  # fmt: skip
    figures = _shown(bench.figures(), quiet=quiet)
    rules = list(bench.rules())
    if not quiet:
        stdout().print(_rules_table(rules))
    return {
        "figures": figures,
        "accept_rules": [asdict(r) for r in rules],
    }


def _serving(models: o.EngineOptions, prompts: list[BenchPrompt], max_tokens: int, repeats: int, *, json: bool) -> None:
    from specdec.bench.serving import Serving  # torch comes in here

    own = ("slots", "prefix_cache_bytes", "remember")
    options = {name: value for name, value in asdict(models).items() if name not in own}
    figures = _shown(Serving(options, prompts, max_tokens, repeats).figures(), quiet=json)
    if json:
        print_json({"figures": figures})


def _shown(figures: Iterable[Figure], *, quiet: bool) -> list[dict[str, Any]]:
    """The figures as JSON objects; each is printed as soon as it is known, unless `quiet`."""
    done = []
    for figure in figures:
        done.append(asdict(figure) | {"met": figure.met})
        if not quiet:
            stdout().print(_figure_line(figure))
    return done


def _figure_line(figure: Figure) -> Text:
    mark = Text("met   ", style="green") if figure.met else Text("missed", style="bold red")
    bound = f"{'<=' if figure.at_most else '>='} {figure.target:g}"
    line = f"  {figure.name:<44} {figure.value:6.2f}  ({bound})  "
    return mark + Text(line) + Text(figure.detail, style="dim")


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for i, name in enumerate(names):
        table.add_column(name, justify="right" if i else "left", no_wrap=True)
    return table


def _rules_table(rows: list[RuleRow]) -> Table:
    table = _table("accept rule", "T", "tokens/s", "acceptance\nlength", "acceptance\nper position")
    for r in rows:
        table.add_row(r.rule, f"{r.temperature:g}", f"{r.tokens_per_second:.0f}", f"{r.acceptance_length:.2f}",
                      percentages(r.acceptance_per_position[:3]))  # fmt: skip
    return table


def _rows_table(rows: list[Row]) -> Table:
    table = _table("prompts", "T", "tokens/s\nplain", "\nspeculative", "speed-up", "acceptance\nlength",
                   "acceptance\nper position", "identical")  # fmt: skip
    for r in rows:
        table.add_row(
            r.category, f"{r.temperature:g}", f"{r.plain:.0f}", f"{r.speculative:.0f}", f"{r.speed_up:.2f}x",
            f"{r.acceptance_length:.2f}", percentages(r.acceptance_per_position[:3]),
            f"{r.identical}/{r.answers}",
        )  # fmt: skip
    return table
