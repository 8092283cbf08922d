"""`specdec generate`: one prompt, answered as it comes."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from typing import Annotated

import typer

from specdec.cli import options as o
from specdec.cli.answer import Stopped, print_answer, stats_line
from specdec.cli.compare import print_comparison
from specdec.cli.demo import STORY, print_demo
from specdec.cli.jsonable import completion_json, print_json
from specdec.cli.screen import loaded, stderr, stdout
from specdec.cli.servers import Url
from specdec.errors import InvalidRequest
from specdec.types import EngineInfo, LoadOptions, Message, Request, SamplingParams

_SHORT = SamplingParams(max_tokens=256)


@o.command
def generate(
    prompt: Annotated[
        str | None, typer.Argument(help="The prompt; - reads it from stdin; none takes built-in ones.")
    ] = None,
    loading: LoadOptions = o.FORGETFUL,
    url: Url = None,
    speculative: Annotated[str, typer.Option(help="auto, off, or drafted tokens a round.")] = "auto",
    compare: Annotated[bool, typer.Option("--compare", help="Plain and speculative, compared.")] = False,
    json: o.Json = False,
    raw: Annotated[bool, typer.Option("--raw", help="Continue the text; no chat template.")] = False,
    system: Annotated[str | None, typer.Option(help="System turn before the prompt.")] = None,
    prediction: Annotated[str | None, typer.Option(help="A guess of the answer, to draft from.")] = None,
    sampling: SamplingParams = _SHORT,
) -> None:
    """Answer a prompt, streaming. Speculation never changes the answer, only when it comes."""
    text = sys.stdin.read().rstrip("\n") if prompt == "-" else STORY if prompt is None else prompt
    # Made before anything is loaded, so that nothing is for a request that is refused.
    request = Request(text, sampling, o.speculative_of(speculative), prediction)
    demo = compare and prompt is None and not json
    if prompt is None and not (json or demo):
        stderr().print(f"> {STORY}", style="dim")
    with loaded(replace(loading, target=url or loading.target)) as engine:
        request = replace(request, prompt=messages(text, system, engine.info, raw=raw))
        try:
            if demo:
                print_demo(engine, request)
                return
            if compare:
                print_comparison(engine, request, json=json)
                return
            completion = print_answer(engine, request, None if json else stdout())
        except Stopped as stopped:
            tokens = len(stopped.answer.tokens)
            if json:
                print_json({"text": stopped.answer.text, "tokens": tokens, "finish_reason": "cancelled"})
            stderr().print(f"stopped after {tokens} tokens", style="yellow")
            raise typer.Exit(130) from None
        if json:
            print_json(completion_json(completion) | {"info": asdict(engine.info)})
        else:
            stderr().print(stats_line(completion), style="dim", soft_wrap=True)


def messages(text: str, system: str | None, info: EngineInfo, *, raw: bool) -> str | tuple[Message, ...]:
    """The text as a turn of a chat, or as it is where no chat template is wanted or known."""
    if not raw and info.chat_template:
        return (*(() if system is None else (Message("system", system),)), Message("user", text))
    if system is not None:
        why = "no --raw" if raw else f"a target with a chat template, which {info.target} is not"
        raise InvalidRequest("system", system, why)
    return text
