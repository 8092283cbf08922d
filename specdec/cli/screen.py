"""What all commands do with the terminal: two consoles, one red line for an error, a bar while loading."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TextIO

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from specdec.engine import Engine, Progress
from specdec.errors import SpecDecError
from specdec.loading import load_engine
from specdec.types import LoadOptions

_WIDEST = 10_000


def stdout() -> Console:
    """For answers. Made when needed: the terminal's width and colours are looked up then."""
    return _console(sys.stdout)


def stderr() -> Console:
    """For everything that is not the answer."""
    return _console(sys.stderr)


def _console(file: TextIO) -> Console:
    """Where nobody sees it, lines are as long as they are."""
    return Console(file=file, highlight=False, width=None if file.isatty() else _WIDEST)


@contextmanager
def reported() -> Iterator[None]:
    """Errors become one red line and exit code 2, Ctrl-C becomes a word and exit code 130."""
    try:
        yield
    except SpecDecError as error:
        stderr().print(Text(f"error: {' '.join(str(error).split())}", style="red"), soft_wrap=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        stderr().print("stopped", style="yellow")
        raise typer.Exit(130) from None


def loaded(options: LoadOptions) -> Engine:
    """The engine, with a progress bar while it loads."""
    with loading_bar() as progress:
        return load_engine(options, progress)


def loaded_apart(options: LoadOptions) -> Engine:
    """The same in a process of its own, where nothing else computes."""
    from specdec.process import ProcessEngine

    with loading_bar() as progress:
        return ProcessEngine(partial(load_engine, options), progress=progress)


@contextmanager
def loading_bar() -> Iterator[Progress]:
    """A bar on stderr, if somebody is there to see it; gone when the work is done."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = stderr()
    columns = TextColumn("loading {task.description}"), BarColumn(), TimeElapsedColumn()
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("libraries", total=None)
        yield lambda stage, fraction: bar.update(task, description=stage, completed=fraction, total=1.0)


@contextmanager
def working(what: str) -> Iterator[None]:
    """A sign of life on stderr while something takes minutes."""
    console = stderr()
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        yield


def facts_table(facts: Mapping[str, str]) -> Table:
    """Names and values, one a line."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in facts.items():
        table.add_row(name, Text(value))  # brackets are no markup
    return table
