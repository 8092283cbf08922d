"""What `specdec models` does with the hub: search, pull, remove."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import asdict

import typer
from rich.text import Text

from specdec import hub
from specdec.cli.jsonable import print_json
from specdec.cli.screen import stderr, stdout
from specdec.errors import InvalidRequest

_EVERY = 30.0
"""Seconds between lines where there is no terminal."""


def search(words: str, *, json: bool) -> None:
    found = hub.search(words)
    if json:
        print_json([asdict(model) for model in found])
        return
    for model in found:
        stdout().print(Text(f"{model.name}  {model.downloads:,} downloads a month"))
    hint = "specdec models pull NAME fetches one" if found else f"the hub has no model that writes text for {words!r}"
    stderr().print(Text(hint), style="dim", soft_wrap=True)


def pull(name: str) -> None:
    if "/" not in name or name.startswith(("ollama:", "http://", "https://", "/", ".")):
        raise InvalidRequest("pull", name, "a hub id such as Qwen/Qwen3-4B, for a GGUF file owner/model:Q4_K_M")
    try:
        asyncio.run(_shown(name))
    except KeyboardInterrupt:
        stderr().print("what came stays; the same command goes on from there", style="dim")
        raise
    said = f"{name} is here, {hub.size(hub.bytes_of(hub.here(name)))}: specdec chat --target {name}"
    stderr().print(Text(said), style="green", soft_wrap=True)


async def _shown(name: str) -> None:
    """A bar on a terminal; elsewhere a line now and then."""
    from rich.progress import BarColumn, Progress, TextColumn

    console, printed = stderr(), time.monotonic()
    columns = TextColumn("{task.description}", markup=False), BarColumn(20)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"asking the hub for {name}", total=None)
        async with aclosing(hub.fetch(name)) as steps:
            async for step in steps:
                bar.update(task, description=hub.progress(step), completed=step.done, total=step.total or None)
                if not console.is_terminal and time.monotonic() - printed >= _EVERY:
                    printed = time.monotonic()
                    console.print(Text(hub.progress(step)), style="dim", soft_wrap=True)


def remove(name: str, *, yes: bool) -> None:
    room = hub.size(hub.bytes_of(hub.here(name)))
    if not yes:
        typer.confirm(f"remove {name}, {room}?", abort=True, err=True)
    hub.remove(name)
    stderr().print(Text(f"{name} is removed, {room} are free"), soft_wrap=True)
