"""`specdec serve`: the OpenAI-compatible endpoint on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from specdec.cli import options as o
from specdec.cli.screen import loaded, loaded_apart, stderr
from specdec.errors import InvalidRequest, extra
from specdec.types import LoadOptions

if TYPE_CHECKING:
    from specdec_server import Settings

KEY_VARIABLE = "SPECDEC_API_KEY"
UPSTREAM_KEY_VARIABLE = "SPECDEC_UPSTREAM_KEY"

_LOADING = LoadOptions()
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


@dataclass(frozen=True, slots=True)
class Serving:
    """Options of `specdec serve` beside those of loading."""

    slots: Annotated[int, typer.Option(help="Answers at once.", min=1, rich_help_panel="Models")] = 4
    upstream: Annotated[
        str | None,
        typer.Option(
            help=f"URL of a server that runs the model, instead of a target; its key in {UPSTREAM_KEY_VARIABLE}.",
            rich_help_panel="Models",
        ),
    ] = None
    host: Annotated[str, typer.Option(help="Address to listen on.", rich_help_panel=_SERVER)] = "127.0.0.1"
    port: Annotated[int, typer.Option(help="0 takes any that is free.", min=0, max=65535, rich_help_panel=_SERVER)] = (
        8000
    )
    model_name: Annotated[str | None, typer.Option(help="What clients call the model.", rich_help_panel=_SERVER)] = None
    pacing: Annotated[
        Literal["round", "smooth"],
        typer.Option(help="Stream a round at a time, or its tokens evenly.", rich_help_panel=_SERVER),
    ] = "round"
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Refuse fields that are else mapped or ignored.", rich_help_panel=_SERVER),
    ] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        typer.Option(help="debug shows traces of errors.", rich_help_panel=_SERVER),
    ] = "info"
    log_prompts: Annotated[
        bool, typer.Option("--log-prompts", help="Write prompts into the log.", rich_help_panel=_SERVER)
    ] = False
    api_key_file: Annotated[
        Path | None,
        typer.Option(help=f"File with the key; or set {KEY_VARIABLE}.", rich_help_panel=_ACCESS),
    ] = None
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Host name that clients use. Repeatable.", rich_help_panel=_ACCESS),
    ] = None
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="Web page that may call, as https://name:port. Repeatable.", rich_help_panel=_ACCESS),
    ] = None
    without_key: Annotated[
        bool,
        typer.Option("--allow-anyone", help="Listen beyond this machine without a key.", rich_help_panel=_ACCESS),
    ] = False
    queue: Annotated[int, typer.Option(help="Answers that may wait; more get 429.", rich_help_panel=_LIMITS)] = 64
    max_choices: Annotated[int, typer.Option(help="Answers to one request.", rich_help_panel=_LIMITS)] = 8
    max_body: Annotated[int, typer.Option(help="Of a request.", rich_help_panel=_LIMITS)] = 4 * 2**20
    request_timeout: Annotated[
        float, typer.Option(help="For one request, waiting included.", rich_help_panel=_LIMITS)
    ] = 600
    reader_timeout: Annotated[
        float, typer.Option(help="For a client that has stopped reading.", rich_help_panel=_LIMITS)
    ] = 20
    keep_alive: Annotated[float, typer.Option(help="Between comments on a stream.", rich_help_panel=_LIMITS)] = 10
    grace: Annotated[float, typer.Option(help="For running answers at shutdown.", rich_help_panel=_LIMITS)] = 10

    @property
    def loopback(self) -> bool:
        """Whether only this machine can call."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


_SERVING = Serving()


@o.command
def serve(loading: LoadOptions = _LOADING, serving: Serving = _SERVING) -> None:
    """Serve a model to local tools, as OpenAI's API (chat completions, completions, responses) and Anthropic's."""
    with extra("server", "the server"):
        from specdec_server import create_app
        from specdec_server.logs import log_to_stderr
        from specdec_server.serving import bound, run
    settings = _settings(serving)
    waiting = settings.queue + settings.choices + serving.slots  # so that the server refuses first
    loading = replace(loading, target=serving.upstream or loading.target, slots=serving.slots, queue_limit=waiting)
    load = loaded_apart  # so that requests cannot slow decoding
    if loading.remote:
        loading, load = replace(loading, api_key=os.environ.get(UPSTREAM_KEY_VARIABLE, "")), loaded  # never our own key
    with bound(serving.host, serving.port) as found, load(loading) as engine:
        log_to_stderr(serving.log_level)
        found.listen()  # so that whoever reads where is not refused any more
        name, number = found.getsockname()[:2]
        where = f"http://{f'[{name}]' if ':' in name else name}:{number}/v1"
        how = f"({'with' if settings.key else 'without'} a key); Ctrl-C stops"
        stderr().print(f"listening on {where} {how}", soft_wrap=True)
        run(create_app(engine, settings), settings, found)
    stderr().print("stopped", style="yellow")


def _settings(serving: Serving) -> Settings:
    """The server's own. Whoever listens to other machines needs a key, or says that it needs none."""
    from specdec_server.settings import LOOPBACK, Settings

    key = _key(serving.api_key_file)
    if not serving.loopback and key is None and not serving.without_key:
        expected = f"a loopback address, or a key ({KEY_VARIABLE} or --api-key-file), or --allow-anyone"
        raise InvalidRequest("host", serving.host, expected)
    return Settings(
        model=serving.model_name,
        hosts=(*LOOPBACK, serving.host.lower(), *(name.lower() for name in serving.allow_host or ())),
        any_address=not serving.loopback,
        origins=tuple(serving.allow_origin or ()),
        key=key,
        queue=serving.queue,
        choices=serving.max_choices,
        body=serving.max_body,
        request_seconds=serving.request_timeout,
        reader_seconds=serving.reader_timeout,
        keep_alive=serving.keep_alive,
        grace=serving.grace,
        pacing=serving.pacing,
        strict=serving.strict,
        log_prompts=serving.log_prompts,
    )


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
