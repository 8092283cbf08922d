"""The command line. Each command is a module, imported when it is called: this one only joins them."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated, Any

import typer

from specdec import __version__
from specdec.errors import DISTRIBUTION, first_line

_COMMANDS = {
    "generate": ("generate", "Answer a prompt, streaming."),
    "chat": ("chat", "Chat in the terminal, and see how fast the answers come and why."),
    "serve": ("serve", "Serve a model to local tools, as OpenAI's API."),
    "train": ("train", "Train a drafter that fits your own target, from the target's answers."),
    "bench": ("bench", "Measure plain against speculative generation."),
    "verify": ("verify", "Check on your own pair that speculation changes nothing but the speed."),
    "info": ("info", "Load a target with what drafts for it, and say what they are."),
    "models": ("models", "List the models that are here and how each would run; search, pull, remove."),
    "doctor": ("doctor", "Say what is installed here, and try it in some seconds."),
    "plan": ("plan", "Say whether a target and its draft fit a GPU, and what speculation would bring."),
    "config": ("config", "Say where defaults for all commands are kept, and what they are."),
    "quantize": ("quantize", "Write a model in 4 or 8 bits, and say what that costs."),
    "warm": ("warm", "Compile the kernels of a target and its draft ahead, once a machine."),
    "tune": ("tune", "Find the fastest tiles of a model's products on this GPU, once."),
    "cluster": ("cluster", "Put a target and its draft on vLLM, over GPUs and hosts."),
    "router": ("cluster", "Put several servers behind one address, by a router that exists."),
}
_SETTINGS: dict[str, dict[str, Any]] = {
    "cluster": {"allow_extra_args": True, "ignore_unknown_options": True},  # vLLM's own go through
    "serve": {"auto_envvar_prefix": "SPECDEC"},  # SPECDEC_TARGET is --target: for containers and units
}
_FIRST = """\
specdec answers with your model, sooner, and never changes what it says.

  specdec generate --compare     answer a prompt twice, plain and speculative
  specdec chat                   talk to a model
  specdec serve                  an OpenAI-compatible endpoint for your tools
  specdec plan                   would a model fit my GPU, and how much faster is it?
  specdec doctor                 what is installed here, and does it work?

Your own models: --target FOLDER, HUB-ID or URL, and --draft a small one of
its family. specdec models lists what is here, specdec --help all commands."""


def _root(
    ctx: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        typer.echo(f"{DISTRIBUTION} {__version__}")
    elif ctx.invoked_subcommand is None:
        typer.echo(_FIRST)
    else:
        from specdec.cli.config import defaults_of
        from specdec.cli.screen import reported

        name = ctx.invoked_subcommand
        command = ctx.command.get_command(ctx, name)  # type: ignore[attr-defined]
        with reported():
            ctx.default_map = {name: defaults_of(name, (option.name for option in command.params))}


def _joined(names: Iterable[str], function: Callable[[str], Callable[..., None]]) -> typer.Typer:
    joined = typer.Typer(
        name="specdec",
        help="Speculative decoding that never changes what the target model says.",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    joined.callback(invoke_without_command=True)(_root)
    for name in names:
        command = function(name)
        epilog = getattr(sys.modules[command.__module__], "EPILOG", None)
        short, settings = _COMMANDS[name][1], _SETTINGS.get(name)
        joined.command(name, short_help=short, epilog=epilog, context_settings=settings)(command)
    return joined


def _function(name: str) -> Callable[..., None]:
    return getattr(import_module(f"specdec.cli.{_COMMANDS[name][0]}"), name)  # type: ignore[no-any-return]


def __getattr__(name: str) -> typer.Typer:
    if name != "app":
        raise AttributeError(f"module 'specdec.cli' has no attribute {name!r}")
    globals()["app"] = _joined(_COMMANDS, _function)
    return globals()["app"]  # type: ignore[no-any-return]


def _warn_of_namesake() -> None:
    try:
        found = distribution("specdec")
    except PackageNotFoundError:
        return
    if any(
        file.as_posix() == "specdec/__init__.py" for file in found.files or ()
    ):  # it was written over ours, or will be
        other = f"specdec {found.version} is installed here too: another project, whose files have the names of ours"
        typer.echo(f"{other}; pip uninstall specdec, then install {DISTRIBUTION} again", err=True)


def main() -> None:
    """Entry point of `specdec`."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # None where the shell closed it
        setattr(sys, name, getattr(sys, name) or Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
    _warn_of_namesake()
    code = _run(sys.argv[1] if len(sys.argv) > 1 else "")
    if code == 130:  # Ctrl-C
        _end_at_once(code)
    try:
        sys.stdout.flush()
    except OSError as error:
        code = code or _unwritten(error)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what it still holds
    sys.exit(code)


def _run(command: str) -> int:
    """Its exit code."""
    try:
        if command in _COMMANDS:
            app = _joined([command], _function)
        elif "_SPECDEC_COMPLETE" in os.environ:  # the shell asks what could follow
            app = _joined(_COMMANDS, _function)
        else:  # nothing is imported to list the commands
            app = _joined(_COMMANDS, lambda _name: lambda: None)
        return app(prog_name="specdec", standalone_mode=False) or 0
    except (typer.Abort, KeyboardInterrupt) as error:  # the latter while a command was imported
        typer.echo("stopped", err=True)
        return 1 if isinstance(error, typer.Abort) else 130
    except OSError as error:
        return _unwritten(error)
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's own errors; it has no public name for them all
            raise
        typer.secho(f"error: {_usage(error)}", err=True, fg="red")
        return 2


def _unwritten(error: OSError) -> int:
    """The exit code where output could not be written: its disk is full, or nobody reads on, who need not be told."""
    if isinstance(error, BrokenPipeError):
        return 1
    typer.secho(f"error: {first_line(error)}", err=True, fg="red")
    return 2


def _end_at_once(code: int) -> None:
    """Ctrl-C leaves a model that is being loaded to its thread. An interpreter that ends would take the thread apart
    amid torch's code, which ends the process by a signal."""
    atexit._run_exitfuncs()  # noqa: SLF001
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _usage(error: Any) -> str:
    """What typer says of a wrong word, in one line, and where what is right stands."""
    message = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    if context and parameter and str(context.get_parameter_source(parameter.name)).endswith("DEFAULT_MAP"):
        from specdec.cli.config import config_file

        return f"{config_file()}: {parameter.name}: {message}"
    path = context.command_path if context else " ".join(["specdec", *({*sys.argv[1:2]} & _COMMANDS.keys())])
    return f"{message}; see {path} -h"
