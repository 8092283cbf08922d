"""The command line. Each command is a module, imported when it is called: this one only joins them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module

import typer

_COMMANDS = {
    "generate": ("generate", "Answer a prompt, streaming."),
    "chat": ("chat", "Chat in the terminal, and see how fast the answers come and why."),
    "serve": ("serve", "Serve a model to local tools, as OpenAI's API."),
    "bench": ("bench", "Measure plain against speculative generation."),
    "verify": ("verify", "Check on your own pair that speculation changes nothing but the speed."),
    "info": ("info", "Load a target with what drafts for it, and say what they are."),
    "tune": ("tune", "Find the fastest tiles of a model's products on this GPU, once."),
    "cluster": ("cluster", "Put a target and its draft on vLLM, over GPUs and hosts."),
    "router": ("cluster", "Put several servers behind one address, by a router that exists."),
}
_SETTINGS = {"cluster": {"allow_extra_args": True, "ignore_unknown_options": True}}  # vLLM's own go through


def _empty() -> typer.Typer:
    joined = typer.Typer(
        name="specdec",
        help="Speculative decoding that never changes what the target model says.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    joined.callback()(lambda: None)  # a single command stays a command
    return joined


def _joined(names: Iterable[str]) -> typer.Typer:
    joined = _empty()
    for name in names:
        module = import_module(f"specdec.cli.{_COMMANDS[name][0]}")
        joined.command(name, epilog=getattr(module, "EPILOG", None), context_settings=_SETTINGS.get(name))(
            getattr(module, name)
        )
    return joined


def __getattr__(name: str) -> typer.Typer:
    if name != "app":
        raise AttributeError(f"module 'specdec.cli' has no attribute {name!r}")
    globals()["app"] = _joined(_COMMANDS)
    return globals()["app"]  # type: ignore[no-any-return]


def main() -> None:
    """Entry point of `specdec`."""
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command == "--help":  # nothing is imported to list the commands
        app = _empty()
        for name, (_, line) in _COMMANDS.items():
            app.command(name, short_help=line)(lambda: None)
    else:
        app = _joined([command] if command in _COMMANDS else _COMMANDS)
    app()
