"""`specdec train`: a drafter for one's own target."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from json import dumps
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.table import Table
from rich.text import Text

from specdec.bench.plain import CategoryRow, Mode, plain_and_speculative
from specdec.bench.prompts import BenchPrompt
from specdec.cli import options as o
from specdec.cli.compare import percentages
from specdec.cli.screen import loaded, stderr, stdout
from specdec.errors import InvalidRequest, extra
from specdec.signals import as_interrupts
from specdec.training import Kind, TrainingProgress, TrainingResult, TrainingScore
from specdec.training import train as train_drafter
from specdec.types import LoadOptions, Message

_LINE_EVERY = 10.0
"""Seconds between lines where there is no terminal."""
_MEASURED, _MEASURED_LEAST, _MEASURED_TOKENS = 12, 2, 64
"""Held-out prompts that are answered to measure, at most and at least, and tokens of each."""
_MEASURED_SECONDS, _MEASURED_SHARE = 60.0, 0.1
"""How long that may take, or which share of the training."""
_WIDE = 100
"""Columns of a terminal in which there is room for a bar."""
Show = Callable[[TrainingProgress], None]


@o.command
def train(
    target: Annotated[str, typer.Argument(help="Folder or hub id of the model to draft for, or bundled.")],
    out: Annotated[Path, typer.Option(help="Folder for the drafter; one that holds a training goes on with it.")],
    kind: Annotated[str, typer.Option(help="dflash, eagle3 (heads), or model (a small model).")] = "dflash",
    data: Annotated[
        list[Path] | None, typer.Option(help="JSON lines with prompts. Repeatable. None: prompts that come with us.")
    ] = None,
    traffic: Annotated[
        bool, typer.Option("--traffic", help="Also what you asked in specdec chat. Nothing leaves this machine.")
    ] = False,
    minutes: Annotated[float | None, typer.Option(help="Of wall time, answers included; default 20.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Tokens to learn from, in place of minutes.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="A published drafter to start from.")] = None,
    seed: Annotated[int, typer.Option(help="With --tokens, a CPU gives the same drafter again.")] = 0,
    layers: Annotated[int | None, typer.Option(help="Of the drafter; default by the target's and the memory.")] = None,
    drafts: Annotated[int, typer.Option(help="Tokens that it learns to propose at once.")] = 7,
    length: Annotated[int, typer.Option(help="Tokens of prompt and answer, at most.")] = 1024,
    answer: Annotated[int, typer.Option(help="Tokens of an answer, at most.")] = 384,
    rate: Annotated[float | None, typer.Option(help="Of learning; default 0.02, with --from 0.005.")] = None,
    device: Annotated[str, typer.Option(help=o.LOADING["device"])] = "auto",
    dtype: Annotated[str, typer.Option(help=o.LOADING["dtype"])] = "auto",
    measure: Annotated[bool, typer.Option(help="Measure tokens/s before and after, at the end.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print JSON objects, one a line.")] = False,
) -> None:
    """Train a drafter that fits a target, from the target's own answers."""
    asked = chatted() if traffic else []
    with _screen(json=json) as show, _going_on(), as_interrupts():
        result = train_drafter(
            target,
            out,
            data=data or (),
            prompts=asked,
            ours=not data,
            report=show,
            kind=cast("Kind", kind),  # TrainingOptions refuses others
            start=start,
            minutes=minutes,
            tokens=tokens,
            seed=seed,
            layers=layers,
            drafts=drafts,
            length=length,
            answer=answer,
            rate=rate,
            device=device,
            dtype=dtype,
        )
    rows, stopped = list[CategoryRow](), result.stopped
    if measure and not stopped:
        loading = replace(o.FORGETFUL, target=target, device=device, dtype=dtype)
        try:
            with as_interrupts():
                rows.extend(_measured(loading, start or _drafted_before(target, out), result))
        except KeyboardInterrupt:  # what was learnt is there
            stopped = True
    if json:
        shown = asdict(result) | {"out": str(result.out), "judged": len(result.judged)}
        print_line({"result": shown, "rows": [asdict(row) for row in rows]})
    else:
        _print_result(result, rows, target)
    if stopped:
        raise typer.Exit(130)


def chatted() -> list[BenchPrompt]:
    """What was asked in the terminal chat, with what came before it."""
    with extra("tui", "the chats on this machine"):
        from specdec_tui.core.store import Store
        from specdec_tui.run import database_path
    path = database_path()
    if not path.exists():
        raise InvalidRequest("traffic", str(path), "chats that were kept; specdec chat keeps them there")
    store = Store(path)
    try:
        sessions = [saved for session in store.sessions(100_000) if (saved := store.load(session.id))]
    finally:
        store.close()
    prompts = []
    for saved in sessions:
        system = [Message("system", saved.system)] if saved.system else []
        for turn in saved.conversation.turns:
            if turn.message.role == "user":
                before = [each.message for each in saved.conversation.path(turn.id)]
                prompts.append(BenchPrompt("traffic", (*system, *before)))
    return prompts


# ------------------------------------------------------------------------------------ while it runs


@contextmanager
def _going_on() -> Iterator[None]:
    """Ctrl-C before anything was learnt."""
    try:
        yield
    except KeyboardInterrupt:
        stderr().print("stopped; the same command goes on", style="yellow")
        raise typer.Exit(130) from None


@contextmanager
def _screen(*, json: bool) -> Iterator[Show]:
    """Where reports go: JSON lines, a bar on a terminal, or a line now and then."""
    if json:
        yield _every(_LINE_EVERY / 10, lambda progress: print_line(asdict(progress)))
        return
    console = stderr()
    if not console.is_terminal:
        yield _every(_LINE_EVERY, lambda progress: console.print(_sentence(progress), soft_wrap=True))
        return
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    # what matters most stands first, where the terminal is too narrow for all of it
    told = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis"))
    drawn = [BarColumn(20)] if console.width >= _WIDE else []
    with Progress(*drawn, told, console=console, transient=True) as bar:
        task = bar.add_task("loading", total=1.0)

        def show(progress: TrainingProgress) -> None:
            if progress.note:
                bar.console.print(progress.note, soft_wrap=True)
            bar.update(task, description=_sentence(progress), completed=progress.fraction)

        yield show


def _every(seconds: float, show: Show) -> Show:
    """Notes, stages and judgements at once, all else now and then."""
    last: list[object] = [0.0, None, None]

    def sparing(progress: TrainingProgress) -> None:
        now = time.monotonic()
        new = [progress.stage, progress.best] != last[1:]
        if progress.note or new or now - float(str(last[0])) >= seconds:
            last[:] = [now, progress.stage, progress.best]
            show(progress)

    return sparing


def _sentence(progress: TrainingProgress) -> str:
    if progress.note:
        return progress.note
    parts = [f"{progress.fraction:.0%}"]
    if progress.seconds_left is not None:
        parts.append(f"{progress.seconds_left / 60:.1f} min left")
    if progress.stage == "answers" and progress.answers:
        made_up = f" ({progress.made_up} to prompts that it made up)" if progress.made_up else ""
        parts.append(f"{progress.answers} answers{made_up}")
    if progress.best and progress.before:
        parts.append(
            f"acceptance length {progress.before.acceptance_length:.2f} → {progress.best.acceptance_length:.2f}"
        )
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.2f}")
    if progress.step:
        parts.append(f"step {progress.step}")
    return f"{progress.stage}: " + ", ".join(parts)


def print_line(value: object) -> None:
    """One JSON object on one line, at once."""
    print(dumps(value, default=str), flush=True)  # noqa: T201


# ------------------------------------------------------------------------------------ at the end


def _drafted_before(target: str, out: Path) -> str:
    """What drafts for the target if nothing is said, but for what has been trained."""
    from specdec.decoding.assembly import BUNDLED, folder_of
    from specdec.drafters.heads.finding import local_heads

    if target == BUNDLED:
        return "auto"
    heads = local_heads(target, folder_of(target, "target"))
    return next((name for name, at in heads if at.resolve() != out.resolve()), "lookup")


def _measured(loading: LoadOptions, before: str, result: TrainingResult) -> Iterator[CategoryRow]:
    """Plain against what drafted before, and against the new drafter, on as many held-out prompts as there is time
    for."""
    plain, share = result.best.plain_tokens_per_second, max(_MEASURED_SECONDS, _MEASURED_SHARE * result.seconds)
    each = 4 * _MEASURED_TOKENS / plain
    judged = result.judged[: max(_MEASURED_LEAST, min(_MEASURED, int(share / each)))]
    stderr().print(f"measuring with {len(judged)} prompts, about {len(judged) * each / 60:.1f} min", style="dim")
    for name, draft in (("before", before), ("after", str(result.out))):
        prompts = [BenchPrompt(name, p.messages, p.tools) for p in judged]
        with loaded(replace(loading, draft=draft)) as engine:
            modes = {"plain": Mode(engine, "off"), "speculative": Mode(engine, "auto")}
            yield from plain_and_speculative(modes, prompts, (0.0,), max_tokens=_MEASURED_TOKENS, repeats=1)


def _print_result(result: TrainingResult, rows: Sequence[CategoryRow], target: str) -> None:
    console = stdout()
    console.print(_scores({"at the start": result.before, "best": result.best}))
    if rows:
        console.print()
        console.print(_speeds(rows))
    console.print()
    if result.stopped:
        console.print(Text(f"stopped after {result.seconds / 60:.1f} min; the same command goes on"), style="yellow")
    console.print(Text(f"specdec chat --target {target} --draft {result.out}"), soft_wrap=True)


def _scores(scores: dict[str, TrainingScore]) -> Table:
    """A line for each figure, a column for each score."""
    table = Table(box=None, pad_edge=False)
    table.add_column("held-out prompts")
    for name in scores:
        table.add_column(name, justify="right")
    all_ = list(scores.values())
    table.add_row("acceptance length", *(f"{s.acceptance_length:.2f}" for s in all_))
    for kind in all_[0].by_kind:
        table.add_row(f"  {kind}", *(f"{s.by_kind.get(kind, 0):.2f}" for s in all_))
    table.add_row("acceptance per position", *(percentages(s.per_position) for s in all_))
    table.add_row(
        "projected tokens/s (plain)",
        *(f"{s.tokens_per_second:.0f} ({s.plain_tokens_per_second:.0f}), k={s.drafts}" for s in all_),
    )
    return table


def _speeds(rows: Sequence[CategoryRow]) -> Table:
    """What was measured with the drafter of before, and with the new one."""
    table = Table(box=None, pad_edge=False)
    for name in ("measured", "tokens/s plain", "speculative", "speed-up", "acceptance length", "identical"):
        table.add_column(name, justify="left" if name == "measured" else "right")
    for r in rows:
        table.add_row(
            r.category,
            f"{r.plain:.0f}",
            f"{r.speculative:.0f}",
            f"{r.speed_up:.2f}x",
            f"{r.acceptance_length:.2f}",
            f"{r.identical}/{r.answers}",
        )
    return table
