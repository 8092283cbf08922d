"""`specdec chat`: the terminal chat, or the same in a browser."""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from specdec.cli import options as o
from specdec.cli.screen import reported, stderr
from specdec.errors import InvalidRequest

if TYPE_CHECKING:
    from specdec_tui.core.config import Config

_SCREEN = "Screen"
_SERVER = ("--serve", "--host", "--port")


def chat(
    target: Annotated[str | None, typer.Option(help="Target model: bundled, a folder or a hub id.")] = None,
    draft: Annotated[str | None, typer.Option(help="What drafts: auto, none, lookup, folder, hub id.")] = None,
    url: Annotated[str | None, typer.Option(help="An OpenAI-compatible server instead.")] = None,
    speculative: Annotated[str | None, typer.Option(help="auto, off, or drafted tokens a round.")] = None,
    system: Annotated[str | None, typer.Option(help="System prompt.")] = None,
    preset: Annotated[str | None, typer.Option(help="A set of parameters: precise, creative, ...")] = None,
    temperature: o.Temperature = None,
    top_k: o.TopK = None,
    top_p: o.TopP = None,
    min_p: o.MinP = None,
    repetition_penalty: o.RepetitionPenalty = None,
    presence_penalty: Annotated[float | None, typer.Option(help="-2 to 2.")] = None,
    frequency_penalty: Annotated[float | None, typer.Option(help="-2 to 2.")] = None,
    max_tokens: o.MaxTokens = None,
    stop: o.Stop = None,
    seed: o.Seed = None,
    logprobs: Annotated[int | None, typer.Option(help="Ask for the tokens' probabilities.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.")] = None,
    context: o.Context = None,
    accept_rule: Annotated[str | None, typer.Option(help="coupled or rejection.")] = None,
    trust_remote_code: o.RemoteCode = False,
    resume: Annotated[str | None, typer.Option(help="A session's id, or last.", rich_help_panel=_SCREEN)] = None,
    theme: Annotated[
        str | None, typer.Option(help="dark, light, dark-safe, light-safe.", rich_help_panel=_SCREEN)
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Another config file.", rich_help_panel=_SCREEN)] = None,
    unsaved: Annotated[bool, typer.Option("--unsaved", help="Keep nothing on disk.", rich_help_panel=_SCREEN)] = False,
    serve: Annotated[bool, typer.Option("--serve", help="In a browser instead.", rich_help_panel=_SCREEN)] = False,
    host: Annotated[str, typer.Option(help="With --serve.", rich_help_panel=_SCREEN)] = "localhost",
    port: Annotated[int, typer.Option(help="With --serve.", rich_help_panel=_SCREEN)] = 8000,
) -> None:
    """Chat in the terminal, and see how fast the answers come and why. The config file can hold all of these."""
    given: dict[str, Any] = {name: value for name, value in locals().items() if value not in (None, False)}
    with reported(), _needed():
        begin = _config(config, given)
        if serve:
            from specdec_tui.serve import serve as run_server

            run_server(_without(sys.argv[2:], _SERVER), host, port)
            return
        from specdec_tui.run import database_path, run

        left = run(begin, database=None if unsaved else database_path(), resume=resume)
        if left:
            stderr().print(f"{left} changes could not be saved", style="red")
            raise typer.Exit(1)


class _needed:  # noqa: N801  (a context manager, read as a word)
    """A missing extra becomes a line that says which."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ModuleNotFoundError):
            raise InvalidRequest("specdec chat", error.name, "pip install 'specdec[tui]'") from None


def _config(path: Path | None, given: dict[str, Any]) -> Config:
    """The config file's values, and over them what the command line gives."""
    from specdec_tui.core.config import read_config
    from specdec_tui.core.settings import NAMES
    from specdec_tui.run import config_path

    if path and not path.is_file():
        raise InvalidRequest("config", str(path), "a file")
    config = read_config(path or config_path())
    engine = replace(config.engine, **_of(config.engine, given))
    settings = config.settings
    if preset := given.get("preset"):
        if preset not in config.presets:
            raise InvalidRequest("preset", preset, "one of " + ", ".join(config.presets))
        settings = settings.preset(config.presets[preset])
    if "speculative" in given:
        given["speculative"] = o.speculative_of(given["speculative"])
    settings = settings.with_values({name: given[name] for name in NAMES if name in given})
    if "system" in given:
        settings = replace(settings, system=given["system"])
    return replace(config, engine=engine, settings=settings, screen=replace(config.screen, **_of(config.screen, given)))


def _of(values: Any, given: dict[str, Any]) -> dict[str, Any]:
    """What was given for the fields of a dataclass."""
    return {f.name: given[f.name] for f in fields(values) if f.name in given}


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
