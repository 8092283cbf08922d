"""`specdec generate`: one prompt, answered as it comes."""

from __future__ import annotations

from typing import Annotated

import typer

from specdec.cli import options as o
from specdec.cli.answer import Answer, Stopped, stats_line
from specdec.cli.asking import DEMO_PROMPT, Ask, read_prompt
from specdec.cli.compare import compare, comparison_table
from specdec.cli.jsonable import completion_json, info_json, print_json
from specdec.cli.screen import loaded, reported, stderr, stdout
from specdec.engine import Engine
from specdec.types import SamplingParams


def generate(
    prompt: Annotated[
        str | None, typer.Argument(help="The prompt; - reads it from stdin; none takes a built-in one.")
    ] = None,
    target: o.Target = "bundled",
    draft: o.Draft = "auto",
    speculative: Annotated[str, typer.Option(help="auto, off, or drafted tokens a round.")] = "auto",
    compare: Annotated[bool, typer.Option("--compare", help="Answer plain and speculative, and compare.")] = False,
    json: o.Json = False,
    raw: Annotated[bool, typer.Option("--raw", help="Continue the text; no chat template.")] = False,
    system: Annotated[str | None, typer.Option(help="System turn before the prompt.")] = None,
    prediction: Annotated[str | None, typer.Option(help="A guess of the answer, to draft from.")] = None,
    temperature: o.Temperature = None,
    top_k: o.TopK = None,
    top_p: o.TopP = None,
    min_p: o.MinP = None,
    repetition_penalty: o.RepetitionPenalty = None,
    presence_penalty: o.PresencePenalty = 0.0,
    frequency_penalty: o.FrequencyPenalty = 0.0,
    logit_bias: o.LogitBias = None,
    max_tokens: o.MaxTokens = 256,
    min_tokens: o.MinTokens = 0,
    stop: o.Stop = None,
    stop_token_id: o.StopTokenId = None,
    ignore_eos: o.IgnoreEos = False,
    seed: o.Seed = None,
    logprobs: o.Logprobs = None,
    device: o.Device = "auto",
    dtype: o.DType = "auto",
    context: o.Context = None,
    accept_rule: o.Rule = "coupled",
    trust_remote_code: o.RemoteCode = False,
) -> None:
    """Answer a prompt, streaming. Speculation never changes the answer, only when it comes."""
    with reported():
        sampling = SamplingParams(
            temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty,
            o.logit_bias_of(logit_bias), max_tokens, min_tokens, tuple(stop or ()), tuple(stop_token_id or ()),
            ignore_eos, seed, logprobs,
        )  # fmt: skip
        ask = Ask(read_prompt(prompt), system, raw, sampling, o.speculative_of(speculative), prediction)
        models = o.EngineOptions(target, draft, device, dtype, context, accept_rule, trust_remote_code).forgetful
        if prompt is None and not json:
            stderr().print(f"> {DEMO_PROMPT}", style="dim")
        with loaded(models) as engine:
            _run(engine, ask, comparing=compare, json=json)


def _run(engine: Engine, ask: Ask, *, comparing: bool, json: bool) -> None:
    try:
        (_compare if comparing else _answer)(engine, ask, json=json)
    except Stopped as stopped:
        if json:
            print_json({"text": stopped.text, "tokens": stopped.tokens, "finish_reason": "cancelled"})
        stderr().print(f"stopped after {stopped.tokens} tokens", style="yellow")
        raise typer.Exit(130) from None


def _answer(engine: Engine, ask: Ask, *, json: bool) -> None:
    completion = Answer(None if json else stdout()).listen(engine, ask.request(engine.info))
    if json:
        print_json(completion_json(completion) | {"info": info_json(engine.info)})
    else:
        stderr().print(stats_line(completion), style="dim", soft_wrap=True)


def _compare(engine: Engine, ask: Ask, *, json: bool) -> None:
    console = stdout()
    result = compare(engine, ask.request(engine.info), None if json else console)
    if json:
        print_json({
            "plain": completion_json(result.plain),
            "speculative": completion_json(result.speculative),
            "speed_up": result.speed_up,
            "identical": result.identical,
            "info": info_json(engine.info),
        })  # fmt: skip
        return
    console.print(comparison_table(result))
    if reason := result.speculative.stats.off_reason:
        console.print(f"speculation ended off: {reason}", style="yellow")
