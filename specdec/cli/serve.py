"""`specdec serve`: the OpenAI-compatible endpoint on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from specdec.cli import options as o
from specdec.cli.screen import loaded_apart, reported, stderr
from specdec.engine import Engine
from specdec.errors import InvalidRequest, LoadError
from specdec.loading import load

if TYPE_CHECKING:
    from socket import socket

    from specdec_server import Settings
    from specdec_server.journal import Level

KEY_VARIABLE = "SPECDEC_API_KEY"
UPSTREAM_KEY_VARIABLE = "SPECDEC_UPSTREAM_KEY"

_SERVER = "Server"
_ACCESS = "Who may call"
_LIMITS = "Limits (seconds, bytes)"
EPILOG = """
Try it: curl -N localhost:8000/v1/responses --json '{"input": "Tell me a story.", "stream": true}'

From Python: openai.OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="none")

Only programs on this machine can call, and no web page. To open it to others, set a key and name the host that they
use: SPECDEC_API_KEY=... specdec serve --host 0.0.0.0 --allow-host my-machine.lan

Ctrl-C lets running answers finish (--grace); a second one does not wait.
"""


def serve(
    target: o.Target = "bundled",
    draft: o.Draft = "auto",
    device: o.Device = "auto",
    dtype: o.DType = "auto",
    context: o.Context = None,
    accept_rule: o.Rule = "coupled",
    trust_remote_code: o.RemoteCode = False,
    slots: Annotated[int, typer.Option(help="Answers at once.", min=1, rich_help_panel="Models")] = 4,
    upstream: Annotated[
        str | None,
        typer.Option(
            help=f"URL of a server that runs the model, instead of a target; its key in {UPSTREAM_KEY_VARIABLE}.",
            rich_help_panel="Models",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.", rich_help_panel=_SERVER)] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="0 takes any that is free.", min=0, max=65535, rich_help_panel=_SERVER)
    ] = 8000,
    model_name: Annotated[
        str | None, typer.Option(help="What clients call the model.", rich_help_panel=_SERVER)
    ] = None,
    pacing: Annotated[
        Literal["round", "smooth"],
        typer.Option(help="Stream a round at a time, or its tokens evenly.", rich_help_panel=_SERVER),
    ] = "round",
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        typer.Option(help="debug shows traces of errors.", rich_help_panel=_SERVER),
    ] = "info",
    log_prompts: Annotated[
        bool, typer.Option("--log-prompts", help="Write prompts into the log.", rich_help_panel=_SERVER)
    ] = False,
    api_key_file: Annotated[
        Path | None,
        typer.Option(help=f"File with the key; or set {KEY_VARIABLE}.", rich_help_panel=_ACCESS),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Host name that clients use. Repeatable.", rich_help_panel=_ACCESS),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="Web page that may call, as https://name:port. Repeatable.", rich_help_panel=_ACCESS),
    ] = None,
    without_key: Annotated[
        bool,
        typer.Option("--allow-anyone", help="Listen beyond this machine without a key.", rich_help_panel=_ACCESS),
    ] = False,
    queue: Annotated[int, typer.Option(help="Answers that may wait; more get 429.", rich_help_panel=_LIMITS)] = 64,
    max_choices: Annotated[int, typer.Option(help="Answers to one request.", rich_help_panel=_LIMITS)] = 8,
    max_body: Annotated[int, typer.Option(help="Of a request.", rich_help_panel=_LIMITS)] = 4 * 2**20,
    request_timeout: Annotated[
        float, typer.Option(help="For one request, waiting included.", rich_help_panel=_LIMITS)
    ] = 600,
    reader_timeout: Annotated[
        float, typer.Option(help="For a client that has stopped reading.", rich_help_panel=_LIMITS)
    ] = 20,
    keep_alive: Annotated[float, typer.Option(help="Between comments on a stream.", rich_help_panel=_LIMITS)] = 10,
    grace: Annotated[float, typer.Option(help="For running answers at shutdown.", rich_help_panel=_LIMITS)] = 10,
) -> None:
    """Serve a model to local tools, as OpenAI's API: chat completions, completions, responses."""
    with reported():
        _check_installed()
        from specdec_server import Settings

        key = _key(api_key_file)
        _check_exposure(host, key, without_key=without_key)
        settings = Settings(
            model_name, _hosts(host, allow_host or ()), not _is_loopback(host), tuple(allow_origin or ()), key, queue,
            max_choices, max_body, request_timeout, reader_timeout, keep_alive, grace, pacing, log_prompts,
        )  # fmt: skip
        where = upstream or target
        models = o.EngineOptions(where, draft, device, dtype, context, accept_rule, trust_remote_code, slots)
        _serve(models, settings, host, port, log_level)


def _serve(models: o.EngineOptions, settings: Settings, host: str, port: int, level: Level) -> None:
    from specdec_server import create_app
    from specdec_server.journal import log_to_stderr
    from specdec_server.serving import bound, run

    with bound(host, port) as found, _loaded(models, settings) as engine:
        log_to_stderr(level)
        found.listen()  # so that whoever reads where is not refused any more
        _say_where(found, settings)
        run(create_app(engine, settings), settings, found)
    stderr().print("stopped", style="yellow")


def _loaded(models: o.EngineOptions, settings: Settings) -> Engine:
    """In a process of its own, so that requests cannot slow decoding; or the connection to another server."""
    if models.target.startswith(("http://", "https://")):
        return load(**asdict(models), api_key=os.environ.get(UPSTREAM_KEY_VARIABLE, ""))  # never our own
    waiting = settings.queue + settings.choices + models.slots  # the server refuses first
    return loaded_apart(models, queue_limit=waiting)


def _check_installed() -> None:
    try:
        import fastapi  # noqa: F401
        import sse_starlette  # noqa: F401
    except ImportError as error:
        raise LoadError(f"the server needs {error.name}: pip install 'specdec[server]'") from None


def _say_where(found: socket, settings: Settings) -> None:
    host, port = found.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    key = "with a key" if settings.key else "without a key"
    stderr().print(f"listening on http://{shown}:{port}/v1 ({key}); Ctrl-C stops", soft_wrap=True)


def _key(file: Path | None) -> str | None:
    """The key from the file, else from the environment. A key that nobody could send is refused."""
    key = os.environ.get(KEY_VARIABLE)
    where = KEY_VARIABLE
    if file:
        where = str(file)
        try:
            key = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequest("api-key-file", where, f"a file that can be read as text ({error})") from None
    if key is not None and (not key or not key.isascii() or not key.isprintable() or " " in key):
        raise InvalidRequest("api-key", f"unusable, from {where}", "one line of printable ASCII without spaces")
    return key


def _check_exposure(host: str, key: str | None, *, without_key: bool) -> None:
    if not _is_loopback(host) and key is None and not without_key:
        expected = f"a loopback address, or a key ({KEY_VARIABLE} or --api-key-file), or --allow-anyone"
        raise InvalidRequest("host", host, expected)


def _hosts(host: str, allowed: Sequence[str]) -> tuple[str, ...]:
    from specdec_server.settings import LOOPBACK

    return (*LOOPBACK, host.lower(), *(name.lower() for name in allowed))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
