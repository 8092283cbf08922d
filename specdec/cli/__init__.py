"""The command line. Each command is a module, imported when it is asked for: this one only joins them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module

import typer

_MODULES = {
    "generate": "generate", "chat": "chat", "serve": "serve", "bench": "bench", "verify": "verify", "info": "info",
    "tune": "tune", "cluster": "cluster", "router": "cluster",
}  # fmt: skip
_SETTINGS = {"cluster": {"allow_extra_args": True, "ignore_unknown_options": True}}  # vLLM's own go through


def _joined(names: Iterable[str]) -> typer.Typer:
    joined = typer.Typer(
        name="specdec",
        help="Speculative decoding that never changes what the target model says.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    joined.callback()(lambda: None)  # a single command stays a command
    for name in names:
        module = import_module(f"specdec.cli.{_MODULES[name]}")
        joined.command(name, epilog=getattr(module, "EPILOG", None), context_settings=_SETTINGS.get(name))(
            getattr(module, name)
        )
    return joined


def __getattr__(name: str) -> typer.Typer:
    if name != "app":
        raise AttributeError(f"module 'specdec.cli' has no attribute {name!r}")
    globals()["app"] = _joined(_MODULES)
    return globals()["app"]  # type: ignore[no-any-return]


def main() -> None:
    """Entry point of `specdec`."""
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    _joined([asked] if asked in _MODULES else _MODULES)()
