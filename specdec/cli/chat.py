"""`specdec chat`: the terminal chat, or the same in a browser."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from specdec.cli import options as o
from specdec.cli.screen import stderr
from specdec.errors import InvalidRequest, extra
from specdec.types import Grammar

if TYPE_CHECKING:
    from specdec_tui.core.config import Config

_screen = partial(typer.Option, rich_help_panel="Screen")
_TERMINAL = "/dev/tty"
_SERVER = ("--serve", "--host", "--port")


@o.command
def chat(
    question: Annotated[
        str | None, typer.Argument(help="Asked first; what is piped in comes behind it.", show_default=False)
    ] = None,
    given: o.Given = o.NOTHING,
    url: Annotated[str | None, typer.Option(help="An OpenAI-compatible server instead.", callback=o.address)] = None,
    api_key: Annotated[str | None, typer.Option(help="Of that server; better set SPECDEC_API_KEY.")] = None,
    speculative: Annotated[str | None, typer.Option(help="auto, off, or drafted tokens a round.")] = None,
    system: Annotated[str | None, typer.Option(help="System prompt.")] = None,
    reasoning: Annotated[str | None, typer.Option(help="Thinking: on, off, low, medium, high ...")] = None,
    tools: Annotated[
        Path | None,
        typer.Option(help="A JSON list of tools to offer, in OpenAI's form; or files, which read this folder."),
    ] = None,
    schema: Annotated[Path | None, typer.Option(help="A JSON schema that answers follow.")] = None,
    preset: Annotated[str | None, typer.Option(help="A set of parameters: precise, creative, ...")] = None,
    resume: Annotated[str | None, _screen(help="A session's id, or last.")] = None,
    theme: Annotated[str | None, _screen(help="dark, light, dark-safe, light-safe.")] = None,
    config: Annotated[Path | None, _screen(help="Another config file.")] = None,
    unsaved: Annotated[bool, _screen("--unsaved", help="Keep nothing on disk.")] = False,
    serve: Annotated[bool, _screen("--serve", help="In a browser instead.")] = False,
    host: Annotated[str, _screen(help="With --serve.")] = "localhost",
    port: Annotated[int, _screen(help="With --serve.")] = 8000,
) -> None:
    """Chat in the terminal, and see how fast the answers come and why. The config file can hold all of these."""
    own = {"target": url, "api_key": api_key, "speculative": speculative, "system": system, "theme": theme}
    own |= {"reasoning": reasoning}
    if not serve and not _on_screen():
        raise InvalidRequest("terminal", None, "one to chat in; specdec generate answers a prompt without")
    with extra("tui", "the chat"):
        begin = _config(config, preset, given | {name: value for name, value in own.items() if value is not None})
        if tools == Path("files"):
            begin = replace(begin, read_folder=True)
        elif tools:
            begin = replace(begin, settings=begin.settings.with_tools(o.text_of("tools", tools)))
        if schema:
            grammar = Grammar.json_schema(o.text_of("schema", schema))
            begin = replace(begin, settings=begin.settings.with_grammar(grammar))
        if serve:
            from specdec_tui.serve import serve as run_server

            run_server(_without(sys.argv[2:], _SERVER), host, port)
            return
        from specdec_tui.run import database_path, run

        left, code = run(
            begin,
            database=None if unsaved else database_path(),
            resume=resume,
            question="\n\n".join(filter(None, (question, _piped()))),
        )
    if left:
        stderr().print(f"{left} changes could not be saved", style="red")
    if left or code:
        raise typer.Exit(code or 1)


def _on_screen() -> bool:
    """In a terminal, or behind textual-serve, which names its driver."""
    return "TEXTUAL_DRIVER" in os.environ or (
        sys.stdout.isatty() and sys.stderr.isatty() and (sys.stdin.isatty() or os.path.exists(_TERMINAL))
    )


def _piped() -> str:
    """All that is piped in; from then on keys come from the terminal itself."""
    if "TEXTUAL_DRIVER" in os.environ or sys.stdin.isatty():
        return ""
    text = sys.stdin.read().strip("\n")
    try:
        os.dup2(os.open(_TERMINAL, os.O_RDONLY), sys.stdin.fileno())
    except OSError:
        raise InvalidRequest("terminal", None, "one that this process belongs to, for its keys") from None
    return text


def _config(path: Path | None, preset: str | None, given: dict[str, Any]) -> Config:
    """The config file's values, over them those of the preset, and over both what the command line gives."""
    from specdec_tui.core.config import read_config
    from specdec_tui.core.settings import NAMES
    from specdec_tui.run import config_path

    if path and not path.is_file():
        raise InvalidRequest("config", str(path), "a file")
    config = read_config(path or config_path())
    settings = config.settings
    if preset:
        if preset not in config.presets:
            raise InvalidRequest("preset", preset, "one of " + ", ".join(config.presets))
        settings = settings.preset(config.presets[preset])
    if "speculative" in given:
        given["speculative"] = o.speculative_of(given["speculative"])
    settings = settings.with_values({name: given[name] for name in NAMES if name in given})
    return replace(
        config,
        engine=replace(config.engine, **{name: given[name] for name in (*o.LOADING, "api_key") if name in given}),
        settings=replace(settings, system=given.get("system", settings.system)),
        screen=replace(config.screen, theme=given.get("theme", config.screen.theme)),
    )


def _without(arguments: list[str], names: tuple[str, ...]) -> list[str]:
    """The arguments without these options and their values."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        name, has_value, _ = argument.partition("=")
        if skip or name in names:
            skip = not skip and name != names[0] and not has_value
            continue
        kept.append(argument)
    return kept
