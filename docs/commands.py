"""The page of all commands, from what `--help` says: written when the site is made, so that it is never behind."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import cleandoc

import click
import typer.main

from specdec.cli import app

_HEAD = """\
# All commands

What `--help` of each command says, on one page. [The command line](cli.md) is the way in. Defaults may also come from
[one file](cli.md).
"""


def page() -> str:
    """The whole page, in Markdown."""
    commands: dict[str, click.Command] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return "\n".join([_HEAD, *(line for name, command in commands.items() for line in _described(name, command))])


def _described(name: str, command: click.Command) -> Iterator[str]:
    taken = [p for p in command.params if p.param_type_name == "argument"]
    words = [f"{p.name}".upper() if p.required else f"[{p.name}]".upper() for p in taken]
    yield f"## specdec {name}\n"
    yield f"    {' '.join(['specdec', name, *words, '[OPTIONS]'])}\n"
    yield cleandoc(command.help or "") + "\n"
    rows = [(f"`{p.name}`".upper(), p) for p in taken]
    rows += [(", ".join(f"`{o}`" for o in (*p.opts, *p.secondary_opts)), p) for p in command.params if p not in taken]
    if rows:
        yield "| | | default |\n|---|---|---|"
        yield from (f"| {names} | {_cell(getattr(p, 'help', None))} | {_default(p)} |" for names, p in rows)
    yield f"\n{cleandoc(command.epilog or '')}\n"


def _default(parameter: click.Parameter) -> str:
    value = parameter.default
    return "" if value in (None, False, "", ()) or callable(value) else f"`{_cell(value)}`"


def _cell(value: object) -> str:
    return " ".join(str(value or "").split()).replace("|", "\\|")
