"""`specdec plan`: would a model fit a GPU, and what would speculation bring? Arithmetic, before anything is fetched."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from specdec.cli import options as o
from specdec.cli.jsonable import print_json
from specdec.cli.screen import facts_table, stdout
from specdec.cluster.gpus import GIB, gpu_here, is_gpu
from specdec.cluster.gpus import gpu as known_gpu
from specdec.cluster.plan import ClusterPlan
from specdec.cluster.plan import plan as planned
from specdec.cluster.shape import ModelShape, shape
from specdec.cluster.spec import Cluster
from specdec.errors import InvalidRequest
from specdec.types.load import Quantize

EPILOG = """
Example: specdec plan Qwen/Qwen3-8B --draft Qwen/Qwen3-0.6B --gpu 4090

The speeds are those that memory allows, from data sheets; specdec bench measures.
specdec cluster plan is for several GPUs.
"""
_LENGTHS = (2, 3, 4)


@o.command
def plan(
    target: Annotated[str, typer.Argument(help="A folder or a hub id; its weights need not be here.")],
    draft: Annotated[str, typer.Option(help="What drafts: none, lookup, a folder or a hub id.")] = "lookup",
    gpu: Annotated[str | None, typer.Option(help="4090, h100, l4, ...; default: the one that is here.")] = None,
    k: Annotated[int, typer.Option("--k", help="Drafted tokens a round.")] = 4,
    context: Annotated[int, typer.Option(help=o.LOADING["context"])] = 8192,
    slots: Annotated[int, typer.Option(help="Answers at once, each with such a context.", min=1)] = 1,
    dtype: Annotated[str, typer.Option(help=o.LOADING["dtype"])] = "auto",
    quantize: Annotated[Quantize | None, typer.Option(help="The target's weights rounded: int4, int8, fp8.")] = None,
    json: o.Json = False,
) -> None:
    """Say whether a target and its draft fit a GPU, with how much context, and from which acceptance length on drafts
    pay. Exit code 1 if they do not fit."""
    if is_gpu(target):
        raise InvalidRequest("target", target, f"a model, as in: specdec plan Qwen/Qwen3-8B --gpu '{target}'")
    wanted = Cluster(target, draft, k, context=context, dtype=dtype)
    whole = shape(wanted.target, dtype)
    found = whole.quantized(quantize) if quantize else whole
    drafts = None if draft in ("none", "lookup") else shape(draft, dtype)
    result = planned(wanted, found, drafts, known_gpu(gpu) if gpu else gpu_here())
    fits = result.cached_tokens >= context * slots
    gains = {length: length / result.pays_from for length in _LENGTHS}
    if json:
        print_json(asdict(result) | {"fits": fits, "cached_tokens": result.cached_tokens, "speed_ups": gains})
    else:
        stdout().print(facts_table(_facts(result, whole, fits=fits, slots=slots, gains=gains, drafting=draft)))
    raise typer.Exit(0 if fits else 1)


def _facts(
    result: ClusterPlan, target: ModelShape, *, fits: bool, slots: int, gains: dict[int, float], drafting: str
) -> dict[str, str]:
    left = max(result.free, 0.0) / GIB
    room = f"room for {result.cached_tokens} tokens of context; {slots} x {result.context} asked for"
    facts = {
        "GPU": f"{result.gpu.name}, {result.gpu.memory / GIB:.0f} GiB, {result.gpu.bandwidth / 1e12:.2f} TB/s",
        "weights": f"{result.target_weights / GIB:.1f} GiB, draft {result.draft_weights / GIB:.1f} GiB",
        "cache": f"{result.kv_per_token / 1024:.0f} KiB a token, {left:.1f} GiB left for it",
        "fits": f"{'yes' if fits else 'no'}: {room}",
        "plain": f"at most {1 / result.round_seconds:.0f} tokens/s",
    }
    smaller = target.quantized("int4").weight_bytes
    if not fits and smaller < result.target_weights:
        facts["in 4 bits"] = f"the target takes about {smaller / GIB:.1f} GiB (--quantize int4)"
    if drafting != "none":
        texts = ", ".join(f"{gain:.1f} x at {length}" for length, gain in gains.items())
        facts["speculation"] = f"pays above an acceptance length of {result.pays_from:.2f}; {texts}"
    return facts
