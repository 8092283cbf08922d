"""`specdec serve`: the OpenAI-compatible endpoint on this machine."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from specdec.cli import options as o
from specdec.cli.keys import KEY_VARIABLE, access_keys
from specdec.cli.named import UPSTREAM_KEY_VARIABLE, beyond, named_models
from specdec.cli.screen import loaded, loaded_apart, stderr
from specdec.errors import InvalidRequest, extra
from specdec.types import LoadOptions

if TYPE_CHECKING:
    from specdec_server import Settings

_LOADING = LoadOptions()
_models = partial(typer.Option, rich_help_panel="Models")
_server = partial(typer.Option, rich_help_panel="Server")
_access = partial(typer.Option, rich_help_panel="Who may call")
_limits = partial(typer.Option, rich_help_panel="Limits (seconds, bytes)")
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

    slots: Annotated[int, _models(help="Answers at once.", min=1)] = 4
    upstream: Annotated[
        str | None,
        _models(
            callback=o.address,
            help=f"URL of a server that runs the model, instead of a target; its key in {UPSTREAM_KEY_VARIABLE}.",
        ),
    ] = None
    model: Annotated[
        list[str] | None,
        _models(metavar="NAME=TARGET", help="Several models by name, each loaded on first use."),
    ] = None
    models: Annotated[
        Path | None,
        _models(metavar="FILE.toml", help="The same with options and aliases: a table for each."),
    ] = None
    max_loaded: Annotated[int, _models(help="Named models in memory at once.")] = 4
    idle_unload: Annotated[float | None, _models(help="Seconds after which a named model leaves that nobody asks.")] = (
        None
    )
    any_name: Annotated[bool, _models("--any-name", help="Answer unknown names with the first model.")] = False
    embed: Annotated[str | None, _models(help="Encoder for /v1/embeddings: a folder or a hub id.")] = None
    host: Annotated[str, _server(help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, _server(help="0 takes any that is free.", min=0, max=65535)] = 8000
    model_name: Annotated[str | None, _server(help="What clients call the model.")] = None
    pacing: Annotated[Literal["round", "smooth"], _server(help="Stream a round at a time, or its tokens evenly.")] = (
        "round"
    )
    strict: Annotated[bool, _server("--strict", help="Refuse fields that are else mapped or ignored.")] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], _server(help="debug shows traces of errors.")
    ] = "info"
    log_prompts: Annotated[bool, _server("--log-prompts", help="Write prompts into the log.")] = False
    api_key_file: Annotated[
        Path | None,
        _access(help=f"File with a line for each key, KEY or NAME KEY; or set {KEY_VARIABLE}."),
    ] = None
    allow_host: Annotated[list[str] | None, _access(help="Host name that clients use. Repeatable.")] = None
    allow_origin: Annotated[
        list[str] | None, _access(help="Web page that may call, as https://name:port. Repeatable.")
    ] = None
    without_key: Annotated[bool, _access("--allow-anyone", help="Listen beyond this machine without a key.")] = False
    queue: Annotated[int, _limits(help="Answers that may wait; more get 429.")] = 64
    max_choices: Annotated[int, _limits(help="Answers to one request.")] = 8
    max_body: Annotated[int, _limits(help="Of a request.")] = 4 * 2**20
    request_timeout: Annotated[float, _limits(help="For one request, waiting included.")] = 600
    reader_timeout: Annotated[float, _limits(help="For a client that has stopped reading.")] = 20
    keep_alive: Annotated[float, _limits(help="Between comments on a stream.")] = 10
    grace: Annotated[float, _limits(help="For running answers at shutdown.")] = 10

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
        from specdec.embeddings.process import ProcessEmbedder
        from specdec_server import ModelPool, create_app
        from specdec_server.logs import log_to_stderr
        from specdec_server.serving import bound, run
    settings = _settings(serving)
    waiting = settings.queue + settings.choices + serving.slots  # so that the server refuses first
    loading = replace(loading, target=serving.upstream or loading.target, slots=serving.slots, queue_limit=waiting)
    with bound(serving.host, serving.port) as found, ExitStack() as stack:
        encoder = stack.enter_context(closing(ProcessEmbedder(serving.embed))) if serving.embed else None
        if named := named_models(serving.model or (), serving.models, loading, settings.max_loaded):
            app = create_app(stack.enter_context(closing(ModelPool(named, settings))), embedder=encoder)
        else:
            # in a process of its own, so that requests cannot slow decoding; a server's models have one already
            engine = loaded(beyond(loading)) if loading.remote else loaded_apart(loading)
            app = create_app(stack.enter_context(engine), settings, encoder)
        log_to_stderr(serving.log_level)
        found.listen()  # so that whoever reads where is not refused any more
        name, number = found.getsockname()[:2]
        where = f"http://{f'[{name}]' if ':' in name else name}:{number}/v1"
        how = f"({'with' if settings.keys else 'without'} a key); Ctrl-C stops"
        stderr().print(f"listening on {where} {how}", soft_wrap=True)
        run(app, settings, found)
    stderr().print("stopped", style="yellow")


def _settings(serving: Serving) -> Settings:
    """The server's own. Whoever listens to other machines needs a key, or says that it needs none."""
    from specdec_server.settings import LOOPBACK, Settings

    keys = access_keys(serving.api_key_file)
    if not serving.loopback and not keys and not serving.without_key:
        expected = f"a loopback address, or a key ({KEY_VARIABLE} or --api-key-file), or --allow-anyone"
        raise InvalidRequest("host", serving.host, expected)
    return Settings(
        model=serving.model_name,
        hosts=(*LOOPBACK, serving.host.lower(), *(name.lower() for name in serving.allow_host or ())),
        any_address=not serving.loopback,
        origins=tuple(serving.allow_origin or ()),
        keys=keys,
        queue=serving.queue,
        choices=serving.max_choices,
        body=serving.max_body,
        request_seconds=serving.request_timeout,
        reader_seconds=serving.reader_timeout,
        keep_alive=serving.keep_alive,
        grace=serving.grace,
        any_name=serving.any_name,
        idle_unload=serving.idle_unload,
        max_loaded=serving.max_loaded,
        pacing=serving.pacing,
        strict=serving.strict,
        log_prompts=serving.log_prompts,
    )
