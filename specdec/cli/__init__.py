"""The command line. Each command is a module; this one only joins them."""

from __future__ import annotations

import typer

from specdec.cli.bench import bench
from specdec.cli.chat import chat
from specdec.cli.cluster import SETTINGS, cluster, router
from specdec.cli.generate import generate
from specdec.cli.info import info
from specdec.cli.serve import EPILOG, serve
from specdec.cli.tune import tune
from specdec.cli.verify import verify

app = typer.Typer(
    name="specdec",
    help="Speculative decoding that never changes what the target model says.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (generate, chat, bench, verify, info, tune):
    app.command()(command)
app.command(context_settings=SETTINGS)(cluster)
app.command()(router)
app.command(epilog=EPILOG)(serve)


def main() -> None:
    """Entry point of `specdec`."""
    app()
